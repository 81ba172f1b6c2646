import Lifecycle
import Model
import Testing

/// What comes back: an agent's host, an agent of an older generation, one that ended and ends again.
@Suite struct ReturnTests {
    // MARK: The host

    @Test func itsHostsReturnRecoversAWantedAgent() {
        var subject = Subject.awaitingCheckin([.maxWakeAttempts: "1"])
        _ = subject.passToDue()
        #expect(subject.hostReturned() == ["updating (recover)", "permit?"])
        #expect(subject.record.recoveries == 1)
        #expect(subject.hostReturned() == [], "its wake is queued")
    }

    @Test func itRepeatsAWakeThatIsWaitedForWithAFullDeadline() {
        var subject = Subject.awaitingCheckin([.maxWakeAttempts: "1"])
        subject.pass("29s")
        #expect(subject.hostReturned() == ["changed (host_returned)", "permit?"])
        #expect(subject.grantPermit() == ["order 1.1#2 provision"])
        _ = subject.woken()
        #expect(subject.dueIn == 30_000)
    }

    @Test func anOrderThatWasOnItsWayIsRepeatedWhenItCameTooEarly() {
        var subject = Subject()
        _ = subject.provision()
        _ = subject.grantPermit()
        subject.pass("1s")
        #expect(subject.hostReturned() == [])
        subject.pass("5s")
        var late = subject
        #expect(
            subject.woken(age: "6s") == ["settle", "woken (provision)", "changed (host_returned)", "permit?"],
            "published before it was there")
        #expect(late.woken() == ["settle", "woken (provision)"], "published to it")
    }

    @Test func anOnlineAgentHasItsGraceToBeHeardOf() {
        var subject = Subject.online()
        subject.pass("1s")
        #expect(subject.hostReturned() == [])
        #expect(subject.dueIn == 10_000)
        var heard = subject
        heard.pass("5s")
        _ = heard.heartbeat()
        #expect(heard.dueIn == 600_000)
        #expect(subject.passToDue() == ["lapsed (host_restarted)", "updating (recover)", "permit?"])
    }

    @Test func anOutageBeforeDoesNotExplainTheSilenceBehindAHostThatBeganAnew() {
        var subject = Subject.online()
        _ = subject.observabilityRestored()
        var other = subject
        _ = subject.apply { $0.hostReturned($1, into: &$2) }
        #expect(subject.dueIn == 90_000)
        _ = other.apply { $0.hostReturned(isNewIncarnation: true, $1, into: &$2) }
        #expect(other.dueIn == 10_000)
    }

    @Test func whoWasHeardOfSinceItWasAwayIsThere() {
        var subject = Subject.online()
        let away = subject.now - .seconds(1)
        _ = subject.apply { $0.hostReturned(heardAfter: away, $1, into: &$2) }
        #expect(subject.phase == .online)
    }

    @Test func whoSaysLateThatItHasFinishedIsNotStartedAgain() {
        var subject = Subject.awaitingCheckin([.maxWakeAttempts: "1"])
        _ = subject.passToDue()
        var host = subject
        #expect(subject.heartbeat(.stopping, exitStatus: 0) == ["changed (reported)"])
        #expect(!subject.record.isWanted)
        #expect(subject.hostReturned() == [])
        #expect(subject.heartbeat(.stopping) == ["seen"], "once is enough")
        #expect(host.heartbeat(.stopping, reason: .hostStopping) == ["seen"])
        #expect(host.hostReturned() == ["updating (recover)", "permit?"], "its host has stopped it, nobody else")
    }

    @Test func whoHasFinishedIsNotRecoveredWhenItsTimeComes() {
        var subject = Subject.online()
        _ = subject.heartbeat(.stopping, exitStatus: 3)
        _ = subject.grantPermit()
        _ = subject.woken()
        _ = subject.heartbeat()
        _ = subject.heartbeat(.stopping, exitStatus: 3)
        #expect(subject.record.status == .offline && subject.dueIn != nil, "its next recovery waits")
        _ = subject.heartbeat(.stopping)
        #expect(subject.dueIn == nil)
    }

    @Test func aPausedAgentIsToldOnItsResume() {
        var subject = Subject.awaitingCheckin([.maxWakeAttempts: "1"])
        _ = subject.passToDue()
        _ = subject.pause()
        #expect(subject.hostReturned() == [])
        #expect(subject.resume() == ["resumed (agent)", "updating (recover)", "permit?"])
    }

    @Test func whoIsNotWantedIsLeftAlone() {
        var finished = Subject.online()
        _ = finished.heartbeat(.stopping)
        #expect(!finished.record.isWanted)
        #expect(finished.hostReturned() == [], "it has done its work")

        var stopped = Subject.online()
        _ = stopped.heartbeat(.stopping, reason: .hostStopping)
        #expect(stopped.record.isWanted)
        #expect(stopped.record.offlineReason == .goodbye)
        #expect(stopped.hostReturned() == ["updating (recover)", "permit?"])

        var unwanted = Subject.awaitingCheckin([.maxWakeAttempts: "1"])
        _ = unwanted.passToDue()
        _ = unwanted.apply { $0.provisionWithoutWake($1, into: &$2) }
        #expect(unwanted.record.offlineReason == .neverWoken)
        #expect(unwanted.hostReturned() == [], "an operator has said since that it is not to be woken")
    }

    @Test func aSuccessorKnowsWhichReturnWasTold() {
        var subject = Subject.awaitingCheckin([.maxWakeAttempts: "1"])
        _ = subject.passToDue()
        _ = subject.hostReturned()
        subject.restore()
        #expect(!subject.machine.isToBeTold(ofReturn: 1))
        #expect(subject.machine.isToBeTold(ofReturn: 2))
    }

    // MARK: Waiting

    @Test func waitingIsNoSignOfLifeAndSaysThatTheHostIsThere() {
        var subject = Subject.awaitingCheckin([.maxWakeAttempts: "1"])
        let seen = subject.record.lastSeenAt
        subject.pass("1s")
        #expect(subject.heartbeat(.waiting, boot: "b-1") == ["changed (host_returned)", "permit?"])
        _ = subject.grantPermit()
        _ = subject.woken()
        _ = subject.passToDue()
        #expect(subject.heartbeat(.waiting, boot: "b-2") == ["updating (recover)", "permit?"])
        #expect(subject.record.lastSeenAt == seen)
        #expect(subject.record.bootID == nil)
    }

    @Test func anOnlineAgentWhoseHostWaitsLapsesAtOnce() {
        var subject = Subject.online(boot: "b-1")
        subject.pass("1s")
        #expect(
            subject.heartbeat(.waiting, boot: "b-2") == ["lapsed (host_restarted)", "updating (recover)", "permit?"])

        var late = Subject.online(boot: "b-1")
        late.pass("1s")
        _ = late.heartbeat(boot: "b-2")
        #expect(late.heartbeat(.waiting, boot: "b-1") == [], "of a boot before the current one")
        #expect(late.heartbeat(.waiting, age: "1s") == [], "it was heard of since")
    }

    // MARK: Crashes

    @Test func anExitStatusIsALapse() {
        var subject = Subject.online(boot: "b-1")
        #expect(
            subject.heartbeat(.stopping, boot: "b-1", exitStatus: 3, note: "boom")
                == ["lapsed (crashed)", "updating (recover)", "permit?"])
        #expect(subject.record.lastExitStatus == 3)
        #expect(subject.record.note == "boom")
        #expect(subject.record.isWanted)

        var clean = Subject.online()
        #expect(clean.heartbeat(.stopping, exitStatus: 0) == ["offline (goodbye)"])
        #expect(clean.record.lastExitStatus == 0)
    }

    @Test func aStartThatFailedIsKeptAndTheDeadlineRuns() {
        var subject = Subject.awaitingCheckin([.maxWakeAttempts: "1"])
        subject.pass("1s")
        let lines = subject.heartbeat(.stopping, generation: 1, exitStatus: 126, note: "no such folder")
        #expect(lines == ["changed (reported)"])
        #expect(subject.record.status == .provisioning)
        #expect(subject.dueIn == 29_000)
        #expect(subject.passToDue() == ["offline (checkin_missed)"])
        #expect(subject.record.lastProvisionError?.hasSuffix(": it exited with status 126") == true)
        #expect(subject.record.note == "no such folder")
        subject.pass("1s")
        _ = subject.heartbeat()
        #expect(subject.record.note == nil)
    }

    @Test func aPausedAgentThatCrashedLapsesOnItsResume() {
        var subject = Subject.online()
        _ = subject.pause()
        #expect(subject.heartbeat(.stopping, exitStatus: 1) == ["changed (reported)"])
        #expect(subject.resume() == ["resumed (agent)", "lapsed (crashed)", "updating (recover)", "permit?"])
    }

    // MARK: One after the other

    @Test func recoveriesWaitLongerAndLonger() {
        var subject = Subject.online()
        var waits: [Int64] = []
        for number in 1...7 {
            subject.pass("2s")
            let lines = subject.heartbeat(.stopping, exitStatus: 3)
            if number == 1 {
                #expect(lines == ["lapsed (crashed)", "updating (recover)", "permit?"])
                waits.append(0)
            } else {
                #expect(lines == ["lapsed (crashed)", "offline (lapsed)"])
                waits.append(subject.dueIn ?? -1)
                let wait = waits[number - 1] / 1_000
                #expect(subject.record.lastProvisionError == "recovery \(number) in a row waits \(wait)s")
                if number == 4 { subject.restore(away: "1s") }
                #expect(subject.passToDue() == ["updating (recover)", "permit?"])
            }
            #expect(subject.record.recoveries == number)
            _ = subject.grantPermit()
            _ = subject.woken()
            subject.pass("1s")
            _ = subject.heartbeat()
        }
        #expect(waits == [0, 10_000, 20_000, 40_000, 80_000, 160_000, 300_000])
    }

    @Test func whoIsOnlineForLongIsWell() {
        var subject = Subject.online()
        _ = subject.heartbeat(.stopping, exitStatus: 3)
        _ = subject.grantPermit()
        _ = subject.woken()
        subject.pass("1s")
        _ = subject.heartbeat()
        subject.pass("9m")
        _ = subject.heartbeat()
        #expect(subject.passToDue() == ["changed (well)"])
        #expect(subject.record.recoveries == 0)
        #expect(subject.heartbeat(.stopping, exitStatus: 3).contains("updating (recover)"))
    }

    @Test func whoComesByItselfIsNotRecovered() {
        var subject = Subject.online()
        for _ in 1...2 {
            _ = subject.heartbeat(.stopping, exitStatus: 3)
            _ = subject.grantPermit()
            _ = subject.woken()
            subject.pass("1s")
            _ = subject.heartbeat()
        }
        #expect(subject.record.status == .online)
        #expect(subject.dueIn == 600_000)
    }

    @Test func anOperatorDoesNotWait() {
        var subject = Subject.online([.recoverBackoff: "1h", .recoverBackoffMax: "2h"])
        for _ in 1...2 {
            _ = subject.heartbeat(.stopping, exitStatus: 3)
            _ = subject.grantPermit()
            _ = subject.woken()
            subject.pass("1s")
            if subject.record.status == .updating { _ = subject.heartbeat() }
        }
        #expect(subject.record.status == .offline)
        #expect(subject.wake() == ["updating (manual)", "permit?"])
        #expect(subject.record.recoveries == 0)
    }

    // MARK: Older generations

    @Test func anOlderGenerationBringsAnOfflineAgentBack() {
        var subject = Subject.online([.maxWakeAttempts: "1"])
        _ = subject.wake()
        _ = subject.grantPermit()
        _ = subject.woken()
        subject.pass("1s")
        #expect(subject.heartbeat(generation: 1) == ["changed (reported)"])
        #expect(subject.record.generationReported == 1)
        #expect(subject.heartbeat(generation: 1) == ["seen"])
        #expect(subject.passToDue() == ["offline (checkin_missed)"])
        #expect(subject.record.lastProvisionError?.hasSuffix(": it still runs generation 1") == true)
        #expect(subject.heartbeat(generation: 1) == ["online (heartbeat)"])
    }

    @Test func andAnswersARecovery() {
        var subject = Subject.online()
        _ = subject.passToDue()
        #expect(subject.heartbeat(generation: 1) == ["seen"], "its first wake was not ordered")
        _ = subject.grantPermit()
        _ = subject.woken()
        subject.pass("1s")
        #expect(subject.heartbeat(generation: 1) == ["online (checked_in)"])
        #expect(subject.heartbeat(.stopping, generation: 1) == ["offline (goodbye)"], "it is the one that runs")
    }

    // MARK: Order

    @Test func whatComesByOneIngestCountsInItsOrder() {
        var subject = Subject.online()
        subject.pass("10s")
        _ = subject.heartbeat(ingest: 7)
        _ = subject.heartbeat(.lost, age: "1s", ingest: 7)
        #expect(subject.dueIn == 10_000, "it came later, whatever its age says")
        _ = subject.heartbeat(age: "2s", ingest: 7)
        #expect(subject.phase == .online)
        _ = subject.heartbeat(.lost, ingest: 7)
        _ = subject.heartbeat(ingest: 8)
        #expect(subject.phase == .online, "within the same millisecond")
        _ = subject.heartbeat(.stopping, ingest: 7)
        _ = subject.heartbeat(ingest: 8)
        #expect(subject.record.status == .offline, "two ingests do not agree so well about the order")
        _ = subject.heartbeat(ingest: 7)
        #expect(subject.record.status == .online)
    }

    @Test func noFloodSwallowsAnEnd() {
        var subject = Subject.online()
        for _ in 0..<40 { _ = subject.heartbeat() }
        #expect(subject.record.lastRejection?.reason == .rateLimited)
        _ = subject.heartbeat(.lost)
        #expect(subject.dueIn == 10_000)
        #expect(subject.heartbeat(.stopping) == ["offline (goodbye)"])
    }
}
