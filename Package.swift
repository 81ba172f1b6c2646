// swift-tools-version: 6.2
import PackageDescription

/// What every Swift target is compiled with: language mode 6, warnings are errors, explicit imports.
let strict: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .treatAllWarnings(as: .error),
]

func module(_ name: String, _ path: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies, path: path, swiftSettings: strict)
}

func program(_ name: String, _ path: String, _ dependencies: [Target.Dependency]) -> Target {
    .executableTarget(name: name, dependencies: dependencies, path: path, swiftSettings: strict)
}

/// Tests are never optimised: that takes longer than it saves.
func tests(_ name: String, _ path: String, _ dependencies: [Target.Dependency]) -> Target {
    .testTarget(
        name: name, dependencies: dependencies, path: path,
        swiftSettings: strict + [.unsafeFlags(["-Onone"], .when(configuration: .release))])
}

func systemLibrary(_ name: String, package: String, pkgConfig: String?) -> Target {
    .systemLibrary(name: name, path: "Shared/\(name)", pkgConfig: pkgConfig, providers: [.apt([package])])
}

let package = Package(
    name: "rollcall",
    products: [
        .executable(name: "rollcall", targets: ["rollcall"]),
        .executable(name: "rollcall-provisioner", targets: ["rollcall-provisioner"]),
        .executable(name: "rollcall-reconciler", targets: ["rollcall-reconciler"]),
        .executable(name: "rollcall-heartbeat-ingest", targets: ["rollcall-heartbeat-ingest"]),
        .executable(name: "rollcall-status-store", targets: ["rollcall-status-store"]),
        .executable(name: "rollcall-control-api", targets: ["rollcall-control-api"]),
        .library(name: "RollcallBrokerAccess", type: .dynamic, targets: ["BrokerAccessPlugin"]),
    ],
    targets: [
        // C libraries, each with exactly one Swift importer.
        systemLibrary("CMosquitto", package: "libmosquitto-dev", pkgConfig: "libmosquitto"),
        systemLibrary("CMosquittoBroker", package: "mosquitto-dev", pkgConfig: nil),
        systemLibrary("CSQLite", package: "libsqlite3-dev", pkgConfig: "sqlite3"),
        systemLibrary("CCrypto", package: "libssl-dev", pkgConfig: "libssl"),
        systemLibrary("CMicroHTTPD", package: "libmicrohttpd-dev", pkgConfig: "libmicrohttpd"),
        systemLibrary("CCurl", package: "libcurl4-openssl-dev", pkgConfig: "libcurl"),
        .target(name: "CLinux", path: "Shared/CLinux"),

        // Pure modules: no clock, no input or output.
        module("Model", "Shared/Model"),
        module("Lifecycle", "Shared/Lifecycle", ["Model"]),
        module("API", "Shared/API", ["Model"]),
        module("Wire", "Shared/Wire", ["API", "Lifecycle", "Model"]),
        module("Streams", "Shared/Streams", ["API", "Model", "Wire"]),
        module("Storage", "Shared/Storage", ["API", "Lifecycle", "Model", "Wire"]),
        module("MemoryStorage", "Shared/MemoryStorage", ["API", "Lifecycle", "Model", "Storage", "Wire"]),

        module("Doctor", "Shared/Doctor", ["API", "Lifecycle", "Model"]),
        module("Alerts", "Shared/Alerts", ["API", "Model", "Wire"]),

        // Adapters.
        module("Secrets", "Shared/Secrets", ["CCrypto"]),
        module("Bus", "Shared/Bus", ["API", "CMosquitto", "Model", "Secrets", "Streams", "Wire"]),
        module("HTTP", "Shared/HTTP", ["API", "Bus", "CMicroHTTPD", "Model"]),
        module("SQLiteStorage", "Shared/SQLiteStorage", ["API", "CSQLite", "Lifecycle", "Model", "Storage", "Wire"]),
        module(
            "ServiceHost", "Shared/ServiceHost",
            ["API", "Bus", "CLinux", "HTTP", "Lifecycle", "Model", "Secrets", "Wire"]),
        module(
            "AlertDelivery", "Shared/AlertDelivery",
            ["API", "Alerts", "Bus", "CCurl", "Model", "Secrets", "ServiceHost"]),

        // Services.
        module("ProvisionerCore", "Services/Provisioner/Core", ["API", "Lifecycle", "Model", "Streams", "Wire"]),
        program(
            "rollcall-provisioner", "Services/Provisioner/Executable",
            ["API", "Bus", "Model", "ProvisionerCore", "Secrets", "ServiceHost", "Streams", "Wire"]),

        module("ReconcilerCore", "Services/Reconciler/Core", ["API", "Lifecycle", "Model", "Streams", "Wire"]),
        program(
            "rollcall-reconciler", "Services/Reconciler/Executable",
            ["API", "Bus", "Lifecycle", "Model", "ReconcilerCore", "ServiceHost", "Streams", "Wire"]),

        module(
            "HeartbeatIngestCore", "Services/HeartbeatIngest/Core", ["API", "Model", "Streams", "Wire"]),
        program(
            "rollcall-heartbeat-ingest", "Services/HeartbeatIngest/Executable",
            ["API", "Bus", "HeartbeatIngestCore", "Model", "Secrets", "ServiceHost", "Streams", "Wire"]),

        // The files of the dashboard as bytes of the program: `#embed` is of C23.
        .target(
            name: "CDashboard", path: "Services/ControlAPI/Dashboard", exclude: ["files"],
            cSettings: [.unsafeFlags(["-std=c23"])]),
        module("ControlAPICore", "Services/ControlAPI/Core", ["API", "Doctor", "Model", "Wire"]),
        program(
            "rollcall-control-api", "Services/ControlAPI/Executable",
            [
                "API", "AlertDelivery", "Alerts", "Bus", "CDashboard", "ControlAPICore", "HTTP", "Model", "Secrets",
                "ServiceHost", "Wire",
            ]),

        module(
            "StatusStoreCore", "Services/StatusStore/Core", ["API", "Lifecycle", "Model", "Storage", "Streams", "Wire"]),
        program(
            "rollcall-status-store", "Services/StatusStore/Executable",
            [
                "API", "Bus", "Lifecycle", "Model", "SQLiteStorage", "ServiceHost", "StatusStoreCore", "Storage",
                "Streams", "Wire",
            ]),

        // The broker's access plugin: loaded by mosquitto, carries its own Swift runtime.
        module("BrokerAccessCore", "Services/BrokerAccess/Core"),
        .target(
            name: "BrokerAccessPlugin",
            dependencies: ["BrokerAccessCore", "CMosquittoBroker", "Secrets"],
            path: "Services/BrokerAccess/Plugin",
            swiftSettings: strict,
            linkerSettings: [.unsafeFlags(["-static-stdlib"])]),

        // The command line.
        module(
            "RollcallOperator", "Services/CommandLine/Operator",
            [
                "API", "AlertDelivery", "Alerts", "Bus", "Doctor", "Model", "SQLiteStorage", "Secrets", "ServiceHost",
                "Storage",
            ]),
        module(
            "RollcallSupervisor", "Services/CommandLine/Supervisor",
            ["API", "AlertDelivery", "Alerts", "Bus", "CLinux", "Model", "Secrets", "ServiceHost"]),
        module(
            "RollcallRuntime", "Services/CommandLine/Runtime",
            ["API", "Bus", "CLinux", "Model", "ServiceHost"]),
        module(
            "RollcallBench", "Services/CommandLine/Bench",
            ["API", "Bus", "Model", "RollcallSupervisor", "ServiceHost", "Wire"]),
        program(
            "rollcall", "Services/CommandLine/Executable",
            ["API", "RollcallBench", "RollcallOperator", "RollcallRuntime", "RollcallSupervisor", "ServiceHost"]),

        // The simulator of the protocol: a library for its tests, a program for many seeds.
        module(
            "Simulation", "Tests/Simulation",
            [
                "API", "HeartbeatIngestCore", "Lifecycle", "MemoryStorage", "Model", "ProvisionerCore",
                "ReconcilerCore", "SQLiteStorage", "StatusStoreCore", "Storage", "Streams", "Wire",
            ]),
        program("rollcall-simulate", "Tests/SimulateProgram", ["Simulation"]),

        // The database on disks that fail: a library for its tests, a program that dies in the middle.
        .target(name: "CFaultyDisk", dependencies: ["CSQLite"], path: "Tests/CFaultyDisk"),
        module(
            "StorageFaults", "Tests/StorageFaults",
            ["API", "CFaultyDisk", "Lifecycle", "Model", "SQLiteStorage", "Storage", "Wire"]),
        program("rollcall-store-kill", "Tests/StorageFaultProgram", ["StorageFaults"]),

        // Tests, a target by cost and by subject.
        tests("SimulationTests", "Tests/SimulationTests", ["Simulation"]),
        tests("LifecycleTests", "Tests/LifecycleTests", ["Lifecycle", "Model"]),
        .testTarget(
            name: "ContractTests", dependencies: ["API", "Lifecycle", "Model", "Wire"], path: "Tests/ContractTests",
            exclude: ["Golden"], swiftSettings: strict),
        tests(
            "ReconcilerTests", "Tests/ReconcilerTests",
            ["API", "Lifecycle", "Model", "ReconcilerCore", "Streams", "Wire"]),
        .testTarget(
            name: "RollcallTests",
            dependencies: [
                "API", "Bus", "Lifecycle", "Model", "RollcallOperator", "RollcallRuntime", "ServiceHost", "Wire",
            ],
            path: "Tests/RollcallTests", exclude: ["Golden"], swiftSettings: strict),
        tests(
            "SupervisorTests", "Tests/SupervisorTests",
            ["API", "Bus", "Model", "RollcallSupervisor", "ServiceHost"]),
        tests("BusTests", "Tests/BusTests", ["API", "Bus", "CLinux", "Lifecycle", "Model", "Streams", "Wire"]),
        tests("HTTPTests", "Tests/HTTPTests", ["API", "Bus", "HTTP", "Model"]),
        tests("BrokerAccessTests", "Tests/BrokerAccessTests", ["BrokerAccessCore"]),
        tests(
            "ProvisionerTests", "Tests/ProvisionerTests",
            ["API", "Lifecycle", "Model", "ProvisionerCore", "Streams", "Wire", "rollcall-provisioner"]),
        tests(
            "StorageTests", "Tests/StorageTests",
            ["API", "Lifecycle", "MemoryStorage", "Model", "SQLiteStorage", "Storage", "Wire"]),
        tests(
            "StorageFaultTests", "Tests/StorageFaultTests",
            ["Model", "SQLiteStorage", "Storage", "StorageFaults"]),
        tests(
            "StatusStoreTests", "Tests/StatusStoreTests",
            ["API", "Lifecycle", "MemoryStorage", "Model", "StatusStoreCore", "Storage", "Streams", "Wire"]),
        tests("AlertsTests", "Tests/AlertsTests", ["API", "Alerts", "Model", "Wire"]),
        tests("DoctorTests", "Tests/DoctorTests", ["API", "Doctor", "Lifecycle", "Model"]),
        tests("ControlAPITests", "Tests/ControlAPITests", ["API", "ControlAPICore", "Lifecycle", "Model", "Wire"]),
        tests(
            "HeartbeatIngestTests", "Tests/HeartbeatIngestTests",
            ["API", "HeartbeatIngestCore", "Model", "Streams", "Wire"]),
    ]
)
