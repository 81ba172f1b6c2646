// What each identity may use and spend.
extension BrokerAccess {
    /// Whose budgets did not do, and how often, since this was last asked. Once a second.
    public mutating func takeRefusals() -> [(username: Username, count: Int)] {
        for number in accounts.numbers {
            while let id = accounts[number].remembered.first, owners[id]?.until.map({ $0 <= time }) ?? false {
                owners[id] = nil
                accounts[number].remembered.removeFirst()
            }
        }
        defer { accounts.settle(at: time) }
        return accounts.takeRefusals()
    }

    /// The connections of those who went on far beyond their budget. O(connections), and rarely anything.
    public mutating func takeExcluded() -> [Eviction] {
        guard !excluded.isEmpty else { return [] }
        defer { excluded = [] }
        return sessions.values.filter { excluded.contains($0.account) }
            .map { Eviction(clientId: $0.clientId, publishesWill: true) }
    }

    /// Whether a session that has so many subscriptions may have one more. Of a session that was resumed nobody saw them come;
    /// what was given up leaves gaps in the broker's count.
    public func mayHold(_ subscriptions: Int, _ connection: Connection) -> Bool {
        guard let kind = sessions[connection]?.username.kind, kind != .service else { return true }
        return subscriptions < 2 * Budget(of: kind).subscriptionsMax
    }

    private func budget(of username: Username) -> Budget {
        let agents = username.kind == .gateway ? identities.agentCount(of: username) : 0
        return Budget(of: username.kind, agents: agents, factor: rateFactor)
    }

    mutating func chargeConnect(_ number: Int, replaces: Bool) -> Refusal? {
        let budget = budget(of: accounts[number].username)
        let connections = accounts[number].connections - (replaces ? 1 : 0)
        if connections >= budget.connectionsMax { return .tooManyConnections }
        guard accounts[number].excludedUntil <= time, accounts[number].connects.take(1, of: budget.connects, at: time)
        else { return .rateLimited }
        return nil
    }

    mutating func chargePublish(
        _ topic: borrowing Span<UInt8>, _ topicClass: TopicClass, _ bytes: Int, _ session: Session
    ) -> Bool {
        if topicClass == .unmetered || rateFactor == 0 { return true }
        let budget = budget(of: session.username)
        if session.username.kind == .gateway, topicClass == .heartbeat || topicClass == .request,
            !namesAgent(topic),
            !accounts[session.account].unknownNames.take(1, of: Budget.unknownNames, at: time)
        {
            return false
        }
        return accounts[session.account].spend(topicClass, bytes: bytes, of: budget, at: time)
    }

    /// Whether the agent of `R/agents/GW/AGENT/…`, a topic that is allowed, exists.
    private func namesAgent(_ topic: borrowing Span<UInt8>) -> Bool {
        let begin = root.text.utf8.count + "/agents/".utf8.count
        let end = topic.position(of: .slash, from: topic.position(of: .slash, from: begin) + 1)
        return identities.contains(topic.extracting(begin..<end))
    }

    mutating func chargeSubscribe(
        _ filter: borrowing Span<UInt8>, _ connection: Connection, _ session: Session
    ) -> Bool {
        if session.username.kind == .service { return true }
        let budget = budget(of: session.username)
        guard accounts[session.account].subscribes.take(1, of: budget.subscribes, at: time) else { return false }
        let filter = filter.copied()
        if subscriptions[connection]?.contains(filter) ?? false { return true }
        guard accounts[session.account].subscriptions < budget.subscriptionsMax else { return false }
        subscriptions[connection, default: []].insert(filter)
        accounts[session.account].subscriptions += 1
        return true
    }

    /// Takes what is queued for a session that is not connected.
    mutating func chargeQueue(_ username: Username, _ bytes: Int) -> Bool {
        if username.kind == .service { return true }
        let number = accounts.number(of: username)
        let queued = accounts[number].queuedBytes + bytes + Budget.messageBytes
        guard queued <= Budget.queuedBytesMax else { return false }
        accounts[number].queuedBytes = queued
        accounts[number].queuedUntil = time + Budget.sessionNanoseconds
        return true
    }

    /// Counts a refusal; `false`.
    mutating func refuse(_ session: Session, overBudget: Bool) -> Bool {
        if session.username.kind == .service { return false }
        accounts[session.account].refused += 1
        if overBudget { accounts[session.account].overBudget += 1 }
        if accounts[session.account].refused == Budget.refusalsMax {
            accounts[session.account].excludedUntil = time + Budget.exclusionNanoseconds
            excluded.insert(session.account)
        }
        return false
    }
}
