internal import Glibc
public import Lifecycle

/// How to connect, and as whom.
public struct ConnectionOptions: Sendable {
    public var broker: BrokerAddress
    /// Empty: the broker assigns one.
    public var clientID: String
    public var keepaliveSeconds: Int32 = 15
    /// How many QoS 1 messages the broker may have under way to us (MQTT 5 §3.1.2.11.3).
    public var receiveMaximum: Int32 = 500
    public var will: Publication?
    /// A file of certificates that `mqtts` trusts; the system's when `nil`.
    public var certificateAuthority: String?
    /// Whether a lost connection is made again; a command line that asks once does not.
    public var reconnects = true

    public init(broker: BrokerAddress, clientID: String) {
        self.broker = broker
        self.clientID = clientID
    }
}

/// What a connection tells whoever uses it. All calls come on the loop's thread, between reads, never inside one another.
public protocol ConnectionDelegate: AnyObject {
    /// A new session began, nothing is subscribed: subscribe now. Comes again after each loss.
    func connected(_ connection: Connection)
    func received(_ delivery: Delivery, on connection: Connection)
    /// The broker acknowledged a QoS 1 publication with this MQTT 5 reason code.
    func published(_ ticket: Int, reason: UInt8, on connection: Connection)
    /// Every SUBSCRIBE of this session was answered; `refused` names the filters that were not granted.
    func subscribed(refused: [String], on connection: Connection)
    /// The session is over. What was not acknowledged has an unknown fate; nothing of it is sent again by the connection.
    func disconnected(_ error: BusError, on connection: Connection)
}

extension ConnectionDelegate {
    public func published(_ ticket: Int, reason: UInt8, on connection: Connection) {}
    public func subscribed(refused: [String], on connection: Connection) {}
}

/// One MQTT 5 connection with a clean session, driven by an `EventLoop`.
///
/// Promises, each tested against a real broker that is killed, emptied and restarted:
/// - after every loss a fresh handle is connected (back-off 50 ms to 1 s) and `connected` is called again;
/// - at most `windowMax` QoS 1 publications are in the library at once, the others wait here in order;
/// - a publication too large for the broker is refused here, before the library could abort the process;
/// - what was published before a loss and not acknowledged is forgotten here: its owner repeats it.
public final class Connection {
    /// QoS 1 publications under way at once: publishing costs O(outstanding) in the library.
    public static let windowMax = 200
    /// Packets read in one turn, so that timers and writes get theirs.
    public static let packetsPerTurnMax = 1_000
    /// Publications that may wait here; beyond it `publish` refuses. The owner sheds.
    public static let waitingMax = 2_000_000

    public let options: ConnectionOptions
    public private(set) var isConnected = false
    /// Whether what arrives is left in the socket, so that the broker keeps it or gives it to others (backpressure). Writing goes
    /// on; a session that does not exist yet is read all the same. A pause near the keepalive ends the session.
    public var isReadingPaused = false
    /// The reason of the newest failure, for a start that does not succeed.
    public private(set) var lastError: BusError?

    private unowned let loop: EventLoop
    private weak var delegate: (any ConnectionDelegate)?
    private var handle: Handle?
    private var waiting = PublicationQueue()
    private var inFlight: [Int32: Int] = [:]
    private var unansweredSubscriptions: [Int32: [String]] = [:]
    private var refusedFilters: [String] = []
    private var nextTicket = 0
    private var backoff = Connection.backoffMin
    private var isClosed = false
    private var lastMiscellaneous = Instant(nanoseconds: 0)
    private var mayHaveMore = false

    private static let backoffMin = TimeSpan(milliseconds: 50)
    private static let backoffMax = TimeSpan.seconds(1)

    public init(_ options: ConnectionOptions, loop: EventLoop, delegate: any ConnectionDelegate) {
        self.options = options
        self.loop = loop
        self.delegate = delegate
        loop.add(self)
        connect()
    }

    // MARK: Publishing and subscribing

    /// Publications that were not yet handed to the library or not yet acknowledged.
    public var outstanding: Int { waiting.count + inFlight.count }

    /// Queues a message behind those before it.
    ///
    /// - Returns: a ticket that `published` will name, for QoS 1.
    /// - Throws: when not connected, when the message is larger than `Limits.messageBytesMax` and a kilobyte of
    ///   properties allow, or when `waitingMax` messages wait.
    @discardableResult
    public func publish(_ publication: Publication) throws(BusError) -> Int {
        guard isConnected else { throw BusError(operation: "publish to \(publication.topic)", reason: "not connected") }
        guard publication.payload.count + publication.overhead <= Connection.publicationBytesMax else {
            throw BusError(
                operation: "publish to \(publication.topic)",
                reason: "\(publication.payload.count) bytes are more than \(Connection.publicationBytesMax)")
        }
        guard waiting.count < Connection.waitingMax else {
            throw BusError(
                operation: "publish to \(publication.topic)", reason: "\(Connection.waitingMax) messages wait already")
        }
        nextTicket += 1
        waiting.append((nextTicket, publication))
        return nextTicket
    }

    /// Whether the socket takes no more for now: what is published only waits.
    public var isWriteBlocked: Bool { wantsToWrite }

    /// The largest publication with its properties: below the broker's `max_packet_size` of 2 MiB.
    public static let publicationBytesMax = 2_000_000

    /// How a subscription is made (MQTT 5 §3.8.3.1).
    public struct SubscribeOptions: OptionSet, Sendable {
        public let rawValue: Int32
        public init(rawValue: Int32) { self.rawValue = rawValue }
        /// Not what this connection published itself.
        public static let noLocal = SubscribeOptions(rawValue: 0x04)
        /// Retained messages keep their flag when they are forwarded later.
        public static let retainAsPublished = SubscribeOptions(rawValue: 0x08)
        /// No retained messages at the time of the subscription.
        public static let withoutRetained = SubscribeOptions(rawValue: 0x20)
    }

    /// Subscribes with QoS 1. `subscribed` is called once all subscriptions made so far are answered.
    public func subscribe(_ filters: [String], options: SubscribeOptions = []) {
        guard let handle, !filters.isEmpty else { return }
        do {
            unansweredSubscriptions[try handle.subscribe(filters, options: options.rawValue)] = filters
        } catch {
            lose(error)
        }
    }

    public func unsubscribe(_ filter: String) {
        // A failure means that the connection is gone, and with it the subscription.
        try? handle?.unsubscribe(filter)
    }

    /// Sends DISCONNECT after all that waits, for at most `limit`, and ends for good.
    public func close(within limit: TimeSpan = .seconds(2)) {
        guard !isClosed else { return }
        let end = Clock.now() + limit
        while isConnected, outstanding > 0, Clock.now() < end {
            fillWindow()
            pump(waitingAtMost: 20)
        }
        isClosed = true
        if let handle {
            handle.disconnect()
            _ = handle.write()
        }
        handle = nil
        isConnected = false
        loop.remove(self)
    }

    /// Ends the session without a word and unread, as a crash would; connects again unless closed.
    public func abandon(reason: String) {
        guard handle != nil else { return }
        lose(BusError(operation: "connection to \(options.broker)", reason: reason))
    }

    // MARK: Driven by the loop

    var descriptor: Int32? { handle?.descriptor }
    var wantsToRead: Bool { !(isReadingPaused && isConnected) }
    var wantsToWrite: Bool { handle?.wantsToWrite ?? false }
    /// Data may lie in the library's or TLS's buffers, or the packet limit of the last turn was reached.
    var hasWorkWaiting: Bool {
        mayHaveMore || (isConnected && waiting.count > 0 && inFlight.count < Connection.windowMax)
    }

    func read() {
        guard let handle else { return }
        mayHaveMore = false
        for count in 1...Connection.packetsPerTurnMax {
            let code = handle.read()
            deliver(handle)
            guard self.handle === handle else { return }  // lost or closed by a delegate
            guard code == 0 else { return lose(failure(code)) }
            guard wantsToRead, isReadable(handle) else { return }
            mayHaveMore = count == Connection.packetsPerTurnMax
        }
    }

    func write(now: Instant) {
        guard let handle else { return }
        if mayHaveMore { mayHaveMore = false }
        fillWindow()
        if now.milliseconds(since: lastMiscellaneous) >= 500 {
            lastMiscellaneous = now
            let code = handle.miscellaneous()
            guard code == 0 else { return lose(failure(code)) }
        }
        if handle.wantsToWrite {
            let code = handle.write()
            // A blocked socket is tried again when poll says it is writable.
            guard code == 0 || (code == 14 && (errno == EAGAIN || errno == EWOULDBLOCK)) else {
                return lose(failure(code))
            }
        }
        deliver(handle)
    }

    // MARK: Inside

    private func connect() {
        guard !isClosed else { return }
        do {
            let handle = try Handle(clientID: options.clientID, options: options)
            try handle.connect(options)
            _ = handle.write()
            self.handle = handle
        } catch {
            lastError = error
            delegate?.disconnected(error, on: self)
            retry()
        }
    }

    private func retry() {
        guard !isClosed, options.reconnects else { return }
        let delay = backoff
        backoff = TimeSpan(milliseconds: min(backoff.milliseconds * 2, Connection.backoffMax.milliseconds))
        loop.after(delay) { [weak self] in self?.connect() }
    }

    private func lose(_ error: BusError) {
        guard handle != nil else { return }
        handle = nil
        isConnected = false
        mayHaveMore = false
        waiting = PublicationQueue()
        inFlight = [:]
        unansweredSubscriptions = [:]
        refusedFilters = []
        lastError = error
        delegate?.disconnected(error, on: self)
        retry()
    }

    private func failure(_ code: Int32) -> BusError {
        lastError.flatMap { $0.isRefusal ? $0 : nil }
            ?? BusError(operation: "connection to \(options.broker)", reason: Handle.text(code))
    }

    private func deliver(_ handle: Handle) {
        for report in handle.takeReports() {
            guard self.handle === handle else { return }
            switch report {
            case .connected(let reason): connected(reason)
            case .disconnected(let reason): lose(failure(reason))
            case .received(let delivery): delegate?.received(delivery, on: self)
            case .published(let mid, let reason):
                guard let ticket = inFlight.removeValue(forKey: mid) else { continue }
                delegate?.published(ticket, reason: reason, on: self)
            case .subscribed(let mid, let granted): subscribed(mid, granted)
            }
        }
    }

    private func connected(_ reason: Int32) {
        guard reason == 0 else {
            lastError = BusError(
                operation: "connect to \(options.broker)", reason: Connection.refusal(reason), isRefusal: true)
            return lose(lastError ?? failure(reason))
        }
        isConnected = true
        lastError = nil
        backoff = Connection.backoffMin
        delegate?.connected(self)
    }

    private func subscribed(_ mid: Int32, _ granted: [Int32]) {
        guard let filters = unansweredSubscriptions.removeValue(forKey: mid) else { return }
        refusedFilters += zip(filters, granted).filter { $0.1 >= Int32(ReasonCode.failure) }.map(\.0)
        guard unansweredSubscriptions.isEmpty else { return }
        let refused = refusedFilters
        refusedFilters = []
        delegate?.subscribed(refused: refused, on: self)
    }

    private func fillWindow() {
        guard let handle, isConnected else { return }
        while inFlight.count < Connection.windowMax, let (ticket, publication) = waiting.popFirst() {
            do {
                let mid = try handle.publish(publication)
                if publication.qualityOfService == .atLeastOnce { inFlight[mid] = ticket }
            } catch {
                return lose(error)
            }
        }
    }

    private func isReadable(_ handle: Handle) -> Bool {
        guard let descriptor = handle.descriptor else { return false }
        var state = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        return poll(&state, 1, 0) > 0
    }

    private func pump(waitingAtMost milliseconds: Int32) {
        guard let handle, let descriptor = handle.descriptor else { return }
        _ = handle.write()
        var state = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        if poll(&state, 1, milliseconds) > 0 { read() }
    }

    private static func refusal(_ reason: Int32) -> String {
        switch reason {
        case 0x86: "bad user name or password"
        case 0x87: "not authorized: the user, its password or the client id was refused"
        case 0x85: "the client id is not valid"
        case 0x84: "the broker does not speak MQTT 5"
        case 0x88, 0x89: "the broker is not available"
        default: Handle.reasonText(reason)
        }
    }
}
