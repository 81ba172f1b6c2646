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
        systemLibrary("CCrypto", package: "libssl-dev", pkgConfig: "libcrypto"),
        systemLibrary("CMicroHTTPD", package: "libmicrohttpd-dev", pkgConfig: "libmicrohttpd"),
        systemLibrary("CCurl", package: "libcurl4-openssl-dev", pkgConfig: "libcurl"),
        .target(name: "CLinux", path: "Shared/CLinux"),

        // Pure modules: no clock, no input or output.
        module("Lifecycle", "Shared/Lifecycle"),
        module("Contract", "Shared/Contract", ["Lifecycle"]),
        module("Streams", "Shared/Streams", ["Contract", "Lifecycle"]),
        module("Storage", "Shared/Storage", ["Contract", "Lifecycle"]),
        module("MemoryStorage", "Shared/MemoryStorage", ["Contract", "Lifecycle", "Storage"]),

        module("Doctor", "Shared/Doctor", ["Contract", "Lifecycle"]),
        module("Alerts", "Shared/Alerts", ["Contract", "Lifecycle"]),

        // Adapters.
        module("Secrets", "Shared/Secrets", ["CCrypto"]),
        module("Bus", "Shared/Bus", ["CMosquitto", "CLinux", "Contract", "Lifecycle", "Streams"]),
        module("HTTP", "Shared/HTTP", ["Bus", "CMicroHTTPD", "Contract", "Lifecycle"]),
        module("SQLiteStorage", "Shared/SQLiteStorage", ["CSQLite", "Contract", "Lifecycle", "Storage"]),
        module("ServiceKit", "Shared/ServiceKit", ["Bus", "CLinux", "Contract", "HTTP", "Lifecycle"]),
        module(
            "AlertDelivery", "Shared/AlertDelivery",
            ["Alerts", "Bus", "CCurl", "Contract", "Lifecycle", "Secrets", "ServiceKit"]),

        // Services.
        module("ProvisionerCore", "Services/Provisioner/Core", ["Contract", "Lifecycle", "Streams"]),
        module(
            "ProvisionerShell", "Services/Provisioner/Shell",
            ["Bus", "Contract", "Lifecycle", "ProvisionerCore", "Secrets", "ServiceKit", "Streams"]),
        program("rollcall-provisioner", "Services/Provisioner/Executable", ["ProvisionerShell", "ServiceKit"]),

        module("ReconcilerCore", "Services/Reconciler/Core", ["Contract", "Lifecycle", "Streams"]),
        module(
            "ReconcilerShell", "Services/Reconciler/Shell",
            ["Bus", "Contract", "Lifecycle", "ReconcilerCore", "ServiceKit", "Streams"]),
        program(
            "rollcall-reconciler", "Services/Reconciler/Executable",
            ["Contract", "Lifecycle", "ReconcilerShell", "ServiceKit"]),

        module("HeartbeatIngestCore", "Services/HeartbeatIngest/Core", ["Contract", "Lifecycle", "Streams"]),
        module(
            "HeartbeatIngestShell", "Services/HeartbeatIngest/Shell",
            ["Bus", "Contract", "HeartbeatIngestCore", "Lifecycle", "Secrets", "ServiceKit", "Streams"]),
        program(
            "rollcall-heartbeat-ingest", "Services/HeartbeatIngest/Executable", ["HeartbeatIngestShell", "ServiceKit"]),

        // The files of the dashboard as bytes of the program: `#embed` is of C23.
        .target(
            name: "CDashboard", path: "Services/ControlAPI/Dashboard", exclude: ["files"],
            cSettings: [.unsafeFlags(["-std=c23"])]),
        module("ControlAPICore", "Services/ControlAPI/Core", ["Contract", "Doctor", "Lifecycle"]),
        module(
            "ControlAPIShell", "Services/ControlAPI/Shell",
            [
                "AlertDelivery", "Alerts", "Bus", "CDashboard", "Contract", "ControlAPICore", "HTTP", "Lifecycle",
                "Secrets",
                "ServiceKit",
            ]),
        program("rollcall-control-api", "Services/ControlAPI/Executable", ["ControlAPIShell", "ServiceKit"]),

        module("StatusStoreCore", "Services/StatusStore/Core", ["Contract", "Lifecycle", "Storage", "Streams"]),
        module(
            "StatusStoreShell", "Services/StatusStore/Shell",
            ["Bus", "Contract", "Lifecycle", "SQLiteStorage", "ServiceKit", "StatusStoreCore", "Storage", "Streams"]),
        program(
            "rollcall-status-store", "Services/StatusStore/Executable", ["Contract", "ServiceKit", "StatusStoreShell"]),

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
                "AlertDelivery", "Alerts", "Bus", "Contract", "Doctor", "Lifecycle", "SQLiteStorage", "Secrets",
                "ServiceKit",
                "Storage",
            ]),
        module(
            "RollcallSupervisor", "Services/CommandLine/Supervisor",
            ["AlertDelivery", "Alerts", "Bus", "CLinux", "Contract", "Lifecycle", "Secrets", "ServiceKit"]),
        module(
            "RollcallRuntime", "Services/CommandLine/Runtime", ["Bus", "CLinux", "Contract", "Lifecycle", "ServiceKit"]),
        module(
            "RollcallBench", "Services/CommandLine/Bench",
            ["Bus", "Contract", "Lifecycle", "RollcallSupervisor", "ServiceKit"]),
        program(
            "rollcall", "Services/CommandLine/Executable",
            ["Contract", "RollcallBench", "RollcallOperator", "RollcallRuntime", "RollcallSupervisor", "ServiceKit"]),

        // The simulator of the protocol: a library for its tests, a program for many seeds.
        module(
            "Simulation", "Tests/Simulation",
            [
                "Contract", "HeartbeatIngestCore", "Lifecycle", "MemoryStorage", "ProvisionerCore", "ReconcilerCore",
                "SQLiteStorage", "StatusStoreCore", "Storage", "Streams",
            ]),
        program("rollcall-simulate", "Tests/SimulateProgram", ["Simulation"]),

        // The database on disks that fail: a library for its tests, a program that dies in the middle.
        .target(name: "CFaultyDisk", dependencies: ["CSQLite"], path: "Tests/CFaultyDisk"),
        module(
            "StorageFaults", "Tests/StorageFaults",
            ["CFaultyDisk", "Contract", "Lifecycle", "SQLiteStorage", "Storage"]),
        program("rollcall-store-kill", "Tests/StorageFaultProgram", ["StorageFaults"]),

        // Tests, a target by cost and by subject.
        tests("SimulationTests", "Tests/SimulationTests", ["Simulation"]),
        tests("LifecycleTests", "Tests/LifecycleTests", ["Lifecycle"]),
        .testTarget(
            name: "ContractTests", dependencies: ["Contract", "Lifecycle"], path: "Tests/ContractTests",
            exclude: ["Golden"], swiftSettings: strict),
        tests("ReconcilerTests", "Tests/ReconcilerTests", ["Contract", "Lifecycle", "ReconcilerCore", "Streams"]),
        .testTarget(
            name: "RollcallTests",
            dependencies: ["Bus", "Contract", "Lifecycle", "RollcallOperator", "RollcallRuntime", "ServiceKit"],
            path: "Tests/RollcallTests", exclude: ["Golden"], swiftSettings: strict),
        tests(
            "SupervisorTests", "Tests/SupervisorTests",
            ["Bus", "Contract", "Lifecycle", "RollcallSupervisor", "ServiceKit"]),
        tests("BusTests", "Tests/BusTests", ["Bus", "CLinux", "Contract", "Lifecycle", "Streams"]),
        tests("HTTPTests", "Tests/HTTPTests", ["Bus", "Contract", "HTTP", "Lifecycle"]),
        tests("BrokerAccessTests", "Tests/BrokerAccessTests", ["BrokerAccessCore"]),
        tests(
            "ProvisionerTests", "Tests/ProvisionerTests",
            ["Contract", "Lifecycle", "ProvisionerCore", "ProvisionerShell", "Streams"]),
        tests(
            "StorageTests", "Tests/StorageTests",
            ["Contract", "Lifecycle", "MemoryStorage", "SQLiteStorage", "Storage"]),
        tests(
            "StorageFaultTests", "Tests/StorageFaultTests",
            ["Contract", "Lifecycle", "SQLiteStorage", "Storage", "StorageFaults"]),
        tests(
            "StatusStoreTests", "Tests/StatusStoreTests",
            ["Contract", "Lifecycle", "MemoryStorage", "StatusStoreCore", "Storage", "Streams"]),
        tests("AlertsTests", "Tests/AlertsTests", ["Alerts", "Contract", "Lifecycle"]),
        tests("DoctorTests", "Tests/DoctorTests", ["Contract", "Doctor", "Lifecycle"]),
        tests("ControlAPITests", "Tests/ControlAPITests", ["Contract", "ControlAPICore", "Lifecycle"]),
        tests(
            "HeartbeatIngestTests", "Tests/HeartbeatIngestTests",
            ["Contract", "HeartbeatIngestCore", "Lifecycle", "Streams"]),
    ]
)
