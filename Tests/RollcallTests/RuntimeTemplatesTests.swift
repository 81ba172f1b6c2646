import API
import Model
import Testing

@testable import RollcallRuntime

/// Newer templates while a command runs, as the runtimes' core takes them.
struct RuntimeTemplatesTests {
    private var core = RuntimeCore()
    private let agent = Samples.address("gw/a")

    init() {
        _ = handle(.connected(nil), at: 0)
    }

    private mutating func handle(_ event: RuntimeEvent, at seconds: Double) -> [RuntimeDirective] {
        var directives: [RuntimeDirective] = []
        core.handle(event, now: Instant(nanoseconds: Int64(seconds * 1e9)), into: &directives)
        return directives
    }

    private func message(_ digest: String, overwrite: Bool = false, reset: Bool = false) -> TemplatesMessage {
        TemplatesMessage(agent: agent, templatesDigest: digest, overwrite: overwrite, resetSession: reset)
    }

    private func wake(_ digest: String = "d1") -> Wake {
        Wake(
            agent: agent, generation: 1, attempt: 1, reason: "provision", heartbeatInterval: .seconds(60),
            templatesDigest: digest, text: #"{"generation":1,"reset_session":false}"#)
    }

    /// A command that runs with the templates `d1`.
    private mutating func run() {
        _ = handle(.woken(wake(), installedDigest: "d1"), at: 0)
        _ = handle(.processStarted(agent, run: 1, bootID: "b1"), at: 0)
        _ = handle(.timePassed, at: 1)
    }

    private func digests(_ directives: [RuntimeDirective]) -> [String?] {
        directives.flatMap { directive -> [String?] in
            if case .publish(let beats) = directive { beats.map(\.templatesDigest) } else { [nil] }
        }
    }

    @Test mutating func newerFilesAreFetchedAndReportedWithoutARestart() {
        run()
        #expect(handle(.templatesAnnounced(message("d2"), installedDigest: "d1"), at: 5) == [.requestFiles(agent)])
        #expect(core.wantsFiles(agent) && !core.overwritesFiles(agent))
        #expect(digests(handle(.filesArrived(agent, digest: "d2"), at: 6)) == ["d2"])
        #expect(!core.wantsFiles(agent))
        #expect(
            digests(handle(.templatesAnnounced(message("d2"), installedDigest: "d2"), at: 7)) == ["d2"],
            "a repeat is answered at once")
    }

    @Test mutating func filesThatDoNotComeAreAskedForAgainForAWhile() {
        run()
        _ = handle(.templatesAnnounced(message("d2"), installedDigest: "d1"), at: 5)
        #expect(core.nextDue == Instant(nanoseconds: 8_000_000_000))
        #expect(handle(.timePassed, at: 8) == [.requestFiles(agent)])
        _ = handle(.timePassed, at: 15)
        #expect(!core.wantsFiles(agent))
    }

    @Test mutating func editedFilesAreOverwrittenOnlyWhenTheMessageSaysSo() {
        run()
        #expect(
            handle(.templatesAnnounced(message("d1", overwrite: true), installedDigest: "d1"), at: 5) == [
                .requestFiles(agent)
            ])
        #expect(core.overwritesFiles(agent))
        #expect(digests(handle(.filesArrived(agent, digest: "d1"), at: 6)) == ["d1"])
        #expect(!core.overwritesFiles(agent))
    }

    @Test mutating func aSessionIsResetOnceWithTheSameWake() {
        run()
        _ = handle(.templatesAnnounced(message("d2", reset: true), installedDigest: "d1"), at: 5)
        let next = wake().resettingSession(templatesDigest: "d2")
        #expect(next.text == #"{"generation":1,"reset_session":true,"templates_digest":"d2"}"#)
        #expect(
            handle(.filesArrived(agent, digest: "d2"), at: 6) == [
                .tell(agent, .replaced(by: next)), .terminate(agent, run: 1),
            ])
        #expect(handle(.templatesAnnounced(message("d2", reset: true), installedDigest: "d2"), at: 7) == [])
        #expect(handle(.processExited(agent, run: 1, status: 143), at: 8) == [.start(next, run: 2)])
        _ = handle(.processStarted(agent, run: 2, bootID: "b2"), at: 8)
        #expect(digests(handle(.timePassed, at: 9)).last == "d2")
        #expect(
            digests(handle(.templatesAnnounced(message("d2", reset: true), installedDigest: "d2"), at: 10)) == ["d2"])
    }

    @Test mutating func whoDoesNotRunGetsItsFilesAndIsNotStarted() {
        #expect(handle(.templatesAnnounced(message("d2"), installedDigest: nil), at: 5) == [.requestFiles(agent)])
        #expect(handle(.filesArrived(agent, digest: "d2"), at: 6) == [])
    }
}
