internal import BrokerAccessCore
internal import CMosquittoBroker
internal import Glibc
internal import Secrets

/// The shell around ``BrokerAccess``: turns the broker's events into questions and its answers into return codes.
///
/// The broker calls every plugin from its only thread; nothing here is shared with another.
final class AccessPlugin {
    /// How often live connections are compared with the identities after a secret was withdrawn: a connection that
    /// must go is closed within this time, and a stream of changes costs one pass in each such time.
    private static let sweepInterval = Duration.milliseconds(200)

    /// Refused connections that are warned of in a second; a flood of more is logged as notices.
    private static let refusalWarningsMax = 10

    /// Agents that heartbeat-ingest is told of in a second, each once; a flood of more is logged alone.
    private static let refusedAgentsMax = 100

    /// How long a connection may leave unread what was sent to it.
    private static let unreadMillisecondsMax: UInt32 = 10_000

    /// Listeners are opened before the first client: their descriptors are low.
    private static let listenerDescriptorsMax: Int32 = 256

    private let options: PluginOptions
    private let stateFile: StateFile?
    private var access: BrokerAccess
    private var leftovers = Leftovers()
    private var isReloading = false
    private var lastSweep = Moment.steadyTime()
    private var lastSecond = 0
    private var areListenersSet = false
    private var refusalWarnings = 0
    private var refusedAgents: Set<String> = []

    init(options: PluginOptions) throws(StartFailure) {
        self.options = options
        access = BrokerAccess(root: options.root, rateFactor: options.rateFactor)
        stateFile = options.statePath.map { StateFile(path: $0) }
        if let path = options.identitiesPath {
            access.identities.replaceFixed(with: try AccessPlugin.readFixed(path))
        } else {
            BrokerLog.warning("access.no_identities_file")
        }
        do {
            try stateFile?.load(into: &access.identities, at: .now())
        } catch {
            throw StartFailure(problem: "\(error)")
        }
        access.identities.hasWithdrawn = false
        BrokerLog.notice("access.started", ["agents_and_gateways": "\(access.identities.mintedCount)"])
    }

    /// `MOSQ_EVT_BASIC_AUTH`: somebody connects, or the broker asks about everybody again after a reload.
    func authenticate(_ event: mosquitto_evt_basic_auth) -> Int32 {
        let now = Moment.now()
        access.time = Moment.steadyTime().nanoseconds
        closeWhoDoesNotRead()
        let connection = Connection(UInt(bitPattern: event.client))
        let username = bytes(event.username)
        if isReloading {
            let mayStay = access.mayStay(connection, username: username.span, at: now)
            return Int32((mayStay ? MOSQ_ERR_SUCCESS : MOSQ_ERR_AUTH).rawValue)
        }
        guard event.username != nil, event.password != nil else {
            return refuse(event, "anonymous")
        }
        let digest = Digest(of: Array(bytes(event.password))).bytes
        guard let secret = SecretDigest(bytes: digest.span) else { return refuse(event, "wrong_secret") }
        let clientId = mosquitto_client_id(event.client)
        let isHeld = access.isHeld(bytes(clientId).span)
        let isResumable = !mosquitto_client_clean_session(event.client)
        let admission = access.connect(
            connection, clientId: bytes(clientId).span, username: username.span, secret: secret,
            isResumable: isResumable, at: now)
        switch admission {
        case .refused(let refusal): return refuse(event, refusal.rawValue)
        case .admitted: break
        case .admittedByNewSecret(let entry):
            _ = keep([entry])
            tellUsed()
        }
        // 2.0.11 would close the older connection without a word, and its client could not tell that from a cut: it would
        // take its session back, and so on. A session that is resumed goes over in the broker's own way.
        if isHeld, !isResumable { mosquitto_kick_client_by_clientid(clientId, true) }
        return Int32(MOSQ_ERR_SUCCESS.rawValue)
    }

    /// `MOSQ_EVT_ACL_CHECK`: may this be published, delivered, subscribed to?
    ///
    /// A change of the identities is applied here: the broker's PUBACK carries an error only when this check refuses,
    /// since 2.0.11 answers 0 to whatever `MOSQ_EVT_CONTROL` returns and then closes the connection.
    func check(_ event: mosquitto_evt_acl_check) -> Int32 {
        let connection = Connection(UInt(bitPattern: event.client))
        let topic = bytes(event.topic)
        let username = bytes(mosquitto_client_username(event.client))
        let wanted: BrokerAccess.Access
        switch event.access {
        case MOSQ_ACL_READ: wanted = .read
        case MOSQ_ACL_WRITE: wanted = .publish
        case MOSQ_ACL_SUBSCRIBE:
            wanted = .subscribe
            guard access.mayHold(Int(mosquitto_client_sub_count(event.client)), connection) else {
                return Int32(MOSQ_ERR_ACL_DENIED.rawValue)
            }
        case MOSQ_ACL_UNSUBSCRIBE:
            access.unsubscribed(topic.span, connection)
            return Int32(MOSQ_ERR_SUCCESS.rawValue)
        default: return Int32(MOSQ_ERR_ACL_DENIED.rawValue)
        }
        // 2.0.11 has no other refusal of a publication than "not authorized": what is over a budget is told by that too.
        guard
            access.allows(
                wanted, topic.span, to: connection, username: username.span, bytes: Int(event.payloadlen)),
            !event.retain || mayBeRetained(event, connection, topic.span, wanted)
        else { return Int32(MOSQ_ERR_ACL_DENIED.rawValue) }
        if wanted == .publish, topic.first == UInt8(ascii: "$") {
            let payload = UnsafeRawBufferPointer(start: event.payload, count: Int(event.payloadlen))
            return payload.withMemoryRebound(to: UInt8.self) { change($0, by: mosquitto_client_username(event.client)) }
        }
        return Int32(MOSQ_ERR_SUCCESS.rawValue)
    }

    /// Whether a retained message is delivered or taken. One that must not stay is noted, and cleared at the next sweep.
    private func mayBeRetained(
        _ event: mosquitto_evt_acl_check, _ connection: Connection, _ topic: Span<UInt8>, _ wanted: BrokerAccess.Access
    ) -> Bool {
        if access.mayRetain(on: topic) { return true }
        if event.payloadlen == 0 { return wanted != .read || !leftovers.isRemoval(on: topic) }
        // Of who is present `checkMessage` takes the flag away.
        if wanted == .read || !access.isPresent(connection) { leftovers.found(topic) }
        return true
    }

    /// `MOSQ_EVT_MESSAGE`: takes the retain flag from what must not stay, and asks: may this message ask for its answer where it
    /// does? `MOSQ_EVT_ACL_CHECK` shows no properties.
    func checkMessage(_ event: inout mosquitto_evt_message) -> Int32 {
        if event.retain, !access.mayRetain(on: bytes(event.topic).span) { event.retain = false }
        guard let properties = event.properties else { return Int32(MOSQ_ERR_SUCCESS.rawValue) }
        var text: UnsafeMutablePointer<CChar>?
        guard mosquitto_property_read_string(properties, Int32(MQTT_PROP_RESPONSE_TOPIC.rawValue), &text, false) != nil
        else { return Int32(MOSQ_ERR_SUCCESS.rawValue) }
        defer { free(text) }
        let connection = Connection(UInt(bitPattern: event.client))
        let isAllowed = access.allowsAnswer(on: bytes(text).span, to: connection)
        return Int32((isAllowed ? MOSQ_ERR_SUCCESS : MOSQ_ERR_ACL_DENIED).rawValue)
    }

    /// `MOSQ_EVT_DISCONNECT`: a connection ended.
    func disconnect(_ event: mosquitto_evt_disconnect) {
        access.disconnect(Connection(UInt(bitPattern: event.client)))
    }

    /// `MOSQ_EVT_RELOAD`: the administrator's file may have changed. A broken one changes nothing.
    func reload() {
        // The broker now asks about every client it knows, until the next tick.
        isReloading = true
        guard let path = options.identitiesPath else { return }
        do {
            access.identities.replaceFixed(with: try AccessPlugin.readFixed(path))
            BrokerLog.notice("access.reloaded", ["path": path])
        } catch {
            BrokerLog.error("access.reload_failed", ["problem": error.problem])
        }
    }

    /// `MOSQ_EVT_TICK`: at least ten times a second. Ends overlaps and closes connections whose secret was withdrawn.
    func tick() {
        isReloading = false
        let time = Moment.steadyTime()
        // Read once for all that comes in this turn of the broker's loop.
        access.time = time.nanoseconds
        guard time - lastSweep >= AccessPlugin.sweepInterval else { return }
        lastSweep = time
        let now = Moment.now()
        if now.steady != lastSecond {
            lastSecond = now.steady
            refusalWarnings = 0
            tellRefused()
            access.identities.expireOverlaps(at: now)
        }
        for topic in leftovers.take() {
            // Refused only without memory: it is found again when somebody reads it.
            _ = mosquitto_broker_publish_copy(
                nil, String(decoding: topic, as: UTF8.self), 0, nil, 1, true, nil)
        }
        for eviction in access.evictions(at: now) + access.takeExcluded() {
            let clientId = String(decoding: eviction.clientId, as: UTF8.self)
            mosquitto_kick_client_by_clientid(clientId, eviction.publishesWill)
        }
    }

    /// Has the kernel close connections that have taken nothing for a while (tcp(7), `TCP_USER_TIMEOUT`): what waits for them
    /// lies in the broker's memory. Done with the first CONNECT, when the listeners are open: each later connection inherits it
    /// from its listener. No plugin is shown a socket, so all are tried; what is none, or a Unix socket, has no such option.
    private func closeWhoDoesNotRead() {
        guard !areListenersSet else { return }
        areListenersSet = true
        for descriptor in 0..<AccessPlugin.listenerDescriptorsMax {
            var limit = AccessPlugin.unreadMillisecondsMax
            let length = socklen_t(MemoryLayout.size(ofValue: limit))
            _ = setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_USER_TIMEOUT, &limit, length)
        }
    }

    private func change(_ payload: UnsafeBufferPointer<UInt8>, by username: UnsafePointer<CChar>?) -> Int32 {
        let now = Moment.now()
        let changes: [IdentityChange]
        do throws(BadLine) {
            changes = try IdentityChange.parse(payload.span)
        } catch {
            return refuseChange(by: username, "\(error)")
        }
        guard access.identities.canApply(changes) else { return refuseChange(by: username, "commit without begin") }
        var entries: [JournalEntry] = []
        for change in changes {
            if let entry = access.identities.apply(change, at: now) { entries.append(entry) }
        }
        let isKept = changes.contains(.commit) ? rewrite() : keep(entries)
        tellUsed()
        guard isKept else { return refuseChange(by: username, "applied, but not kept on disk") }
        for case .answer(let word) in changes {
            _ = mosquitto_broker_publish_copy(nil, options.root.accessAnswers, Int32(word.count), word, 1, false, nil)
        }
        return Int32(MOSQ_ERR_SUCCESS.rawValue)
    }

    /// Tells the store which new secrets were used. The broker sends it after this event; what is lost, the next table brings up.
    private func tellUsed() {
        for piece in access.identities.takeUsed() {
            _ = mosquitto_broker_publish_copy(
                nil, options.root.usedSecrets, Int32(piece.count), piece, 1, false, nil)
        }
    }

    /// Tells who was refused, and why, so that it appears on agents' records and in what an ingest warns of; of budgets also in
    /// the log.
    private func tellRefused() {
        var lines = refusedAgents.sorted().map { "\($0) bad_token" }
        refusedAgents = []
        for (username, count) in access.takeRefusals().sorted(by: { $0.count > $1.count })
            .prefix(AccessPlugin.refusedAgentsMax)
        {
            BrokerLog.warning("access.rate_limited", ["username": "\(username)", "count": "\(count)"])
            lines.append("\(username) rate_limited \(count)")
        }
        guard !lines.isEmpty else { return }
        let piece = Array(lines.joined(separator: "\n").utf8)
        _ = mosquitto_broker_publish_copy(nil, options.root.refusals, Int32(piece.count), piece, 1, false, nil)
    }

    private func keep(_ entries: [JournalEntry]) -> Bool {
        guard let stateFile, !entries.isEmpty else { return true }
        if stateFile.isLong { return rewrite() }
        var lines: [UInt8] = []
        for entry in entries { entry.write(to: &lines) }
        do {
            try stateFile.append(lines)
            return true
        } catch {
            BrokerLog.error("access.state_not_written", ["problem": "\(error)"])
            return false
        }
    }

    private func rewrite() -> Bool {
        do {
            try stateFile?.rewrite(from: access.identities, at: .now())
            return true
        } catch {
            BrokerLog.error("access.state_not_written", ["problem": "\(error)"])
            return false
        }
    }

    private func refuse(_ event: mosquitto_evt_basic_auth, _ reason: String) -> Int32 {
        // Some put a secret where the username belongs: only what has the form of a username is logged.
        let name = Username(bytes(event.username).span)
        let username = name.map(String.init(describing:)) ?? "?"
        if let name, name.kind == .agent, reason == "wrong_secret" || reason == "anonymous",
            access.identities.contains(name.bytes.span), refusedAgents.count < AccessPlugin.refusedAgentsMax
        {
            refusedAgents.insert(username)
        }
        let clientId = BrokerLog.printable(mosquitto_client_id(event.client))
        let members: KeyValuePairs = ["username": username, "client_id": clientId, "reason": reason]
        if refusalWarnings < AccessPlugin.refusalWarningsMax {
            refusalWarnings += 1
            BrokerLog.warning("access.refused", members)
        } else {
            BrokerLog.notice("access.refused", members)
        }
        return Int32(MOSQ_ERR_AUTH.rawValue)
    }

    private func refuseChange(by username: UnsafePointer<CChar>?, _ problem: String) -> Int32 {
        BrokerLog.error("access.change_refused", ["username": BrokerLog.printable(username), "problem": problem])
        return Int32(MOSQ_ERR_ACL_DENIED.rawValue)
    }

    private static func readFixed(_ path: String) throws(StartFailure) -> IdentityTable {
        let parsed: Result<IdentityTable, BadLine>?
        do {
            parsed = try withContents(of: path) { buffer in
                Result { () throws(BadLine) in try FixedIdentities.parse(buffer.span) }
            }
        } catch {
            throw StartFailure(problem: "identities file: \(error)")
        }
        switch parsed {
        case .success(let table): return table
        case .failure(let line): throw StartFailure(problem: "identities file \(path), \(line)")
        case nil: throw StartFailure(problem: "identities file \(path) does not exist")
        }
    }
}

/// Why the plugin does not start.
struct StartFailure: Error {
    let problem: String
}

/// The bytes of a C string; none for a null pointer. Valid as long as the broker lends it: during one event.
func bytes(_ text: UnsafePointer<CChar>?) -> UnsafeBufferPointer<UInt8> {
    guard let text else { return UnsafeBufferPointer(start: nil, count: 0) }
    let start = UnsafeRawPointer(text).assumingMemoryBound(to: UInt8.self)
    return UnsafeBufferPointer(start: start, count: strlen(text))
}

extension Moment {
    static func steadyTime() -> Duration {
        var time = timespec()
        clock_gettime(CLOCK_BOOTTIME, &time)
        return .seconds(time.tv_sec) + .nanoseconds(time.tv_nsec)
    }

    static func now() -> Moment {
        Moment(steady: Int(steadyTime().components.seconds), wall: time(nil))
    }
}

extension Duration {
    fileprivate var nanoseconds: Int64 { components.seconds * 1_000_000_000 + components.attoseconds / 1_000_000_000 }
}
