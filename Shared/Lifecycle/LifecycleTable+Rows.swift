internal import Model

extension LifecycleTable {
    /// Status and phase before, event, condition, status after (`nil`: the same), phase after, events told, directives.
    public static let rows: [Row] = [
        // Requests
        row([.offline], .resting, .provision, nil, .provisioning, .wakeQueued, [.provisioning], [.askForPermit]),
        row(
            [.provisioning, .updating], .wakeQueued, .provision, nil, .provisioning, .wakeQueued, [.provisioning],
            [.askForPermit]),
        row(
            [.provisioning, .updating], .wakeOrdered, .provision, nil, .provisioning, .wakeQueued, [.provisioning],
            [.settle, .askForPermit]),
        row(
            [.provisioning, .updating], .awaitingCheckin, .provision, nil, .provisioning, .wakeQueued, [.provisioning],
            [.askForPermit]),
        row([.online], .online, .provision, nil, .provisioning, .wakeQueued, [.provisioning], [.askForPermit]),
        row([.online], .lost, .provision, nil, .provisioning, .wakeQueued, [.provisioning], [.askForPermit]),
        row(
            [.offline, .online, .provisioning, .updating], .paused, .provision, nil, .provisioning, .paused,
            [.provisioning], []),
        row([.offline], .resting, .update, nil, .updating, .wakeQueued, [.updating], [.askForPermit]),
        row(
            [.provisioning, .updating], .wakeQueued, .update, nil, .updating, .wakeQueued, [.updating], [.askForPermit]),
        row(
            [.provisioning, .updating], .wakeOrdered, .update, nil, .updating, .wakeQueued, [.updating],
            [.settle, .askForPermit]),
        row(
            [.provisioning, .updating], .awaitingCheckin, .update, nil, .updating, .wakeQueued, [.updating],
            [.askForPermit]),
        row([.online], .online, .update, nil, .updating, .wakeQueued, [.updating], [.askForPermit]),
        row([.online], .lost, .update, nil, .updating, .wakeQueued, [.updating], [.askForPermit]),
        row([.offline, .online, .provisioning, .updating], .paused, .update, nil, .updating, .paused, [.updating], []),
        row([.offline], .resting, .wake, nil, .updating, .wakeQueued, [.updating], [.askForPermit]),
        row([.provisioning, .updating], .wakeQueued, .wake, nil, .updating, .wakeQueued, [.updating], [.askForPermit]),
        row(
            [.provisioning, .updating], .wakeOrdered, .wake, nil, .updating, .wakeQueued, [.updating],
            [.settle, .askForPermit]),
        row(
            [.provisioning, .updating], .awaitingCheckin, .wake, nil, .updating, .wakeQueued, [.updating],
            [.askForPermit]
        ),
        row([.online], .online, .wake, nil, .updating, .wakeQueued, [.updating], [.askForPermit]),
        row([.online], .lost, .wake, nil, .updating, .wakeQueued, [.updating], [.askForPermit]),
        row([.offline, .online, .provisioning, .updating], .paused, .wake, nil, .updating, .paused, [.updating], []),
        row([.offline], .resting, .provisionWithoutWake, nil, .offline, .resting, [.changed], []),
        row([.provisioning, .updating], .wakeQueued, .provisionWithoutWake, nil, .offline, .resting, [.changed], []),
        row(
            [.provisioning, .updating], .wakeOrdered, .provisionWithoutWake, nil, .offline, .resting, [.changed],
            [.settle]),
        row(
            [.provisioning, .updating], .awaitingCheckin, .provisionWithoutWake, nil, .offline, .resting, [.changed], []
        ),
        row([.online], .online, .provisionWithoutWake, nil, .offline, .resting, [.changed], []),
        row([.online], .lost, .provisionWithoutWake, nil, .offline, .resting, [.changed], []),
        row(
            [.offline, .online, .provisioning, .updating], .paused, .provisionWithoutWake, nil, .offline, .paused,
            [.changed], []),
        row([.offline], .resting, .updateWithoutWake, nil, nil, .resting, [.changed], []),
        row([.provisioning, .updating], .wakeQueued, .updateWithoutWake, nil, nil, .wakeQueued, [.changed], []),
        row([.provisioning, .updating], .wakeOrdered, .updateWithoutWake, nil, nil, .wakeOrdered, [.changed], []),
        row(
            [.provisioning, .updating], .awaitingCheckin, .updateWithoutWake, nil, nil, .awaitingCheckin, [.changed], []
        ),
        row([.online], .online, .updateWithoutWake, nil, nil, .online, [.changed], []),
        row([.online], .lost, .updateWithoutWake, nil, nil, .lost, [.changed], []),
        row(
            [.offline, .online, .provisioning, .updating], .paused, .updateWithoutWake, nil, nil, .paused, [.changed],
            []),
        // Wakes
        row([.provisioning, .updating], .wakeQueued, .permitGranted, nil, nil, .wakeOrdered, [], [.order]),
        row([.provisioning, .updating], .wakeOrdered, .woken, nil, nil, .awaitingCheckin, [.woken], [.settle]),
        row([.provisioning, .updating], .paused, .woken, .orderUnderWay, nil, .paused, [.woken], []),
        row([.deleting], .leaving, .woken, .allReported, nil, .gone, [.deleted], [.erase]),
        row(
            [.provisioning, .updating], .wakeOrdered, .failed, nil, nil, .awaitingCheckin, [.provisionFailed], [.settle]
        ),
        row([.provisioning, .updating], .paused, .failed, .orderUnderWay, nil, .paused, [.provisionFailed], []),
        row([.deleting], .leaving, .failed, .allReported, nil, .gone, [.deleted], [.erase]),
        row([.provisioning, .updating], .wakeOrdered, .expired, nil, nil, .wakeQueued, [], [.settle, .askForPermit]),
        row([.deleting], .leaving, .expired, .allReported, nil, .gone, [.deleted], [.erase]),
        // Heartbeats
        row([.provisioning, .updating], .wakeQueued, .ok, .beforeFirstOrder, nil, .wakeQueued, [], [.noteLastSeen]),
        row([.provisioning], .wakeQueued, .ok, .ofOlderGeneration, nil, .wakeQueued, [], [.noteLastSeen]),
        row([.updating], .wakeQueued, .ok, .ofOlderGeneration, nil, .wakeQueued, [.changed], []),
        row([.updating], .wakeQueued, .ok, .afterFirstOrder, .online, .online, [.online], []),
        row([.provisioning, .updating], .wakeOrdered, .ok, .ofOlderGeneration, nil, .wakeOrdered, [.changed], []),
        row([.updating], .wakeOrdered, .ok, .ofOlderGenerationInRecovery, .online, .online, [.online], [.settle]),
        row([.provisioning, .updating], .wakeOrdered, .ok, nil, .online, .online, [.online], [.settle]),
        row(
            [.provisioning, .updating], .awaitingCheckin, .ok, .ofOlderGeneration, nil, .awaitingCheckin, [.changed],
            []),
        row([.updating], .awaitingCheckin, .ok, .ofOlderGenerationInRecovery, .online, .online, [.online], []),
        row([.provisioning, .updating], .awaitingCheckin, .ok, nil, .online, .online, [.online], []),
        row([.offline], .resting, .ok, nil, .online, .online, [.online], []),
        row([.online], .online, .ok, .reportsNothingNew, nil, .online, [], [.noteLastSeen]),
        row([.online], .online, .ok, .reportsNews, nil, .online, [.changed], []),
        row([.online], .lost, .ok, .reportsNothingNew, nil, .online, [], [.noteLastSeen]),
        row([.online], .lost, .ok, .reportsNews, nil, .online, [.changed], []),
        row([.offline, .provisioning, .updating], .paused, .ok, nil, .online, .paused, [.online], []),
        row([.online], .paused, .ok, .reportsNothingNew, nil, .paused, [], [.noteLastSeen]),
        row(
            [.provisioning, .updating], .wakeOrdered, .starting, .reportsNothingNew, nil, .wakeOrdered, [],
            [.noteLastSeen]),
        row([.provisioning, .updating], .wakeOrdered, .starting, .reportsNews, nil, .wakeOrdered, [.changed], []),
        row(
            [.provisioning, .updating], .awaitingCheckin, .starting, .asksForMoreTime, nil, .awaitingCheckin,
            [.changed], []),
        row(
            [.provisioning, .updating], .awaitingCheckin, .starting, .reportsNothingNew, nil, .awaitingCheckin, [],
            [.noteLastSeen]),
        row([.online], .online, .starting, .reportsNews, nil, .online, [.changed], []),
        row([.online], .lost, .starting, .reportsNews, nil, .online, [.changed], []),
        row([.offline], .resting, .stopping, .isWanted, nil, .resting, [.changed], []),
        row([.updating], .wakeQueued, .stopping, .afterFirstOrder, .offline, .resting, [.offline], []),
        row([.provisioning, .updating], .wakeOrdered, .stopping, nil, .offline, .resting, [.offline], [.settle]),
        row([.provisioning, .updating], .awaitingCheckin, .stopping, nil, .offline, .resting, [.offline], []),
        row([.online], .online, .stopping, nil, .offline, .resting, [.offline], []),
        row([.online], .online, .stopping, .ofOtherBoot, nil, .online, [], []),
        row([.online], .lost, .stopping, nil, .offline, .resting, [.offline], []),
        row([.online, .provisioning, .updating], .paused, .stopping, nil, .offline, .paused, [.offline], []),
        row([.online], .online, .crashed, .onLapseWake, .updating, .wakeQueued, [.lapsed, .updating], [.askForPermit]),
        row([.online], .online, .crashed, .onLapseOffline, .offline, .resting, [.lapsed, .offline], []),
        row([.online], .online, .crashed, .recoveredJustBefore, .offline, .resting, [.lapsed, .offline], []),
        row([.provisioning, .updating], .awaitingCheckin, .crashed, nil, nil, .awaitingCheckin, [.changed], []),
        row([.online], .paused, .crashed, nil, nil, .paused, [.changed], []),
        row([.online], .online, .lost, nil, nil, .lost, [], []),
        row([.online], .online, .lost, .ofOtherBoot, nil, .online, [], []),
        row([.online], .paused, .lost, nil, nil, .paused, [], []),
        row([.provisioning, .updating], .awaitingCheckin, .lost, nil, nil, .awaitingCheckin, [], []),
        row([.offline], .resting, .waiting, .isWanted, .updating, .wakeQueued, [.updating], [.askForPermit]),
        row(
            [.provisioning, .updating], .awaitingCheckin, .waiting, nil, nil, .wakeQueued, [.changed], [.askForPermit]),
        row([.online], .online, .waiting, nil, .updating, .wakeQueued, [.lapsed, .updating], [.askForPermit]),
        row([.offline], .resting, .rejected, nil, nil, .resting, [.heartbeatRejected], []),
        row([.provisioning, .updating], .wakeQueued, .rejected, nil, nil, .wakeQueued, [.heartbeatRejected], []),
        row([.provisioning, .updating], .wakeOrdered, .rejected, nil, nil, .wakeOrdered, [.heartbeatRejected], []),
        row(
            [.provisioning, .updating], .awaitingCheckin, .rejected, nil, nil, .awaitingCheckin, [.heartbeatRejected],
            []),
        row([.online], .online, .rejected, nil, nil, .online, [.heartbeatRejected], []),
        row([.online], .lost, .rejected, nil, nil, .lost, [.heartbeatRejected], []),
        row(
            [.offline, .online, .provisioning, .updating], .paused, .rejected, nil, nil, .paused, [.heartbeatRejected],
            []),
        row([.deleting], .leaving, .rejected, nil, nil, .leaving, [.heartbeatRejected], []),
        row([.online], .online, .rejected, .withinASecond, nil, .online, [], [.noteLastSeen]),
        // Time
        row(
            [.provisioning, .updating], .awaitingCheckin, .due, .attemptsLeft, .updating, .wakeQueued, [.retriggered],
            [.askForPermit]),
        row([.provisioning, .updating], .awaitingCheckin, .due, .lastAttempt, .offline, .resting, [.offline], []),
        row([.online], .online, .due, .onLapseWake, .updating, .wakeQueued, [.lapsed, .updating], [.askForPermit]),
        row([.online], .online, .due, .onLapseOffline, .offline, .resting, [.lapsed, .offline], []),
        row([.online], .lost, .due, .onLapseWake, .updating, .wakeQueued, [.lapsed, .updating], [.askForPermit]),
        row([.online], .lost, .due, .onLapseOffline, .offline, .resting, [.lapsed, .offline], []),
        row([.deleting], .leaving, .due, nil, nil, .gone, [.deleted], [.erase]),
        row([.offline], .resting, .due, .recoveryWaits, .updating, .wakeQueued, [.updating], [.askForPermit]),
        row([.offline], .resting, .hostReturned, .isWanted, .updating, .wakeQueued, [.updating], [.askForPermit]),
        row([.offline], .resting, .hostReturned, .recoveredJustBefore, nil, .resting, [.changed], []),
        row(
            [.provisioning, .updating], .awaitingCheckin, .hostReturned, nil, nil, .wakeQueued, [.changed],
            [.askForPermit]),
        row([.online], .online, .hostReturned, nil, nil, .lost, [], []),
        // Pause and resume
        row([.offline], .resting, .pause, nil, nil, .paused, [.paused], []),
        row([.provisioning, .updating], .wakeQueued, .pause, nil, nil, .paused, [.paused], []),
        row([.provisioning, .updating], .wakeOrdered, .pause, nil, nil, .paused, [.paused], [.settle]),
        row([.provisioning, .updating], .awaitingCheckin, .pause, nil, nil, .paused, [.paused], []),
        row([.online], .online, .pause, nil, nil, .paused, [.paused], []),
        row([.online], .lost, .pause, nil, nil, .paused, [.paused], []),
        row([.offline, .online, .provisioning, .updating], .paused, .pause, nil, nil, .paused, [.paused], []),
        row(
            [.offline, .online, .provisioning, .updating], .paused, .resume, .otherCauseLeft, nil, .paused, [.resumed],
            []),
        row([.offline], .paused, .resume, nil, nil, .resting, [.resumed], []),
        row(
            [.offline], .paused, .resume, .hostReturnedMeanwhile, .updating, .wakeQueued, [.resumed, .updating],
            [.askForPermit]),
        row([.online], .paused, .resume, nil, nil, .online, [.resumed], []),
        row([.online], .paused, .resume, .lostMeanwhile, nil, .lost, [.resumed], []),
        row([.provisioning, .updating], .paused, .resume, nil, nil, .wakeQueued, [.resumed], [.askForPermit]),
        // Removal and tokens
        row([.offline], .resting, .delete, nil, nil, .gone, [.deleting, .deleted], [.erase]),
        row([.provisioning, .updating], .wakeQueued, .delete, nil, nil, .gone, [.deleting, .deleted], [.erase]),
        row([.provisioning, .updating], .awaitingCheckin, .delete, nil, nil, .gone, [.deleting, .deleted], [.erase]),
        row([.online], .online, .delete, nil, nil, .gone, [.deleting, .deleted], [.erase]),
        row([.online], .lost, .delete, nil, nil, .gone, [.deleting, .deleted], [.erase]),
        row([.provisioning, .updating], .wakeOrdered, .delete, nil, .deleting, .leaving, [.deleting], [.settle]),
        row(
            [.offline, .online, .provisioning, .updating], .paused, .delete, .noOrderUnderWay, nil, .gone,
            [.deleting, .deleted], [.erase]),
        row([.provisioning, .updating], .paused, .delete, .orderUnderWay, .deleting, .leaving, [.deleting], []),
        row([.offline], .resting, .rotateToken, nil, nil, .resting, [.tokenRotated], []),
        row([.provisioning, .updating], .wakeQueued, .rotateToken, nil, nil, .wakeQueued, [.tokenRotated], []),
        row([.provisioning, .updating], .wakeOrdered, .rotateToken, nil, nil, .wakeOrdered, [.tokenRotated], []),
        row(
            [.provisioning, .updating], .awaitingCheckin, .rotateToken, nil, nil, .awaitingCheckin, [.tokenRotated], []),
        row([.online], .online, .rotateToken, nil, nil, .online, [.tokenRotated], []),
        row([.online], .lost, .rotateToken, nil, nil, .lost, [.tokenRotated], []),
        row(
            [.offline, .online, .provisioning, .updating], .paused, .rotateToken, nil, nil, .paused, [.tokenRotated], []
        ),
        row([.offline], .resting, .syncTemplates, nil, nil, .resting, [.templatesSynced], []),
        row([.provisioning, .updating], .wakeQueued, .syncTemplates, nil, nil, .wakeQueued, [.templatesSynced], []),
        row([.provisioning, .updating], .wakeOrdered, .syncTemplates, nil, nil, .wakeOrdered, [.templatesSynced], []),
        row(
            [.provisioning, .updating], .awaitingCheckin, .syncTemplates, nil, nil, .awaitingCheckin,
            [.templatesSynced], []),
        row([.online], .online, .syncTemplates, nil, nil, .online, [.templatesSynced], []),
        row([.online], .lost, .syncTemplates, nil, nil, .lost, [.templatesSynced], []),
        row(
            [.offline, .online, .provisioning, .updating], .paused, .syncTemplates, nil, nil, .paused,
            [.templatesSynced],
            []),
        // Suspension
        row(
            [.provisioning, .updating], .wakeQueued, .observabilityRestored, nil, nil, .wakeQueued, [], [.askForPermit]),
        row(
            [.provisioning, .updating], .wakeOrdered, .observabilityRestored, nil, nil, .wakeQueued, [],
            [.settle, .askForPermit]),
        row(
            [.provisioning, .updating], .awaitingCheckin, .observabilityRestored, nil, nil, .wakeQueued, [.changed],
            [.askForPermit]),
        row([.online], .online, .observabilityRestored, nil, nil, .online, [], []),
        row([.online], .lost, .observabilityRestored, nil, nil, .lost, [], []),
    ]

    private static func row(
        _ statuses: [AgentStatus], _ before: Phase, _ input: Input, _ condition: Condition?, _ status: AgentStatus?,
        _ after: Phase, _ events: [LifecycleEvent], _ directives: [Directive]
    ) -> Row {
        Row(
            before: Place(statuses: statuses, phase: before), input: input, condition: condition, status: status,
            phase: after, events: events, directives: directives)
    }
}
