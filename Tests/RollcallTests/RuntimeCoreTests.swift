import Model
import Testing

@testable import RollcallRuntime

/// The decisions of both runtimes, as transcripts: what happened, and what is to be done then.
struct RuntimeCoreTests {
    private var core = RuntimeCore()
    private let agent = Samples.address("gw/a")

    init() {
        _ = handle(.connected(nil), at: 0)
    }

    // MARK: Starting

    @Test mutating func aWakeStartsTheCommandAndASecondOfLifeChecksItIn() {
        #expect(woken(1, 1, at: 0) == [.start(wake(1, 1), run: 1)])
        #expect(handle(.processStarted(agent, run: 1, bootID: "b1"), at: 0) == [])
        #expect(core.nextDue == instant(1))
        #expect(handle(.timePassed, at: 0.999) == [])
        #expect(
            handle(.timePassed, at: 1)
                == [.tell(agent, .proved), .publish([beat(1, 1, "b1", 1, digest: "d1")])])
        #expect(core.nextDue == instant(61))
        #expect(handle(.timePassed, at: 61) == [.publish([beat(1, 1, "b1", 2)])])
        #expect(
            handle(.processExited(agent, run: 1, status: 0), at: 70) == [
                .tell(agent, .ended), .publish([beat(1, 1, "b1", 3, .ended(status: 0))]),
            ])
        #expect(core.nextDue == nil)
    }

    @Test mutating func anEarlyExitWithoutAnErrorSendsNothing() {
        _ = woken(1, 1, at: 0)
        _ = handle(.processStarted(agent, run: 1, bootID: "b1"), at: 0)
        #expect(handle(.processExited(agent, run: 1, status: 0), at: 0.9) == [.tell(agent, .endedEarly)])
        #expect(handle(.timePassed, at: 1) == [])
        #expect(woken(1, 1, at: 2) == [.tell(agent, .ignoredRepeat(wake(1, 1)))], "a repeat starts nothing")
        #expect(woken(1, 2, at: 3) == [.start(wake(1, 2), run: 2)], "the next attempt does")
    }

    @Test mutating func anEarlyExitWithAnErrorIsTold() {
        _ = woken(1, 1, at: 0)
        _ = handle(.processStarted(agent, run: 1, bootID: "b1"), at: 0)
        let note = "the command ended with status 3 in its first second"
        #expect(
            handle(.processExited(agent, run: 1, status: 3), at: 0.9) == [
                .tell(agent, .endedEarly), .publish([wake(1, 1).beat(.ended(status: 3), note: note)]),
            ])
        #expect(wake(1, 1).beat(.ended(status: 3), note: note).bootID == nil, "that life never began")
    }

    @Test mutating func aFailedStartIsToldWithItsReason() {
        _ = woken(1, 1, at: 0)
        #expect(
            handle(.startFailed(agent, run: 1, note: "mkdir: Permission denied"), at: 0) == [
                .tell(agent, .endedEarly),
                .publish([wake(1, 1).beat(.ended(status: 126), note: "mkdir: Permission denied")]),
            ])
        #expect(woken(1, 2, at: 3) == [.start(wake(1, 2), run: 2)])
    }

    @Test mutating func aFailedStartIsToldWhenThereIsAConnection() {
        _ = handle(.disconnected, at: 0)
        _ = woken(1, 1, at: 0)
        #expect(handle(.startFailed(agent, run: 1, note: "no"), at: 0) == [.tell(agent, .endedEarly)])
        #expect(handle(.connected(nil), at: 1) == [.publish([wake(1, 1).beat(.ended(status: 126), note: "no")])])
        #expect(handle(.connected(nil), at: 2) == [])
    }

    @Test func aNoteIsNoLongerThanTheContractTakes() {
        let note = wake(1, 1).beat(.waiting, note: String(repeating: "ä\u{301}", count: 200)).note
        #expect(note?.unicodeScalars.count == 256)
    }

    // MARK: Wakes while it runs

    @Test mutating func aRepeatIsAnsweredAtOnce() {
        run(1, 1, bootID: "b1", at: 0)
        #expect(woken(1, 1, at: 5) == [.publish([beat(1, 1, "b1", 2, digest: "d1")])])
        #expect(core.nextDue == instant(65), "the answer was a heartbeat")
    }

    @Test mutating func aLaterAttemptOfTheSameCycleRestartsNothing() {
        run(1, 1, bootID: "b1", at: 0)
        #expect(woken(1, 2, at: 5) == [.publish([beat(1, 2, "b1", 2, digest: "d1")])])
        #expect(woken(1, 1, at: 6) == [.tell(agent, .ignoredOldWake(wake(1, 1)))])
    }

    @Test mutating func aYoungCommandIsNotAnsweredForBeforeItsSecond() {
        _ = woken(1, 1, at: 0)
        _ = handle(.processStarted(agent, run: 1, bootID: "b1"), at: 0)
        #expect(woken(1, 1, at: 0.5) == [])
        #expect(woken(1, 2, at: 0.6) == [])
        #expect(handle(.timePassed, at: 1) == [.tell(agent, .proved), .publish([beat(1, 2, "b1", 1, digest: "d1")])])
    }

    @Test mutating func aNewCycleReplacesTheCommandWithoutAGoodbye() {
        run(1, 1, bootID: "b1", at: 0)
        #expect(
            woken(2, 1, at: 5) == [.tell(agent, .replaced(by: wake(2, 1))), .terminate(agent, run: 1)])
        #expect(woken(2, 1, at: 6) == [])
        #expect(handle(.timePassed, at: 14.9) == [])
        #expect(handle(.timePassed, at: 15) == [.kill(agent, run: 1)])
        #expect(core.nextDue == nil)
        #expect(handle(.processExited(agent, run: 1, status: 0), at: 15.1) == [.start(wake(2, 1), run: 2)])
    }

    @Test mutating func aRecoveryIsAnsweredAndRestartsNothing() {
        run(1, 1, bootID: "b1", at: 0)
        #expect(woken(2, 1, reason: "recover", at: 5) == [.publish([beat(2, 1, "b1", 2, digest: "d1")])])
        #expect(woken(2, 2, reason: "retrigger", at: 6) == [.publish([beat(2, 2, "b1", 3, digest: "d1")])])
        #expect(woken(3, 1, at: 7).contains(.terminate(agent, run: 1)), "a cycle that was asked for does")
    }

    @Test mutating func aRecoveryOfAYoungCommandIsItsCheckIn() {
        _ = woken(1, 1, at: 0)
        _ = handle(.processStarted(agent, run: 1, bootID: "b1"), at: 0)
        #expect(woken(2, 1, reason: "recover", at: 0.5) == [])
        #expect(handle(.timePassed, at: 1) == [.tell(agent, .proved), .publish([beat(2, 1, "b1", 1, digest: "d1")])])
    }

    /// The first wake of a recovery may have been lost with the connection: the record says what the cycle is for.
    @Test mutating func aLaterAttemptOfARecoveryRestartsNothing() {
        run(1, 1, bootID: "b1", at: 0)
        #expect(handle(.recovering(agent, generation: 2), at: 4) == [])
        #expect(woken(2, 2, reason: "retrigger", at: 5) == [.publish([beat(2, 2, "b1", 2, digest: "d1")])])
        #expect(woken(3, 2, reason: "retrigger", at: 6).contains(.terminate(agent, run: 1)))
    }

    @Test mutating func aRecoveryOfWhatDoesNotRunStartsIt() {
        #expect(handle(.recovering(agent, generation: 1), at: 0) == [])
        #expect(woken(1, 1, reason: "recover", at: 1) == [.start(wake(1, 1, reason: "recover"), run: 1)])
    }

    @Test mutating func aRecoveryOfWhatHasFinishedIsToldSo() {
        run(1, 1, bootID: "b1", at: 0)
        _ = handle(.disconnected, at: 5)
        #expect(handle(.processExited(agent, run: 1, status: 0), at: 6) == [.tell(agent, .ended)])
        #expect(handle(.connected(nil), at: 7) == [.publish([beat(1, 1, "b1", 2, .ended(status: 0))])])
        #expect(woken(1, 2, reason: "retrigger", at: 8) == [.publish([beat(1, 2, "b1", 3, .ended(status: 0))])])
        #expect(woken(2, 1, reason: "recover", at: 9) == [.publish([beat(2, 1, "b1", 4, .ended(status: 0))])])
        #expect(woken(2, 2, reason: "retrigger", at: 10) == [.publish([beat(2, 2, "b1", 5, .ended(status: 0))])])
        #expect(woken(3, 1, at: 11) == [.start(wake(3, 1), run: 2)], "a cycle that was asked for starts it")
    }

    @Test mutating func aRecoveryOfWhatHasFailedStartsIt() {
        run(1, 1, bootID: "b1", at: 0)
        _ = handle(.processExited(agent, run: 1, status: 3), at: 6)
        #expect(woken(2, 1, reason: "recover", at: 9) == [.start(wake(2, 1, reason: "recover"), run: 2)])
    }

    @Test mutating func theNewestWakeIsStartedAfterAReplacement() {
        run(1, 1, bootID: "b1", at: 0)
        _ = woken(2, 1, at: 5)
        #expect(woken(3, 1, at: 6) == [])
        #expect(woken(2, 2, at: 7) == [.tell(agent, .ignoredOldWake(wake(2, 2)))])
        #expect(handle(.processExited(agent, run: 1, status: 0), at: 8) == [.start(wake(3, 1), run: 2)])
    }

    // MARK: Files

    @Test mutating func filesComeFirst() {
        #expect(woken(1, 1, installed: nil, at: 0) == [.requestFiles(agent)])
        #expect(core.wantsFiles(agent))
        #expect(handle(.timePassed, at: 3) == [.requestFiles(agent)])
        #expect(handle(.filesArrived(agent, digest: "d2"), at: 4) == [.start(wake(1, 1), run: 1)])
        #expect(!core.wantsFiles(agent))
        _ = handle(.processStarted(agent, run: 1, bootID: "b1"), at: 4)
        #expect(
            handle(.timePassed, at: 5) == [.tell(agent, .proved), .publish([beat(1, 1, "b1", 1, digest: "d2")])],
            "it reports the files that it has")
    }

    @Test mutating func theCommandStartsWithoutFilesThatDoNotCome() {
        _ = woken(1, 1, installed: "d0", at: 0)
        _ = handle(.timePassed, at: 3)
        _ = handle(.timePassed, at: 6)
        _ = handle(.timePassed, at: 9)
        #expect(
            handle(.timePassed, at: 10) == [.tell(agent, .startsWithoutFiles(wake(1, 1))), .start(wake(1, 1), run: 1)])
        #expect(handle(.filesArrived(agent, digest: "d1"), at: 11) == [])
    }

    @Test mutating func filesThatCannotBeUsedDoNotHoldTheStart() {
        _ = woken(1, 1, installed: nil, at: 0)
        #expect(
            handle(.filesFailed(agent, note: "no room"), at: 1) == [
                .tell(agent, .startsWithoutFiles(wake(1, 1))), .start(wake(1, 1), run: 1),
            ])
    }

    @Test mutating func itsCheckInSaysThatFilesAreMissing() {
        _ = woken(1, 1, installed: nil, at: 0)
        _ = handle(.filesFailed(agent, note: "no room"), at: 1)
        _ = handle(.processStarted(agent, run: 1, bootID: "b1"), at: 1)
        let note = "started without its files: no room"
        #expect(
            handle(.timePassed, at: 2) == [.tell(agent, .proved), .publish([beat(1, 1, "b1", 1, note: note)])])
    }

    @Test mutating func aWakeWithoutTemplatesNeedsNoFiles() {
        #expect(woken(1, 1, digest: nil, installed: nil, at: 0) == [.start(wake(1, 1, digest: nil), run: 1)])
    }

    @Test mutating func whileFilesComeTheNewestWakeCounts() {
        _ = woken(1, 1, installed: nil, at: 0)
        #expect(woken(1, 1, installed: nil, at: 1) == [])
        #expect(woken(1, 2, installed: nil, at: 2) == [])
        #expect(woken(2, 1, digest: "d2", installed: nil, at: 2.5) == [.requestFiles(agent)])
        #expect(handle(.filesArrived(agent, digest: "d2"), at: 3) == [.start(wake(2, 1, digest: "d2"), run: 1)])
    }

    @Test mutating func filesAreAskedForAgainAfterAReconnect() {
        _ = woken(1, 1, installed: nil, at: 0)
        _ = handle(.disconnected, at: 1)
        #expect(handle(.timePassed, at: 3) == [])
        #expect(handle(.connected(nil), at: 4) == [.requestFiles(agent)])
    }

    // MARK: The connection

    @Test mutating func afterAReconnectAllThatRunHeartbeat() {
        run(1, 1, bootID: "b1", at: 0)
        run(1, 1, bootID: "c1", of: "gw/b", at: 2)
        _ = handle(.disconnected, at: 10)
        #expect(core.nextDue == nil, "nobody would hear a heartbeat")
        #expect(
            handle(.connected(nil), at: 20)
                == [.publish([beat(1, 1, "b1", 2, digest: "d1"), beat(1, 1, "c1", 2, digest: "d1", of: "gw/b")])])
    }

    @Test mutating func aCheckInWaitsForTheConnection() {
        _ = handle(.disconnected, at: 0)
        _ = woken(1, 1, at: 0)
        _ = handle(.processStarted(agent, run: 1, bootID: "b1"), at: 0)
        #expect(handle(.timePassed, at: 1) == [.tell(agent, .proved)])
        #expect(handle(.connected(nil), at: 5) == [.publish([beat(1, 1, "b1", 1, digest: "d1")])])
    }

    @Test mutating func aGoodbyeWaitsForTheConnection() {
        run(1, 1, bootID: "b1", at: 0)
        _ = handle(.disconnected, at: 5)
        #expect(handle(.processExited(agent, run: 1, status: 137), at: 6) == [.tell(agent, .ended)])
        #expect(handle(.connected(nil), at: 7) == [.publish([beat(1, 1, "b1", 2, .ended(status: 137))])])
        _ = handle(.disconnected, at: 8)
        #expect(handle(.connected(nil), at: 9) == [])
    }

    @Test mutating func heartbeatsOfAGatewayGatherInOneMessage() {
        run(1, 1, bootID: "b1", at: 0)
        run(1, 1, bootID: "c1", of: "gw/b", at: 40)
        // At 41 the check-in of the second took the first along, which was 40 s old; at 101 both are due.
        #expect(core.nextDue == instant(101))
        #expect(
            handle(.timePassed, at: 101) == [.publish([beat(1, 1, "b1", 3), beat(1, 1, "c1", 2, of: "gw/b")])])
    }

    @Test mutating func theRuntimeOfAnAgentSaysThatItWaits() {
        let host = Host(agent: agent, bootID: "b1")
        let waiting = Beat(agent: agent, kind: .waiting, bootID: "b1")
        #expect(handle(.connected(host), at: 1) == [.publish([waiting])])
        _ = handle(.disconnected, at: 2)
        #expect(handle(.connected(host), at: 3) == [.publish([waiting])])
        run(1, 1, bootID: "b1", at: 4)
        _ = handle(.disconnected, at: 6)
        #expect(handle(.connected(host), at: 7) == [.publish([beat(1, 1, "b1", 2, digest: "d1")])])
    }

    // MARK: Removal

    @Test mutating func aRemovedAgentIsStoppedWithoutAGoodbye() {
        run(1, 1, bootID: "b1", at: 0)
        #expect(handle(.removed(agent, generation: 1), at: 5) == [.terminate(agent, run: 1)])
        #expect(handle(.removed(agent, generation: nil), at: 5.1) == [])
        #expect(woken(1, 1, at: 5.2) == [])
        #expect(handle(.processExited(agent, run: 1, status: 0), at: 6) == [.tell(agent, .removed)])
        #expect(woken(1, 1, at: 7) == [.tell(agent, .ignoredRepeat(wake(1, 1)))])
        #expect(woken(2, 1, at: 8) == [.start(wake(2, 1), run: 2)], "it was provisioned again")
    }

    @Test mutating func anEmptiedStatusStopsWhatRuns() {
        run(1, 1, bootID: "b1", at: 0)
        #expect(handle(.removed(agent, generation: nil), at: 5) == [.terminate(agent, run: 1)])
    }

    @Test mutating func aRemovalOfAnEarlierIncarnationIsOld() {
        run(2, 1, bootID: "b1", at: 0)
        #expect(handle(.removed(agent, generation: 1), at: 5) == [])
    }

    @Test mutating func aRemovedAgentThatFetchesIsForgotten() {
        _ = woken(1, 1, installed: nil, at: 0)
        #expect(handle(.removed(agent, generation: 1), at: 1) == [])
        #expect(handle(.filesArrived(agent, digest: "d1"), at: 2) == [])
    }

    @Test mutating func whatNeverRanIsNotStopped() {
        #expect(handle(.removed(agent, generation: nil), at: 0) == [])
    }

    // MARK: The end

    @Test mutating func theEndStopsAllAndSaysGoodbyeForEach() {
        run(1, 1, bootID: "b1", at: 0)
        _ = woken(1, 1, of: "gw/b", at: 1)
        _ = handle(.processStarted(Samples.address("gw/b"), run: 1, bootID: "c1"), at: 1)
        #expect(
            handle(.stopRequested, at: 1.5)
                == [.terminate(agent, run: 1), .terminate(Samples.address("gw/b"), run: 1)])
        #expect(woken(2, 1, at: 2) == [], "nothing new is started")
        #expect(
            handle(.processExited(agent, run: 1, status: 0), at: 2) == [.publish([beat(1, 1, "b1", 2, .hostStopping)])])
        #expect(handle(.timePassed, at: 4.5) == [.kill(Samples.address("gw/b"), run: 1)])
        #expect(
            handle(.processExited(Samples.address("gw/b"), run: 1, status: 143), at: 4.6)
                == [.publish([wake(1, 1, of: "gw/b").beat(.hostStopping)]), .finish], "it had never checked in")
    }

    @Test mutating func theEndOfAnIdleRuntimeIsAtOnce() {
        #expect(handle(.stopRequested, at: 0) == [.finish])
    }

    @Test mutating func theEndDoesNotWaitForFiles() {
        _ = woken(1, 1, installed: nil, at: 0)
        #expect(handle(.stopRequested, at: 1) == [.publish([wake(1, 1).beat(.hostStopping)]), .finish])
    }

    @Test mutating func theEndShortensAReplacement() {
        run(1, 1, bootID: "b1", at: 0)
        _ = woken(2, 1, at: 5)
        #expect(handle(.stopRequested, at: 6) == [])
        #expect(handle(.timePassed, at: 9) == [.kill(agent, run: 1)])
        #expect(
            handle(.processExited(agent, run: 1, status: 0), at: 9.1) == [
                .publish([beat(1, 1, "b1", 2, .hostStopping)]), .finish,
            ])
    }

    @Test mutating func whatDoesNotEndIsLeftBehind() {
        run(1, 1, bootID: "b1", at: 0)
        _ = handle(.stopRequested, at: 5)
        _ = handle(.timePassed, at: 8)
        #expect(handle(.stopLimitPassed, at: 8.8) == [.publish([beat(1, 1, "b1", 2, .hostStopping)]), .finish])
    }
}

// MARK: - Words of the transcripts

extension RuntimeCoreTests {
    private func instant(_ seconds: Double) -> Instant { Instant(nanoseconds: Int64(seconds * 1_000) * 1_000_000) }

    private mutating func handle(_ event: RuntimeEvent, at seconds: Double) -> [RuntimeDirective] {
        var directives: [RuntimeDirective] = []
        core.handle(event, now: instant(seconds), into: &directives)
        return directives
    }

    private func wake(
        _ generation: Int, _ attempt: Int, reason: String = "provision", digest: String? = "d1",
        of agent: String = "gw/a"
    ) -> Wake {
        Wake(
            agent: Samples.address(agent), generation: generation, attempt: attempt, reason: reason,
            heartbeatInterval: .seconds(60), templatesDigest: digest, text: "{}")
    }

    private mutating func woken(
        _ generation: Int, _ attempt: Int, reason: String = "provision", digest: String? = "d1",
        installed: String? = "d1", of agent: String = "gw/a", at seconds: Double
    ) -> [RuntimeDirective] {
        let wake = wake(generation, attempt, reason: reason, digest: digest, of: agent)
        return handle(.woken(wake, installedDigest: installed), at: seconds)
    }

    /// Starts a command and lets it check in, one second later.
    private mutating func run(
        _ generation: Int, _ attempt: Int, bootID: String, of agent: String = "gw/a", at seconds: Double
    ) {
        _ = woken(generation, attempt, of: agent, at: seconds)
        _ = handle(.processStarted(Samples.address(agent), run: 1, bootID: bootID), at: seconds)
        _ = handle(.timePassed, at: seconds + 1)
    }

    private func beat(
        _ generation: Int, _ attempt: Int, _ bootID: String, _ seq: Int64, _ kind: BeatKind = .alive,
        digest: String? = nil, note: String? = nil, of agent: String = "gw/a"
    ) -> Beat {
        Beat(
            agent: Samples.address(agent), kind: kind, generation: generation, attempt: attempt, bootID: bootID,
            seq: seq, templatesDigest: digest, note: note)
    }
}
