internal import Glibc
public import Model

/// One MQTT 5 connection with a clean session, driven by an `EventLoop`.
///
/// Promises, each tested against a real broker that is killed, emptied and restarted:
/// - after every loss a fresh handle is connected (back-off 50 ms to 1 s) and `connected` is called again;
/// - at most `windowMax` QoS 1 publications are in the library at once, the others wait here in order; each is handed to it
///   right before it is written, behind a look at the clock: of what a process had decided before a stall at most one message
///   leaves after it, the one that was being written;
/// - what was written and not delivered when a connection is given up is forgotten by the kernel, too;
/// - a publication that is too large for the broker or not valid in MQTT is refused here, before the library could abort
///   the process or the broker could end the session;
/// - a broker that accepts and does not answer within `answerLimit` is given up; one that falls silent later is noticed
///   after one to two keepalives;
/// - connecting does not block the loop, except for the host's name and, with `mqtts`, the certificates;
/// - what was published before a loss and not acknowledged is forgotten here: its owner repeats it.
public final class Connection {
    /// QoS 1 publications under way at once, unless the broker takes fewer: publishing costs O(outstanding) in the library.
    public static let windowMax = 200
    /// Packets read in one turn, so that timers and writes get theirs.
    public static let packetsPerTurnMax = 1_000
    /// How long one turn reads and lets its delegate decide: what is left is read in the next one.
    public static let readLimit = TimeSpan(milliseconds: 100)
    /// From the attempt to connect to the broker's CONNACK.
    public static let answerLimit = TimeSpan.seconds(5)
    /// Publications that may wait here; beyond it `publish` refuses. The owner sheds.
    public static let waitingMax = 2_000_000

    /// Changes count from the next attempt to connect.
    public var options: ConnectionOptions
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
    /// The broker closed the connection as an administrator: the next attempt finds out whether it was for another client.
    private var isAskingWhy = false
    private var lastMiscellaneous = Instant(nanoseconds: 0)
    private var mayHaveMore = false
    /// Attempts to connect so far: each takes the host's next address.
    private var attempts = 0
    private var attemptedAt = Instant(nanoseconds: 0)
    private var connectedAt = Instant(nanoseconds: 0)
    /// The socket took something: the TCP connection stands.
    private var isReached = false
    private var publicationBytesMax = Connection.publicationBytesMax
    private var window = Connection.windowMax

    private static let backoffMin = TimeSpan(milliseconds: 50)
    private static let backoffMax = TimeSpan.seconds(1)

    public init(_ options: ConnectionOptions, loop: EventLoop, delegate: any ConnectionDelegate) {
        self.options = options
        self.loop = loop
        self.delegate = delegate
        loop.add(self)
        // Not here: a delegate is not called before its owner knows the connection.
        loop.after(.zero) { [weak self] in self?.connect() }
    }

    // MARK: Publishing and subscribing

    /// Publications that were not yet handed to the library or not yet acknowledged.
    public var outstanding: Int { waiting.count + inFlight.count }

    /// Queues a message behind those before it.
    ///
    /// - Returns: a ticket that `published` will name, for QoS 1.
    /// - Throws: when not connected, when the message with its properties is larger than `publicationBytesMax` or than
    ///   the broker takes, when a text is not one of MQTT 5 (§1.5.4), or when `waitingMax` messages wait.
    @discardableResult
    public func publish(_ publication: Publication) throws(BusError) -> Int {
        guard let refusal = refusal(of: publication) else {
            nextTicket += 1
            waiting.append((nextTicket, publication))
            return nextTicket
        }
        throw BusError(
            operation: "publish to \(publication.topic)", reason: refusal, isTooLarge: isTooLarge(publication))
    }

    private func isTooLarge(_ publication: Publication) -> Bool {
        publication.payload.count + publication.overhead > publicationBytesMax
    }

    private func refusal(of publication: Publication) -> String? {
        guard isConnected else { return "not connected" }
        guard !isTooLarge(publication) else {
            return "\(publication.payload.count) bytes and properties are more than \(publicationBytesMax)"
        }
        guard waiting.count < Connection.waitingMax else { return "\(Connection.waitingMax) messages wait already" }
        return PropertyList.defect(of: publication)
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

    /// Sends DISCONNECT after all that waits, for at most `limit`, and ends for good. Nothing is reported any more. After a
    /// stall what waits is too old to be sent, and the session ends without a word.
    public func close(within limit: TimeSpan = .seconds(2)) {
        guard !isClosed else { return }
        isClosed = true
        if outstanding == 0 { loop.restartClock() }  // whoever says no more than goodbye may do so late
        let end = Clock.now() + limit
        while isConnected, outstanding > 0, Clock.now() < end { pump() }
        handle?.disconnect()
        while let handle, handle.descriptor != nil, handle.wantsToWrite, Clock.now() < end { pump() }
        handle = nil
        isConnected = false
        loop.remove(self)
    }

    /// Ends the session without a word and unread, as a crash would; connects again unless closed.
    public func abandon(reason: String) {
        guard let handle else { return }
        // Its CONNECT has been written.
        if !isConnected, !isAskingWhy, !handle.wantsToWrite {
            loop.lateAttempts[options.clientID, default: LateAttempts()].gaveUp()
        }
        lose(failure(reason))
    }

    // MARK: Driven by the loop

    /// As `abandon`, but for what the broker may have said last: that another client has the place of this session.
    func stalled(reason: String) {
        guard options.endsWhenTakenOver, isConnected, let code = handle?.readFarewell(within: Connection.readLimit)
        else {
            return abandon(reason: reason)
        }
        ended(code, reason)
    }

    var descriptor: Int32? { handle?.descriptor }
    var wantsToRead: Bool { !(isReadingPaused && isConnected) }
    var wantsToWrite: Bool {
        // During the handshake of TLS nothing is written but by reading: waiting to write would spin.
        (handle?.wantsToWrite ?? false) && !(isEncrypted && isReached && !isConnected)
    }
    /// Something waits for the socket, or for acknowledgements that a pause in reading would delay.
    var isHurried: Bool { wantsToWrite || inFlight.count > window / 4 }
    /// The packet limit of the last turn was reached, or window and socket have room for what waits.
    var hasWorkWaiting: Bool {
        mayHaveMore || (isConnected && waiting.count > 0 && inFlight.count < window && !wantsToWrite)
    }

    /// The packet limit of the last turn was reached.
    var hasMore: Bool { mayHaveMore }

    /// Takes what poll(2) found; how many packets were read.
    func ready(_ events: Int16) -> Int {
        guard let handle else { return 0 }
        if !isConnected, let reason = handle.socketError() {
            lose(BusError(operation: "connect to \(options.broker)", reason: handle.lastWords ?? reason))
            return 0
        }
        if events & Int16(POLLOUT) != 0, !isReached {
            isReached = true
            if isEncrypted { return read() }
        }
        return mayHaveMore || events & ~Int16(POLLOUT) != 0 ? read() : 0
    }

    /// Reads until nothing is left, at most `packetsPerTurnMax` packets and for no longer than `readLimit`; how many.
    private func read() -> Int {
        guard let handle else { return 0 }
        mayHaveMore = false
        var count = 0
        let end = loop.checkedAt + Connection.readLimit
        repeat {
            let progress = handle.read()
            count += handle.reportCount
            deliver(handle)
            guard self.handle === handle else { return count }  // lost or closed by a delegate
            switch progress {
            case .made: break
            case .nothing: return count
            case .failed(let reason):
                lose(failure(reason))
                return count
            }
        } while isConnected && wantsToRead && count < Connection.packetsPerTurnMax && loop.checkedAt < end
        mayHaveMore = isConnected && wantsToRead
        return count
    }

    /// Sends what waits, as far as window and socket take it; judges the time.
    func write(now: Instant) {
        guard let handle else { return }
        guard isConnected || now.milliseconds(since: attemptedAt) < Connection.answerLimit.milliseconds else {
            return abandon(reason: "no answer within \(Connection.answerLimit.milliseconds / 1_000) s")
        }
        if now.milliseconds(since: lastMiscellaneous) >= 500 {
            lastMiscellaneous = now
            if case .failed(let reason) = handle.miscellaneous() { return lose(failure(reason)) }
        }
        repeat {
            loop.checkClock()
            guard self.handle === handle else { return }  // given up after a stall
            if handle.wantsToWrite, case .failed(let reason) = handle.write() { return lose(failure(reason)) }
        } while !handle.wantsToWrite && handOver(to: handle)
        deliver(handle)
    }

    /// Gives the library the next message, when the window has room for it; whether it has one to write.
    private func handOver(to handle: Handle) -> Bool {
        guard isConnected, inFlight.count < window, let (ticket, publication) = waiting.popFirst() else { return false }
        do {
            let mid = try handle.publish(publication)
            if publication.qualityOfService == .atLeastOnce { inFlight[mid] = ticket }
            return true
        } catch {
            lose(error)
            return false
        }
    }

    // MARK: Inside

    private var isEncrypted: Bool {
        if case .tcp(_, _, let isEncrypted) = options.broker.endpoint { isEncrypted } else { false }
    }

    private func connect() {
        guard !isClosed else { return }
        attempts += 1
        do {
            let handle = try Handle(clientID: isAskingWhy ? "" : options.clientID, options: attemptOptions)
            try handle.connect(options, attempt: attempts)
            if let limit = options.deliveryLimit { handle.limitDelivery(to: limit) }
            self.handle = handle
            attemptedAt = Clock.now()
            isReached = false
        } catch {
            fail(error)
        }
    }

    /// Reports a loss, after the call that brought it, and connects again later.
    private func fail(_ error: BusError) {
        lastError = error
        guard !isClosed else { return }
        if loop.isTelling {
            loop.after(.zero) { [weak self] in self?.tell { $0.disconnected(error, on: $1) } }
        } else {
            tell { $0.disconnected(error, on: $1) }
        }
        guard options.reconnects, !error.isTakenOver, !isClosed else { return }
        let delay = backoff
        backoff = TimeSpan(milliseconds: min(backoff.milliseconds * 2, Connection.backoffMax.milliseconds))
        loop.after(delay) { [weak self] in self?.connect() }
    }

    private func lose(_ error: BusError) {
        guard handle != nil else { return }
        // A session that lasted is made again soon; one that ends as soon as it begins (a client id used twice) is not.
        if isConnected, Clock.now().milliseconds(since: connectedAt) >= Connection.backoffMax.milliseconds {
            backoff = Connection.backoffMin
        }
        handle?.forgetUndelivered()
        handle = nil
        isConnected = false
        mayHaveMore = false
        waiting = PublicationQueue()
        inFlight = [:]
        unansweredSubscriptions = [:]
        refusedFilters = []
        fail(error)
    }

    /// What the next attempt says: a question leaves no Last Will.
    private var attemptOptions: ConnectionOptions {
        var options = options
        if isAskingWhy { options.will = nil }
        return options
    }

    /// The session ended, by the broker's word or without one.
    private func ended(_ code: Int32, _ reason: String) {
        let isTakenOver = code == Int32(ReasonCode.sessionTakenOver)
        guard options.endsWhenTakenOver, isTakenOver || code == Int32(ReasonCode.administrativeAction) else {
            return lose(failure(reason))
        }
        let length = TimeSpan(milliseconds: Clock.now().milliseconds(since: connectedAt))
        let isOurs = loop.lateAttempts[options.clientID]?.endedSession(after: length) ?? false
        isAskingWhy = !isTakenOver && !isOurs
        lose(isTakenOver && !isOurs ? takenOver : failure(reason))
    }

    private var takenOver: BusError {
        BusError(
            operation: "connection to \(options.broker)",
            reason: "another client connected as \(options.clientID)", isTakenOver: true)
    }

    private func failure(_ reason: String) -> BusError {
        BusError(operation: "connection to \(options.broker)", reason: reason)
    }

    private func tell(_ call: (any ConnectionDelegate, Connection) -> Void) {
        guard !isClosed, let delegate else { return }
        loop.isTelling = true
        call(delegate, self)
        loop.isTelling = false
    }

    private func deliver(_ handle: Handle) {
        while self.handle === handle, let report = handle.nextReport() {
            loop.checkClock()
            guard self.handle === handle else { return }  // given up after a stall
            switch report {
            case .connected(let reason, let limits): connected(reason, limits)
            case .disconnected(let code, let reason): ended(code, reason)
            case .received(let delivery): tell { $0.received(delivery, on: $1) }
            case .published(let mid, let reason):
                guard let ticket = inFlight.removeValue(forKey: mid) else { continue }
                tell { $0.published(ticket, reason: reason, on: $1) }
            case .subscribed(let mid, let granted): subscribed(mid, granted)
            }
        }
    }

    private func connected(_ reason: Int32, _ limits: BrokerLimits) {
        guard reason == 0 else {
            let error = BusError(connectingTo: options.broker, answer: reason)
            if error.isRefusal { isAskingWhy = false }
            return lose(error)
        }
        if isAskingWhy { return lose(takenOver) }
        isConnected = true
        connectedAt = Clock.now()
        lastError = nil
        publicationBytesMax = min(Connection.publicationBytesMax, limits.packetBytesMax ?? .max)
        window = min(Connection.windowMax, limits.receiveMaximum ?? .max)
        tell { $0.connected($1) }
    }

    private func subscribed(_ mid: Int32, _ granted: [Int32]) {
        guard let filters = unansweredSubscriptions.removeValue(forKey: mid) else { return }
        refusedFilters += zip(filters, granted).filter { $0.1 >= Int32(ReasonCode.failure) }.map(\.0)
        guard unansweredSubscriptions.isEmpty else { return }
        let refused = refusedFilters
        refusedFilters = []
        tell { $0.subscribed(refused: refused, on: $1) }
    }

    /// A little turn of this connection alone, for its end.
    private func pump() {
        guard let handle, let descriptor = handle.descriptor else { return }
        write(now: Clock.now())
        let events = Int16(POLLIN) | (handle.wantsToWrite ? Int16(POLLOUT) : 0)
        var state = pollfd(fd: descriptor, events: events, revents: 0)
        if poll(&state, 1, 20) > 0 { _ = ready(state.revents) }
    }
}
