/// What one identity uses and has spent, over all its connections. It outlives them until all is paid for.
struct Account: Sendable {
    let username: Username
    var connections = 0
    var subscriptions = 0
    var connects = Meter()
    var subscribes = Meter()
    var unknownNames = Meter()
    /// By class of topic.
    var messages = InlineArray<6, Meter>(repeating: Meter())
    var bytes = InlineArray<6, Meter>(repeating: Meter())
    /// Refused within this second, for its budget and for its rights.
    var refused = 0
    /// Refused for its budget alone.
    var overBudget = 0
    /// What was queued for its absent sessions since it last connected, and when the last of these can have ended.
    var queuedBytes = 0
    var queuedUntil = Int64.min
    /// Not admitted before.
    var excludedUntil = Int64.min
    /// Ids of its sessions that others could take over, oldest first.
    var remembered: [[UInt8]] = []

    /// Takes one message of a class, unless that is more than the budget has.
    mutating func spend(_ topic: TopicClass, bytes count: Int, of budget: Budget, at now: Int64) -> Bool {
        guard let allowedMessages = budget.messages(topic), let allowedBytes = budget.bytes(topic) else { return true }
        return messages[topic.rawValue].take(1, of: allowedMessages, at: now)
            && bytes[topic.rawValue].take(count, of: allowedBytes, at: now)
    }

    /// Nothing of it needs to be known any more.
    func isSettled(at now: Int64) -> Bool {
        guard connections == 0, refused == 0, remembered.isEmpty, excludedUntil <= now, queuedUntil <= now,
            max(connects.paidAt, subscribes.paidAt, unknownNames.paidAt) <= now
        else { return false }
        for index in messages.indices where max(messages[index].paidAt, bytes[index].paidAt) > now { return false }
        return true
    }
}

/// The accounts of all identities that are connected or in debt, by numbers that sessions keep.
struct Accounts: Sendable {
    private var accounts: [Account?] = []
    private var free: [Int] = []
    private var byUsername: [Username: Int] = [:]

    var numbers: some Collection<Int> { byUsername.values }

    subscript(number: Int) -> Account {
        get { accounts[number]! }
        _modify { yield &accounts[number]! }
    }

    /// The number of an identity's account, which is opened when there is none.
    mutating func number(of username: Username) -> Int {
        if let number = byUsername[username] { return number }
        let number = free.popLast() ?? accounts.count
        if number == accounts.count { accounts.append(nil) }
        accounts[number] = Account(username: username)
        byUsername[username] = number
        return number
    }

    /// Closes those that are settled. O(accounts), once a second.
    mutating func settle(at now: Int64) {
        for (number, account) in accounts.enumerated() {
            guard let account, account.isSettled(at: now) else { continue }
            byUsername[account.username] = nil
            accounts[number] = nil
            free.append(number)
        }
    }

    /// Whose budgets did not do, and how often, since this was last asked; begins the next second.
    mutating func takeRefusals() -> [(username: Username, count: Int)] {
        var refusals: [(username: Username, count: Int)] = []
        for (number, account) in accounts.enumerated() {
            guard let account, account.refused > 0 else { continue }
            if account.overBudget > 0 { refusals.append((account.username, account.overBudget)) }
            accounts[number]?.refused = 0
            accounts[number]?.overBudget = 0
        }
        return refusals
    }
}
