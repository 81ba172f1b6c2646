public import API
public import Bus
internal import CMicroHTTPD
internal import Glibc
public import Model

/// An HTTP/1.1 server on the loop of its program (libmicrohttpd, with an epoll descriptor that the loop watches).
///
/// What it hands over is sound: framing, target, header and size are checked, so that nobody between client and server reads
/// them otherwise. What is refused gets 400, 413, 414, 431 or 505, and its connection is closed.
///
/// Its memory is bounded: at most `connectionsMax` connections with `connectionMemory` and `bodyMax` bytes each, the answers
/// that the program gives, and `streamBacklogMax` for a stream. Everything runs on the loop's thread. A stall of the loop
/// ends no connection: answers speak of the past anyway.
public final class HTTPServer {
    public struct Options: Sendable {
        /// Certificate and key in PEM, read once: new ones need a new server.
        public struct TLS: Sendable {
            public var certificate: [UInt8]
            public var key: [UInt8]
            /// Only clients with a certificate from this authority are served.
            public var clientAuthority: [UInt8]?

            public init(certificate: [UInt8], key: [UInt8], clientAuthority: [UInt8]? = nil) {
                self.certificate = certificate
                self.key = key
                self.clientAuthority = clientAuthority
            }
        }

        public var address = "127.0.0.1"
        /// 0 picks a free one.
        public var port = 0
        /// Before it is reached, those that owe a request for longest are cut off.
        public var connectionsMax = 1_000
        /// Bytes; a longer body is answered with 413, before it is read where its length says so.
        public var bodyMax = 65_536
        /// A client that owes a request for longer is cut off.
        public var requestLimit = TimeSpan.seconds(20)
        /// A client that neither sends nor takes a byte for longer is cut off. Whole seconds.
        public var silenceLimit = TimeSpan.seconds(15)
        public var tls: TLS?

        public init() {}
    }

    /// What the library may take for a connection: a request line and headers must fit (414, 431).
    public static let connectionMemory = 8_192
    /// Bytes that a stream's client may be behind.
    public static let streamBacklogMax = 65_536
    /// How long a client may take to read an answer.
    public static let answerLimit = TimeSpan.seconds(120)
    /// Bytes that a stream hands to the library at a time; it keeps as much for each.
    static let streamBlock = 1_024
    /// A body that is too long without having said so is read this many times `bodyMax`, so that its client reads why; then
    /// it is cut off.
    static let discardedBodies = 8
    /// How often clients that have gone or are slow are looked for.
    static let watchInterval = TimeSpan.seconds(1)

    /// `POLLRDHUP` of poll(2), which Swift does not import.
    static let peerHungUp: Int16 = 0x2000

    public let port: Int
    /// Called once for each sound request when its body is complete; its connection is suspended until it is answered.
    public var received: (HTTPRequest) -> Void = { _ in }
    /// The client of this request or stream has gone: there is nothing to answer any more. Noticed within a second or two.
    public var cancelled: (Int) -> Void = { _ in }
    /// Requests that are with the program or whose answers are being written.
    public var openRequests: Int { exchanges.count - openStreams }
    public internal(set) var openStreams = 0
    /// After `stop`: everything is finished or was cut off.
    public var isStopped: Bool { daemon == nil }

    let loop: EventLoop
    let options: Options
    let lingering: Lingering
    var isStopping = false
    /// Nothing may be suspended any more.
    var isEnding = false
    var clients: [OpaquePointer: Client] = [:]
    /// Those the program knows.
    var exchanges: [Int: Exchange] = [:]
    /// Came in this run of the library.
    var arrived: [Exchange] = []
    var gone: [Int] = []
    let numbers: Numbers
    private var daemon: OpaquePointer?
    /// The library closes it.
    private let descriptor: Int32
    private var isRunning = false
    private var isRunDue = false
    private var epoll: Int32 = -1
    private var watchTimer = 0

    /// Of requests: servers that take over from each other never use one twice.
    final class Numbers {
        private var last = 0

        func next() -> Int {
            last += 1
            return last
        }
    }

    /// - Throws: `HTTPFailure`, as `port 18080 of 127.0.0.1 is taken`.
    public convenience init(loop: EventLoop, options: Options = Options()) throws(HTTPFailure) {
        let listening = try ListeningSocket.open(address: options.address, port: options.port)
        try self.init(loop, options, listening, Numbers())
    }

    /// Takes over the port of a server, with other certificates; that one is to be stopped by whoever asks, and answers what it
    /// has until then.
    public convenience init(takingOverFrom server: HTTPServer, tls: Options.TLS?) throws(HTTPFailure) {
        let copy = fcntl(server.descriptor, F_DUPFD_CLOEXEC, 0)
        guard copy >= 0 else { throw HTTPFailure("no socket: \(String(cString: strerror(errno)))") }
        var options = server.options
        options.tls = tls
        try self.init(server.loop, options, (copy, server.port), server.numbers)
        (received, cancelled) = (server.received, server.cancelled)
    }

    private init(
        _ loop: EventLoop, _ options: Options, _ listening: (descriptor: Int32, port: Int), _ numbers: Numbers
    ) throws(HTTPFailure) {
        signal(SIGPIPE, SIG_IGN)  // a client that has gone ends its connection, not this program
        self.loop = loop
        self.options = options
        self.numbers = numbers
        lingering = Lingering(loop: loop)
        (descriptor, port) = listening
        daemon = startLibrary(on: listening.descriptor)
        guard let daemon else {
            close(listening.descriptor)
            throw HTTPFailure(
                options.tls == nil
                    ? "the HTTP library does not start: \(String(cString: strerror(errno)))"
                    : "the certificate, its key or the authority of clients is no PEM, or they do not belong together")
        }
        epoll = rollcall_http_epoll(daemon)
        loop.watch(epoll) { [weak self] in self?.run() }
        watchTimer = loop.every(HTTPServer.watchInterval) { [weak self] in self?.watchClients() }
    }

    deinit {
        cancelled = { _ in }  // whoever forgot this server may be gone as well
        end()
    }

    /// Answers a request; one that is answered, has gone, or never was is ignored. A header that HTTP cannot carry is left out.
    public func answer(_ id: Int, _ response: HTTPResponse) {
        guard let exchange = exchanges[id], case .waiting = exchange.stage else { return }
        exchange.stage = .answered(response)
        exchange.client.deadline = loop.now + HTTPServer.answerLimit
        resume(exchange)
    }

    /// Answers a request with 200 and a body that goes on until `endStream`; then the connection is closed.
    public func openStream(_ id: Int, headers: [HTTPResponse.Header]) {
        guard let exchange = exchanges[id], case .waiting = exchange.stage else { return }
        exchange.stage = .opened(headers)
        openStreams += 1
        resume(exchange)
    }

    /// Appends to a stream. `false` when there is no such stream, or its client is too far behind: then it is ended.
    public func write(_ id: Int, _ bytes: [UInt8]) -> Bool {
        guard let exchange = exchanges[id], exchange.isStream, !exchange.isEnding, !exchange.isSentAway else {
            return false
        }
        // To a client that has read everything anything may be written.
        guard exchange.backlog.count == 0 || exchange.backlog.count + bytes.count <= HTTPServer.streamBacklogMax else {
            exchange.isEnding = true
            sendAway(exchange)
            return false
        }
        exchange.backlog.append(bytes)
        resume(exchange)
        return true
    }

    /// Whether the client of a stream has taken all that was written, as far as the library knows.
    public func isDrained(_ id: Int) -> Bool { exchanges[id]?.backlog.count == 0 }

    /// Ends a stream once what was written is with its client.
    public func endStream(_ id: Int) {
        guard let exchange = exchanges[id], exchange.isStream else { return }
        exchange.isEnding = true
        exchange.client.deadline = loop.now + HTTPServer.answerLimit
        resume(exchange)
    }

    /// Takes no new connections, finishes what is being answered, ends streams. `isStopped` holds when that is done, or
    /// after `limit`, when the rest is cut off.
    public func stop(within limit: TimeSpan) {
        guard let daemon, !isStopping else { return }
        isStopping = true
        let socket = MHD_quiesce_daemon(daemon)
        if socket >= 0 { close(socket) }
        for exchange in exchanges.values where exchange.isStream { endStream(exchange.id) }
        loop.after(limit) { [weak self] in self?.end() }
        runSoon()
    }

    // MARK: Inside

    /// How many connections are kept free for new clients.
    var spare: Int { options.connectionsMax / 16 }

    /// Lets the library read, write and accept, then tells the program what came of it.
    func run() {
        guard let daemon, !isRunning else { return }
        isRunDue = false
        isRunning = true
        MHD_run(daemon)
        isRunning = false
        deliver()
        if isStopping, exchanges.isEmpty { return end() }
        // What it has read and not yet looked at shows on no descriptor. Its other timeouts are longer than `watchInterval`.
        var timeout: UInt64 = 0
        if MHD_get_timeout(daemon, &timeout) == .YES, timeout == 0 { runSoon() }
    }

    /// Runs in the next turn, which does not wait.
    private func runSoon() {
        guard !isRunDue else { return }
        isRunDue = true
        loop.after(.zero) { [weak self] in self?.run() }
    }

    private func deliver() {
        let (requests, ids) = (arrived, gone)
        (arrived, gone) = ([], [])
        for exchange in requests { received(exchange.request) }
        for id in ids { cancelled(id) }
    }

    /// Cuts off who owes something for too long, and finds clients of suspended connections that have gone: the library does
    /// not look at those. A client that closes its half of the connection has gone.
    private func watchClients() {
        let now = loop.now
        for client in clients.values {
            if let deadline = client.deadline, deadline <= now { shutdown(client.socket, Int32(SHUT_RDWR)) }
        }
        let suspended = exchanges.values.filter(\.isSuspended)
        var descriptors = suspended.map { pollfd(fd: $0.client.socket, events: HTTPServer.peerHungUp, revents: 0) }
        poll(&descriptors, nfds_t(descriptors.count), 0)
        for (exchange, descriptor) in zip(suspended, descriptors) where descriptor.revents != 0 { sendAway(exchange) }
        run()
    }

    /// Cuts off who has owed a request for longest: not many newcomers need the next search.
    func makeRoom() {
        let owing = clients.values.filter(\.owesRequest)
            .compactMap { client in client.deadline.map { (deadline: $0, client: client) } }
            .sorted { $0.deadline < $1.deadline }
        for (_, client) in owing.prefix(spare) {
            client.isCutOff = true
            shutdown(client.socket, Int32(SHUT_RDWR))
        }
    }

    func resume(_ exchange: Exchange) {
        guard exchange.isSuspended else { return }
        exchange.isSuspended = false
        MHD_resume_connection(exchange.client.connection)
        runSoon()  // the library is not woken by this
    }

    private func sendAway(_ exchange: Exchange) {
        exchange.isSentAway = true
        shutdown(exchange.client.socket, Int32(SHUT_RDWR))
        resume(exchange)
    }

    /// The library may not be stopped while a connection is suspended.
    private func end() {
        guard let daemon else { return }
        isEnding = true
        for exchange in exchanges.values { sendAway(exchange) }
        MHD_run(daemon)
        loop.unwatch(epoll)
        loop.cancel(watchTimer)
        self.daemon = nil
        MHD_stop_daemon(daemon)
        clients = [:]
        deliver()
    }
}
