/// A network connection, by a number that is its own as long as it lives.
public struct Connection: Hashable, Sendable {
    let number: UInt

    public init(_ number: UInt) { self.number = number }
}

/// Who may connect, and what each connection may do: the whole state of the access plugin, without input or output.
public struct BrokerAccess: Sendable {
    /// Why a connection was refused.
    public enum Refusal: String, Sendable {
        case badUsername = "bad_username"
        case unknownUsername = "unknown_username"
        case wrongSecret = "wrong_secret"
        case clientIdNotAllowed = "client_id_not_allowed"
        case clientIdInUse = "client_id_in_use"
        case tooManyConnections = "too_many_connections"
        case rateLimited = "rate_limited"
    }

    /// What came of a CONNECT.
    public enum Admission: Equatable, Sendable {
        case refused(Refusal)
        case admitted
        /// Admitted by a new secret that ended the old one: the state file must know.
        case admittedByNewSecret(JournalEntry)
    }

    /// What a client wants with a topic or filter.
    public enum Access: Sendable {
        case publish, read, subscribe
    }

    /// A connection to close.
    public struct Eviction: Equatable, Sendable {
        public let clientId: [UInt8]
        /// A removed identity is silent; one whose secret was replaced leaves its Last Will.
        public let publishesWill: Bool
    }

    final class Session: Sendable {
        let username: Username
        let clientId: [UInt8]
        let secret: SecretDigest
        let rights: Rights
        /// The number of its identity's account.
        let account: Int

        init(username: Username, clientId: [UInt8], secret: SecretDigest, rights: Rights, account: Int) {
            self.username = username
            self.clientId = clientId
            self.secret = secret
            self.rights = rights
            self.account = account
        }
    }

    /// Who may resume the session of an id, and until when; `nil` while it is connected.
    struct Owner {
        let username: Username
        var until: Int64?
    }

    /// How many ids of sessions that others could take over are remembered for each identity; its oldest is forgotten first.
    public static let rememberedIdsMax = 64

    public var identities = Identities()
    /// Nanoseconds of a steady clock, as of the event that is handled: what is metered is metered by it.
    public var time: Int64 = 0
    let root: TopicRoot
    /// Multiplies what clients may publish in a second; 0 is no limit.
    let rateFactor: Int
    private let retainedTopics: RetainedTopics
    var sessions: [Connection: Session] = [:]
    private var holders: [[UInt8]: Connection] = [:]
    var owners: [[UInt8]: Owner] = [:]
    var subscriptions: [Connection: Set<[UInt8]>] = [:]
    var accounts = Accounts()
    var excluded: Set<Int> = []
    private var absent: (username: Username, rights: Rights)?

    public init(root: TopicRoot, rateFactor: Int = 1) {
        self.root = root
        self.rateFactor = rateFactor
        retainedTopics = RetainedTopics(root: root)
    }

    /// How many connections live.
    public var sessionCount: Int { sessions.count }

    /// Whether a live connection has a client id: whoever is admitted with it takes its session over.
    public func isHeld(_ clientId: borrowing Span<UInt8>) -> Bool {
        holders[clientId.copied()] != nil
    }

    /// Judges a CONNECT. The holder of the same client id, when it has the same username, has lost its session to this one.
    ///
    /// - Parameter isResumable: the client asked for a session that outlives the connection.
    public mutating func connect(
        _ connection: Connection, clientId: borrowing Span<UInt8>, username name: borrowing Span<UInt8>,
        secret: SecretDigest, isResumable: Bool, at now: Moment
    ) -> Admission {
        guard let username = Username(name) else { return .refused(.badUsername) }
        guard identities.contains(name) else { return .refused(.unknownUsername) }
        guard identities.accepts(username, secret, at: now) else { return .refused(.wrongSecret) }
        guard ClientIdRules.allows(clientId, to: username, among: identities) else {
            return .refused(.clientIdNotAllowed)
        }
        let id = clientId.copied()
        if let holder = holders[id], let session = sessions[holder], session.username != username {
            return .refused(.clientIdInUse)
        }
        if let owner = owners[id], owner.username != username, identities.contains(owner.username) {
            return .refused(.clientIdInUse)
        }
        let account = accounts.number(of: username)
        if let refusal = chargeConnect(account, replaces: holders[id] != nil) { return .refused(refusal) }
        if let holder = holders[id] { end(holder) }
        if ClientIdRules.isAssigned(clientId) || isResumable && !ClientIdRules.isOwn(clientId, of: username) {
            remember(id, of: username, account)
        }
        let rights = Rights(of: username, root: root)
        sessions[connection] = Session(
            username: username, clientId: id, secret: secret, rights: rights, account: account)
        holders[id] = connection
        accounts[account].connections += 1
        accounts[account].queuedBytes = 0
        switch identities.verify(username, secret, at: now) {
        case .acceptedNewSecret: return .admittedByNewSecret(.set(username, secret))
        case .accepted, .unknownUsername, .wrongSecret: return .admitted
        }
    }

    /// Whether a connection, or the session of an absent client, may stay after the identities were read again.
    public func mayStay(_ connection: Connection, username name: borrowing Span<UInt8>, at now: Moment) -> Bool {
        guard let session = sessions[connection] else { return identities.contains(name) }
        return identities.accepts(session.username, session.secret, at: now)
    }

    /// A connection ended. What its client still does, it does absent: its Last Will, its waiting messages.
    public mutating func disconnect(_ connection: Connection) {
        guard let session = end(connection) else { return }
        if holders[session.clientId] == connection { holders[session.clientId] = nil }
        owners[session.clientId]?.until = time + Budget.sessionNanoseconds
    }

    /// Whether a client may do something with a topic or filter. Called for every message and every receiver.
    ///
    /// A client without a live connection of its own is absent: its Last Will is being published, a message is
    /// queued for it, or a retained message that it left is about to be delivered.
    public mutating func allows(
        _ access: Access, _ topic: borrowing Span<UInt8>, to connection: Connection, username: borrowing Span<UInt8>,
        bytes: Int = 0
    ) -> Bool {
        if let session = sessions[connection], session.username.isWritten(as: username) {
            switch access {
            case .publish:
                guard let topicClass = session.rights.topicClass(of: topic) else {
                    return refuse(session, overBudget: false)
                }
                return chargePublish(topic, topicClass, bytes, session) || refuse(session, overBudget: true)
            case .read: return session.rights.mayRead(topic, agentExists: identities.contains)
            case .subscribe:
                guard session.rights.maySubscribe(topic, agentExists: identities.contains) else {
                    return refuse(session, overBudget: false)
                }
                return chargeSubscribe(topic, connection, session) || refuse(session, overBudget: true)
            }
        }
        guard let (absent, rights) = rightsOfAbsent(username) else { return false }
        let isKnown = identities.contains(username)
        switch access {
        // What a service left retained outlives its instance, and its entry in the administrator's file.
        case .publish: return (isKnown || absent.kind == .service) && rights.mayLeave(topic)
        case .read:
            return isKnown && rights.mayRead(topic, agentExists: identities.contains) && chargeQueue(absent, bytes)
        case .subscribe: return isKnown && rights.maySubscribe(topic, agentExists: identities.contains)
        }
    }

    /// A connection has given a subscription up.
    public mutating func unsubscribed(_ filter: borrowing Span<UInt8>, _ connection: Connection) {
        guard let session = sessions[connection], subscriptions[connection]?.remove(filter.copied()) != nil else {
            return
        }
        accounts[session.account].subscriptions -= 1
    }

    /// Whether a connection lives. What another one does, as its Last Will, is done for an absent client.
    public func isPresent(_ connection: Connection) -> Bool { sessions[connection] != nil }

    /// Whether the broker may keep a message on a topic.
    public func mayRetain(on topic: borrowing Span<UInt8>) -> Bool { retainedTopics.allow(topic) }

    /// Whether a message of a live connection may ask for its answer on a topic.
    public func allowsAnswer(on topic: borrowing Span<UInt8>, to connection: Connection) -> Bool {
        sessions[connection]?.rights.mayAskForAnswer(on: topic, agentExists: identities.contains) ?? false
    }

    /// The live connections whose secret no longer works. O(connections), and only after something was withdrawn.
    public mutating func evictions(at now: Moment) -> [Eviction] {
        guard identities.hasWithdrawn else { return [] }
        identities.hasWithdrawn = false
        var evictions: [Eviction] = []
        for session in sessions.values where !identities.accepts(session.username, session.secret, at: now) {
            let isKnown = identities.contains(session.username)
            evictions.append(Eviction(clientId: session.clientId, publishesWill: isKnown))
        }
        return evictions
    }

    private mutating func rightsOfAbsent(_ name: borrowing Span<UInt8>) -> (Username, Rights)? {
        if let absent, absent.username.isWritten(as: name) { return absent }
        guard let username = Username(name) else { return nil }
        let found = (username: username, rights: Rights(of: username, root: root))
        absent = found
        return found
    }

    @discardableResult
    private mutating func end(_ connection: Connection) -> Session? {
        guard let session = sessions.removeValue(forKey: connection) else { return nil }
        accounts[session.account].connections -= 1
        accounts[session.account].subscriptions -= subscriptions.removeValue(forKey: connection)?.count ?? 0
        return session
    }

    private mutating func remember(_ id: [UInt8], of username: Username, _ account: Int) {
        guard owners.updateValue(Owner(username: username), forKey: id) == nil else { return }
        accounts[account].remembered.append(id)
        guard accounts[account].remembered.count > BrokerAccess.rememberedIdsMax else { return }
        owners[accounts[account].remembered.removeFirst()] = nil
    }
}
