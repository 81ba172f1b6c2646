import API
import Bus
import Glibc
import Model
import ServiceHost
import Testing

@testable import RollcallSupervisor

struct ProcessTests {
    @Test func pausesDoubleUpToFiveSecondsAndBeginAnewAfterALongRun() {
        var backoff = RestartBackoff()
        let pauses = (0..<7).map { _ in backoff.pause(afterRunning: .seconds(1)).milliseconds }
        #expect(pauses == [200, 400, 800, 1_600, 3_200, 5_000, 5_000])
        #expect(backoff.pause(afterRunning: .seconds(30)).milliseconds == 200)
        #expect(backoff.pause(afterRunning: .seconds(29)).milliseconds == 400)
    }

    @Test func waitStatusSaysHowAProcessEnded() {
        #expect(ChildExit(waitStatus: 0) == .exited(0))
        #expect(ChildExit(waitStatus: 69 << 8) == .exited(69))
        #expect(ChildExit(waitStatus: 9) == .killed(signal: 9))
        #expect(ChildExit(waitStatus: 11 | 0x80) == .killed(signal: 11))
    }

    @Test func childrenSeeNothingThatWouldConfigureThem() {
        let own = [
            "PATH": "/bin", "HOME": "/root", "ROLLCALL_BROKER": "mqtt://elsewhere", "ROLLCALL_CHECKIN_DEADLINE": "1s",
            "TSAN_OPTIONS": "halt_on_error=1", "SECRET": "x",
        ]
        #expect(
            ChildEnvironment.variables(of: own, adding: ["ROLLCALL_PASSWORD_FILE": "/f"]) == [
                "HOME=/root", "PATH=/bin", "ROLLCALL_PASSWORD_FILE=/f", "TSAN_OPTIONS=halt_on_error=1",
            ])
    }

    @Test func linesAreCutWhereTheyEnd() {
        var splitter = LineSplitter()
        #expect(splitter.take(Array("one\ntw".utf8), isLast: false) == ["one"])
        #expect(splitter.take(Array("o\n\nthree".utf8), isLast: false) == ["two", ""])
        #expect(splitter.take([], isLast: true) == ["three"])
        #expect(splitter.take([], isLast: true) == [])
        let long = [UInt8](repeating: UInt8(ascii: "x"), count: LineSplitter.lineBytesMax + 1)
        #expect(splitter.take(long, isLast: true).map(\.utf8.count) == [LineSplitter.lineBytesMax, 1])
    }

    @Test func aPortIsFreeUntilSomebodyListens() throws {
        let port = try #require(LocalPort.free())
        #expect(LocalPort.searched.contains(port))
        #expect(!LocalPort.accepts(port))
        let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(listener) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = in_addr_t(0x7f00_0001).bigEndian
        let bound = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        try #require(bound == 0 && listen(listener, 1) == 0)
        #expect(!LocalPort.isFree(port))
        #expect(LocalPort.accepts(port))
        #expect(LocalPort.free(randomly: { port }) == nil)
    }

    @Test func aSystemIsReadyWhenAllRunAndEveryPartitionHasAnOwnerThatSees() {
        func presence(_ service: ServiceName, _ state: Presence.State = .running) -> Presence {
            Presence(
                service: service, instance: "1", state: state, startedAt: Timestamp(millisecondsSince1970: 0),
                configDigest: "1", incarnation: "a")
        }
        var readiness = Readiness(expected: ["status-store/1", "reconciler/1"])
        #expect(readiness.missing == ["status-store/1 is not running", "reconciler/1 is not running"])
        var store = presence(.statusStore)
        readiness.heard(store)
        readiness.heard(presence(.reconciler, .lost))
        #expect(readiness.missing == ["reconciler/1 is not running"])
        var reconciler = presence(.reconciler)
        readiness.heard(reconciler)
        #expect(readiness.missing == ["the status store announces no partitions"])
        store.partitionCount = 2
        readiness.heard(store)
        reconciler.partitions = ["0": 1]
        readiness.heard(reconciler)
        #expect(readiness.missing == ["1 of 2 partitions have an owner"])
        reconciler.partitions = ["0": 1, "1": 1]
        reconciler.suspended = "starting"
        readiness.heard(reconciler)
        #expect(readiness.missing == ["reconciler/1 judges nothing: starting"])
        reconciler.suspended = nil
        readiness.heard(reconciler)
        #expect(readiness.missing == [])
    }

    @Test func aServiceIsConfiguredByItsArgumentsWithoutASecret() throws {
        let programs = InstalledPrograms(mosquitto: "m", accessPlugin: "p", services: "/b", templates: "/t")
        var configuration = SupervisorConfiguration(data: "/d", programs: programs)
        try configuration.policy.set(.checkinDeadline, to: "5s")
        try configuration.policy.set(.maxWakeAttempts, to: "2")
        let common = [
            "--broker", "unix://svc@/s", "--instance", "1", "--topic-root", "rollcall/v1", "--log-format", "text",
            "--log-level", "info",
        ]
        func arguments(_ service: ServiceName) -> [String] {
            configuration.arguments(
                service, instance: "1", broker: "unix://svc@/s", data: DataDirectory("/d"), httpPort: 1)
        }
        #expect(arguments(.heartbeatIngest) == common)
        #expect(arguments(.controlAPI) == common + ["--http-port", "1", "--tokens", "/d/http-tokens"])
        #expect(arguments(.statusStore) == common + ["--database", "sqlite:/d/rollcall.db"])
        #expect(arguments(.provisioner) == common + ["--templates", "/t"])
        #expect(arguments(.reconciler) == common + ["--checkin-deadline", "5s", "--max-wake-attempts", "2"])
    }
}

struct StopSignalsTests {
    private var signals = StopSignals()

    private mutating func receive(_ signal: Int32, at milliseconds: Int64) -> StopSignals.Wish {
        signals.received(signal, now: Instant(nanoseconds: milliseconds * 1_000_000))
    }

    @Test(arguments: [SIGHUP, SIGTERM]) mutating func aRepeatedHangupOrTermChangesNothing(_ signal: Int32) {
        #expect(receive(signal, at: 0) == .end)
        for time in [0, 500, 2_500, 4_000] { #expect(receive(signal, at: Int64(time)) == .nothing) }
    }

    @Test mutating func anImpatientFingerKillsNothing() {
        #expect(receive(SIGINT, at: 0) == .end)
        for time in 1..<20 { #expect(receive(SIGINT, at: Int64(time) * 100) == .nothing) }
        #expect(receive(SIGINT, at: 2_000) == .kill)
    }

    @Test mutating func aSecondInterruptIsNotEnoughHoweverLate() {
        #expect(receive(SIGTERM, at: 0) == .end)
        #expect(receive(SIGINT, at: 3_000) == .nothing)
        #expect(receive(SIGINT, at: 3_100) == .nothing)
        #expect(receive(SIGINT, at: 3_200) == .kill)
    }
}
