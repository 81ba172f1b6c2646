import FoundationEssentials
import Lifecycle
import Model
import Testing

/// The table is the machine, and the document is the table.
@Suite struct LifecycleTableTests {
    private typealias Table = LifecycleTable

    @Test(arguments: LifecycleTable.rows)
    func theMachineDoesWhatTheRowSays(row: LifecycleTable.Row) throws {
        #expect(!row.before.statuses.isEmpty)
        for status in row.before.statuses {
            var subject = try subject(status, row)
            try #require(subject.status == status, "the scenario begins at \(subject.status)")
            try #require(subject.tablePhase == row.before.phase, "the scenario begins at \(subject.tablePhase)")
            let directives = subject.apply(row.input, row.condition)
            let isGone = directives.contains { if case .erase = $0 { true } else { false } }
            #expect((isGone ? .gone : subject.tablePhase) == row.phase)
            if !isGone { #expect(subject.status == row.status ?? status) }
            #expect(directives.compactMap(Subject.event) == row.events)
            #expect(Set(directives.compactMap(Subject.tableDirective)) == Set(row.directives))
        }
    }

    @Test func everyWordOfTheTableIsUsed() {
        let rows = LifecycleTable.rows
        #expect(Set(rows.map(\.input)) == Set(LifecycleTable.Input.allCases))
        #expect(Set(rows.map(\.before.phase) + rows.map(\.phase)) == Set(LifecycleTable.Phase.allCases))
        #expect(Set(rows.flatMap(\.directives)) == Set(LifecycleTable.Directive.allCases))
        #expect(Set(rows.compactMap(\.condition)) == Set(LifecycleTable.Condition.allCases))
        #expect(Set(rows.flatMap(\.before.statuses)) == Set(AgentStatus.allCases))
        #expect(Set(rows.flatMap(\.events)) == Set(LifecycleEvent.allCases))
        #expect(Set(rows).count == rows.count, "no row twice")
    }

    @Test func theDocumentIsTheTable() throws {
        let file = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appending(path: "infra/docs/lifecycle.md")
        if ProcessInfo.processInfo.environment["ROLLCALL_UPDATE_GOLDEN"] == "1" {
            try Data(LifecycleTable.markdown.utf8).write(to: file)
        }
        let document = String(decoding: try Data(contentsOf: file), as: UTF8.self)
        #expect(document == LifecycleTable.markdown, "ROLLCALL_UPDATE_GOLDEN=1 writes it anew")
    }

    // MARK: Where a row begins

    private func subject(_ status: AgentStatus, _ row: LifecycleTable.Row) throws -> Subject {
        var settings: [PolicySetting: String] = [:]
        if row.condition == .lastAttempt { settings[.maxWakeAttempts] = status == .updating ? "2" : "1" }
        if row.condition == .onLapseOffline { settings[.onLapse] = "offline" }
        if row.condition == .isWanted || row.condition == .hostReturnedMeanwhile { settings[.maxWakeAttempts] = "1" }
        if row.before.phase == .resting, row.condition == .recoveredJustBefore { settings[.maxWakeAttempts] = "1" }
        var subject = Subject(settings)
        switch row.before.phase {
        case .resting: offline(&subject, row)
        case .wakeQueued, .wakeOrdered, .awaitingCheckin: cycle(&subject, status, row)
        case .online:
            subject.goOnline()
            if row.condition == .recoveredJustBefore { subject.crashAndComeBack() }
        case .lost:
            subject.goOnline()
            _ = subject.heartbeat(.lost)
            subject.pass("1s")
        case .paused: held(&subject, status, row)
        case .leaving:
            _ = subject.provision()
            _ = subject.grantPermit()
            _ = subject.delete()
        case .gone: break
        }
        return subject
    }

    private func offline(_ subject: inout Subject, _ row: LifecycleTable.Row) {
        switch row.condition {
        case .isWanted, .hostReturnedMeanwhile:
            _ = subject.provision()
            _ = subject.grantPermit()
            _ = subject.woken()
            _ = subject.passToDue()
        case .recoveryWaits:
            subject.goOnline()
            subject.crashAndComeBack()
            _ = subject.heartbeat(.stopping, exitStatus: 3)
        case .recoveredJustBefore:
            subject.goOnline()
            subject.crashAndComeBack()
            _ = subject.heartbeat(.stopping, reason: .hostStopping)
        default: break
        }
    }

    /// A cycle in a phase: of `provision`, or, where the first wake of an `updating` one must have been ordered, its second.
    private func cycle(_ subject: inout Subject, _ status: AgentStatus, _ row: LifecycleTable.Row) {
        if row.condition == .ofOlderGeneration { subject.goOnline() }
        if row.condition == .ofOlderGenerationInRecovery {
            subject.goOnline()
            _ = subject.passToDue()
        } else if status == .updating {
            _ = subject.update()
            if row.condition != .beforeFirstOrder {
                _ = subject.grantPermit()
                _ = subject.woken()
                _ = subject.passToDue()
            }
        } else {
            _ = subject.provision()
        }
        if row.before.phase == .wakeQueued { return subject.pass("1s") }
        _ = subject.grantPermit()
        subject.pass("1s")
        if row.before.phase == .awaitingCheckin {
            _ = subject.woken()
        }
        subject.pass("1s")
        if row.input == .starting, row.condition == .reportsNothingNew {
            _ = subject.heartbeat(.starting, extend: "1s")
        }
    }

    private func held(_ subject: inout Subject, _ status: AgentStatus, _ row: LifecycleTable.Row) {
        switch status {
        case .offline: offline(&subject, row)
        case .online: subject.goOnline()
        case .provisioning: _ = subject.provision()
        case .updating, .deleting: _ = subject.update()
        }
        if status == .provisioning || status == .updating {
            _ = subject.grantPermit()
            if row.condition != .orderUnderWay { _ = subject.woken() }
        }
        _ = subject.pause(.agent)
        if row.condition == .otherCauseLeft { _ = subject.pause(.board) }
        if row.condition == .hostReturnedMeanwhile { subject.hostReturn = 1 }
        if row.condition == .lostMeanwhile { _ = subject.heartbeat(.lost) }
        subject.pass("1s")
    }
}

extension Subject {
    fileprivate var status: AgentStatus { record.status }

    fileprivate var tablePhase: LifecycleTable.Phase {
        switch phase {
        case .resting: .resting
        case .wakeQueued: .wakeQueued
        case .wakeOrdered: .wakeOrdered
        case .awaitingCheckin: .awaitingCheckin
        case .online: .online
        case .lost: .lost
        case .paused: .paused
        case .leaving: .leaving
        }
    }

    fileprivate mutating func goOnline() {
        _ = provision()
        _ = grantPermit()
        _ = woken()
        _ = heartbeat(boot: "b-1")
        pass("1m")
    }

    fileprivate mutating func crashAndComeBack() {
        _ = heartbeat(.stopping, exitStatus: 3)
        _ = grantPermit()
        _ = woken()
        pass("1s")
        _ = heartbeat(boot: "b-2")
    }

    fileprivate mutating func apply(
        _ input: LifecycleTable.Input, _ condition: LifecycleTable.Condition?
    ) -> [AgentDirective] {
        recorded = []
        let isOlder = condition == .ofOlderGeneration || condition == .ofOlderGenerationInRecovery
        let older = isOlder ? record.generation - 1 : nil
        let news = condition == .reportsNews ? "digest-0" : nil
        let boot = condition == .ofOtherBoot ? "b-0" : nil
        switch input {
        case .provision: _ = provision()
        case .update: _ = update()
        case .wake: _ = wake()
        case .provisionWithoutWake: _ = apply { $0.provisionWithoutWake($1, into: &$2) }
        case .updateWithoutWake: _ = apply { $0.noteChange("updated", $1, into: &$2) }
        case .permitGranted: _ = grantPermit()
        case .woken: _ = woken()
        case .failed: _ = failed()
        case .expired: _ = expired()
        case .ok: _ = heartbeat(.ok, generation: older, digest: news)
        case .starting:
            _ = heartbeat(.starting, extend: condition == .asksForMoreTime ? "2m" : "1s", digest: news)
        case .stopping: _ = heartbeat(.stopping, boot: boot)
        case .crashed: _ = heartbeat(.stopping, exitStatus: 3)
        case .lost: _ = heartbeat(.lost, boot: boot)
        case .waiting: _ = heartbeat(.waiting)
        case .rejected:
            if condition == .withinASecond {
                _ = reject(.badToken)
                recorded = []
            }
            _ = reject(.badToken)
        case .due: _ = passToDue()
        case .hostReturned: _ = hostReturned()
        case .pause: _ = pause(.gateway)
        case .resume: _ = resume(.agent)
        case .delete: _ = delete()
        case .rotateToken: _ = apply { $0.rotateToken(digest: "secret-2", id: "t2", $1, into: &$2) }
        case .syncTemplates: _ = apply { $0.syncTemplates(digest: "newer", $1, into: &$2) }
        case .observabilityRestored: _ = observabilityRestored()
        }
        return recorded
    }

    fileprivate static func event(_ directive: AgentDirective) -> LifecycleEvent? {
        switch directive {
        case .emit(let event, _, _): event
        case .erase: .deleted
        case .order, .settleOrder, .requestPermit, .noteLastSeen, .log, .countSequence: nil
        }
    }

    fileprivate static func tableDirective(_ directive: AgentDirective) -> LifecycleTable.Directive? {
        switch directive {
        case .requestPermit: .askForPermit
        case .order: .order
        case .settleOrder: .settle
        case .noteLastSeen: .noteLastSeen
        case .erase: .erase
        case .emit, .log, .countSequence: nil
        }
    }
}
