internal import API
internal import Lifecycle
internal import Model
internal import Wire

// What gateways, or the broker in their name, say of their connections.
extension PartitionOwner {
    /// While suspended a Last Will proves nothing.
    mutating func hear(_ gateway: String, _ message: GatewayStatusMessage?) {
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
            slot.connectedAt = now
        // The late end of a connection, when another incarnation of the gateway has begun.
        case .lost, .stopped: if !isOfEarlierIncarnation { slot.leave(message?.state == .lost ? .lost : .stopped, now) }
        case nil: break
        }
        gateways[gateway] = slot
        if !isSuspended {
            applyHeardStatus(gateway)
            awaitConfirmation(gateway)
        }
        // Said again, it may have been away in between: with the broker, which has no Last Will then.
        if message?.state == .connected, slot.hasUnheardWakes { noteReturn(of: gateway) }
    }

    mutating func applyHeardStatus(_ gateway: String) {
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
        tell(gateway)
        noteReturn(of: gateway)
    }

    /// Commits what the gateway is, with an event unless one was told just before: then it is told after a while, with a count
    /// of what was left out.
    private mutating func tell(_ gateway: String) {
        guard var slot = gateways[gateway] else { return }
        var entry = StoreEntry()
        entry.gateway = slot.state
        if let toldAt = slot.toldAt, now < toldAt + PartitionOwner.gatewayEventInterval {
            slot.leftOut += 1
        } else if let event = slot.event {
            unknownCount += 1
            let leftOut = slot.leftOut > 0 ? slot.leftOut : nil
            entry.gatewayEvent = GatewayEventEntry(
                id: "\(gateway)!\(epoch).\(unknownCount)", time: wallTime, source: source,
                message: GatewayLifecycleMessage(
                    event: event, gateway: gateway, agents: slot.agents.count, leftOut: leftOut))
            slot.toldAt = now
            slot.leftOut = 0
        }
        gateways[gateway] = slot
        directives.append(.commit(entry))
        noteDue(gateway)
    }

    // MARK: What nobody says

    /// What was retained in the session before proves nothing in this one.
    mutating func forgetConfirmations() {
        for gateway in gateways.keys { gateways[gateway]?.isConfirmed = false }
    }

    /// A gateway is connected as long as its retained status says so: for a while it may not have come yet.
    mutating func awaitConfirmation(_ gateway: String) {
        guard let slot = gateways[gateway] else { return }
        if slot.isConfirmed || slot.state.connection != .connected {
            gateways[gateway]?.confirmBy = nil
        } else if slot.confirmBy == nil {
            let grace = systemPolicy.overridden(by: slot.state.policyOverrides).lostGrace.span
            gateways[gateway]?.confirmBy = now + grace
        }
        noteDue(gateway)
    }

    mutating func comeDue(_ gateway: String) {
        gatewayDues[gateway] = nil
        guard let slot = gateways[gateway] else { return }
        if let confirmBy = slot.confirmBy, confirmBy <= now {
            gateways[gateway]?.confirmBy = nil
            // While suspended it is waited for anew from the end of suspension on.
            if !isSuspended, !slot.isConfirmed, slot.state.connection == .connected {
                gateways[gateway]?.leave(.lost, now)
                applyHeardStatus(gateway)
            }
        }
        if let slot = gateways[gateway], slot.leftOut > 0, let toldAt = slot.toldAt,
            now >= toldAt + PartitionOwner.gatewayEventInterval
        {
            gateways[gateway]?.leftOut -= 1
            tell(gateway)
        }
        noteDue(gateway)
    }

    private mutating func noteDue(_ gateway: String) {
        guard let slot = gateways[gateway] else { return }
        let trailing = slot.leftOut > 0 ? slot.toldAt.map { $0 + PartitionOwner.gatewayEventInterval } : nil
        gatewayDues[gateway] = [slot.confirmBy, trailing].compactMap { $0 }.min()
    }
}

extension GatewaySlot {
    /// It is heard that it is gone.
    mutating func leave(_ connection: GatewayState.Connection, _ now: Instant) {
        if heard != .lost, heard != .stopped { awaySince = now }
        heard = connection
    }

    /// What is told of its connection.
    fileprivate var event: GatewayEvent? {
        switch state.connection {
        case .connected: .gatewayConnected
        case .lost: .gatewayLost
        case .stopped: .gatewayStopped
        case .never: nil
        }
    }
}
