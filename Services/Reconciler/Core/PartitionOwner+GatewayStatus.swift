internal import API
internal import Lifecycle
internal import Model
internal import Wire

// What gateways, or the broker in their name, say of their connections.
extension PartitionOwner {
    /// While suspended a Last Will proves nothing.
    mutating func hear(_ gateway: String, _ message: GatewayStatusMessage?, _ turn: inout Turn) {
        guard var slot = gateways[gateway] else { return }
        let boot = message?.bootID.map { String($0.unicodeScalars.prefix(Limits.bootIDLengthMax)) }
        let isOfEarlierIncarnation = boot.flatMap { boot in slot.heardBootID.map { $0 != boot } } ?? false
        // A word that changes nothing confirms nothing: it may be of an incarnation that nobody here has heard of.
        slot.isConfirmed =
            message.map { $0.state == .connected || !isOfEarlierIncarnation || slot.isConfirmed } ?? false
        switch message?.state {
        case .connected:
            // Of the end of its incarnation before nothing was heard.
            if slot.heard == .connected, slot.heardBootID != boot { slot.awaySince = nil }
            slot.heard = .connected
            slot.heardBootID = boot
            slot.connectedAt = turn.now
        // The late end of a connection, when another incarnation of the gateway has begun.
        case .lost, .stopped:
            if !isOfEarlierIncarnation { slot.leave(message?.state == .lost ? .lost : .stopped, turn.now) }
        case nil: break
        }
        gateways[gateway] = slot
        if !isSuspended {
            applyHeardStatus(gateway, &turn)
            awaitConfirmation(gateway, turn.now)
        }
        // Said again, it may have been away in between: with the broker, which has no Last Will then.
        if message?.state == .connected, slot.hasUnheardWakes { noteReturn(of: gateway) }
    }

    mutating func applyHeardStatus(_ gateway: String, _ turn: inout Turn) {
        guard var slot = gateways[gateway], let heard = slot.heard else { return }
        // Another incarnation of it is a return, also when nobody has heard how the one before ended.
        let isNewIncarnation = heard == .connected && slot.heardBootID != nil && slot.heardBootID != slot.state.bootID
        guard isNewIncarnation || heard != slot.state.connection else { return }
        slot.state.connection = heard
        if heard == .connected {
            slot.state.bootID = slot.heardBootID
            slot.hasBegunAnew = isNewIncarnation
            slot.state.returns = (slot.state.returns ?? 0) + 1
        }
        gateways[gateway] = slot
        tell(gateway, &turn)
        noteReturn(of: gateway)
    }

    /// Commits what the gateway is, with an event unless one was told just before: then it is told after a while, with a count
    /// of what was left out.
    private mutating func tell(_ gateway: String, _ turn: inout Turn) {
        guard var slot = gateways[gateway] else { return }
        var entry = StoreEntry()
        if let toldAt = slot.toldAt, turn.now < toldAt + PartitionOwner.gatewayEventInterval {
            slot.leftOut += 1
        } else if let event = slot.event {
            let leftOut = slot.leftOut > 0 ? slot.leftOut : nil
            entry.append(
                .gatewayEvent(
                    GatewayEventEntry(
                        id: nextEventID(of: gateway), time: turn.wallTime, source: source,
                        message: GatewayLifecycleMessage(
                            event: event, gateway: gateway, agents: slot.agents.count, leftOut: leftOut))))
            slot.toldAt = turn.now
            slot.leftOut = 0
        }
        gateways[gateway] = slot
        entry.append(.gateway(slot.state))
        turn.commit(entry)
        noteDue(gateway)
    }

    // MARK: What nobody says

    /// What was retained in the session before proves nothing in this one.
    mutating func forgetConfirmations() {
        for gateway in gateways.keys { gateways[gateway]?.isConfirmed = false }
    }

    /// A gateway is connected as long as its retained status says so: for a while it may not have come yet.
    mutating func awaitConfirmation(_ gateway: String, _ now: Instant) {
        guard let slot = gateways[gateway] else { return }
        if slot.isConfirmed || slot.state.connection != .connected {
            gateways[gateway]?.confirmBy = nil
        } else if slot.confirmBy == nil {
            let grace = systemPolicy.overridden(by: slot.state.policyOverrides).lostGrace.span
            gateways[gateway]?.confirmBy = now + grace
        }
        noteDue(gateway)
    }

    mutating func comeDue(_ gateway: String, _ turn: inout Turn) {
        gatewayDues[gateway] = nil
        guard let slot = gateways[gateway] else { return }
        if let confirmBy = slot.confirmBy, confirmBy <= turn.now {
            gateways[gateway]?.confirmBy = nil
            // While suspended it is waited for anew from the end of suspension on.
            if !isSuspended, !slot.isConfirmed, slot.state.connection == .connected {
                gateways[gateway]?.leave(.lost, turn.now)
                applyHeardStatus(gateway, &turn)
            }
        }
        if let slot = gateways[gateway], slot.leftOut > 0, let toldAt = slot.toldAt,
            turn.now >= toldAt + PartitionOwner.gatewayEventInterval
        {
            gateways[gateway]?.leftOut -= 1
            tell(gateway, &turn)
        }
        noteDue(gateway)
    }

    private mutating func noteDue(_ gateway: String) {
        guard let slot = gateways[gateway] else { return }
        let trailing = slot.leftOut > 0 ? slot.toldAt.map { $0 + PartitionOwner.gatewayEventInterval } : nil
        gatewayDues[gateway] = [slot.confirmBy, trailing].compactMap { $0 }.min()
    }
}
