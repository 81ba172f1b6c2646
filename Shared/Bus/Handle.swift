internal import CMosquitto
internal import Glibc
internal import Model
internal import Secrets

/// What a broker takes, as its CONNACK says (MQTT 5 §3.2.2.3).
struct BrokerLimits {
    var packetBytesMax: Int?
    /// QoS 1 publications that it takes without having acknowledged them.
    var receiveMaximum: Int?
}

/// One libmosquitto handle for one life of a connection: never connected twice.
///
/// It belongs to one thread and is driven by an external loop (`mosquitto_threaded_set(true)`), so nothing is written
/// before `write` is called, which writes all that the library has: what must not leave is not given to it.
final class Handle {
    /// What the library reported; handed over by the loop after each call, never from inside a callback.
    enum Report {
        case connected(reason: Int32, BrokerLimits)
        /// With a return code of the library, or a reason code of MQTT 5.
        case disconnected(code: Int32, reason: String)
        case received(Delivery)
        case published(mid: Int32, reason: UInt8)
        case subscribed(mid: Int32, granted: [Int32])
    }

    /// What a call of the library came to.
    enum Progress {
        case made
        /// The socket is empty, or does not take more.
        case nothing
        case failed(reason: String)
    }

    private let handle: OpaquePointer
    /// The library has one message for all that goes wrong with TLS.
    private let tls: TLSClient?
    private var reports: [Report] = []
    private var nextIndex = 0
    /// The broker's CONNACK has come.
    private var hasAnswer = false

    /// `mosquitto_lib_init` must come first and once.
    private static let library: Int32 = mosquitto_lib_init()

    init(clientID: String, options: ConnectionOptions) throws(BusError) {
        _ = Handle.library
        tls = try Handle.tls(options)
        guard let handle = mosquitto_new(clientID.isEmpty ? nil : clientID, true, nil) else {
            throw BusError(operation: "create a client", reason: String(cString: strerror(errno)))
        }
        self.handle = handle
        mosquitto_user_data_set(handle, Unmanaged.passUnretained(self).toOpaque())
        mosquitto_threaded_set(handle, true)
        mosquitto_int_option(handle, MOSQ_OPT_PROTOCOL_VERSION, MQTT_PROTOCOL_V5)
        mosquitto_int_option(handle, MOSQ_OPT_TCP_NODELAY, 1)
        mosquitto_int_option(handle, MOSQ_OPT_RECEIVE_MAXIMUM, options.receiveMaximum)
        // Of a broker that names no limit the library believes in 20, and would keep the others to write them later.
        mosquitto_int_option(handle, MOSQ_OPT_SEND_MAXIMUM, Int32(Connection.windowMax))
        setCallbacks()
        if let username = options.broker.username {
            try check(mosquitto_username_pw_set(handle, username, options.broker.password), "set the user")
        }
        if let will = options.will {
            let properties = try PropertyList(of: will)
            try check(
                mosquitto_will_set_v5(
                    handle, will.topic, Int32(will.payload.count), will.payload, will.qualityOfService.rawValue,
                    will.isRetained, properties.list), "set the Last Will")
            properties.release()  // the library owns the list from here on
        }
        if let tls {
            try check(mosquitto_void_option(handle, MOSQ_OPT_SSL_CTX, tls.libraryContext), "set up TLS")
            // Otherwise the library would want to set it up once more, from files that it was not told.
            mosquitto_int_option(handle, MOSQ_OPT_SSL_CTX_WITH_DEFAULTS, 0)
        }
    }

    private static func tls(_ options: ConnectionOptions) throws(BusError) -> TLSClient? {
        guard case .tcp(let host, _, true) = options.broker.endpoint else { return nil }
        do {
            return try TLSClient(options.tls, host: host)
        } catch {
            throw BusError(operation: "set up TLS to \(options.broker)", reason: error.reason)
        }
    }

    deinit {
        mosquitto_destroy(handle)
    }

    var reportCount: Int { reports.count - nextIndex }

    /// The reports in their order, each once; a report may bring new ones.
    func nextReport() -> Report? {
        guard nextIndex < reports.count else {
            reports.removeAll(keepingCapacity: reports.count <= Connection.packetsPerTurnMax)
            nextIndex = 0
            return nil
        }
        defer { nextIndex += 1 }
        return reports[nextIndex]
    }

    // MARK: Calls

    /// Begins to connect: the socket says when it stands, or why not.
    func connect(_ options: ConnectionOptions, attempt: Int) throws(BusError) {
        let (host, port): (String, Int) =
            switch options.broker.endpoint {
            case .tcp(let host, let port, let isEncrypted):
                // The library tries a name's first address only when it does not block; TLS needs the name.
                (isEncrypted ? host : try HostAddresses.address(of: host, attempt: attempt), port)
            case .unix(let path): (path, 0)
            }
        try check(
            mosquitto_connect_bind_async(handle, host, Int32(port), options.keepaliveSeconds, nil),
            "connect to \(options.broker)")
    }

    /// Lets the kernel give up what is not acknowledged within `limit` (tcp(7), `TCP_USER_TIMEOUT`), and notice a silent way
    /// also while nothing is sent. Measured on Linux 6.18 with 1 s: a connection with data under way ends after 1.4 s (the
    /// kernel counts from its first repeat and looks when it repeats), an idle one after 2.1 s (probes have whole seconds).
    func limitDelivery(to limit: TimeSpan) {
        guard let descriptor else { return }
        let seconds = Int32(clamping: max(1, limit.milliseconds / 1_000))
        // A socket that knows no such option is a Unix socket: its way cannot be interrupted.
        for (level, option, value) in [
            (Int32(IPPROTO_TCP), TCP_USER_TIMEOUT, Int32(clamping: limit.milliseconds)),
            (SOL_SOCKET, SO_KEEPALIVE, 1), (Int32(IPPROTO_TCP), TCP_KEEPIDLE, seconds),
            (Int32(IPPROTO_TCP), TCP_KEEPINTVL, seconds),
        ] {
            var value = value
            setsockopt(descriptor, level, option, &value, socklen_t(MemoryLayout<Int32>.size))
        }
    }

    /// The end of this handle resets the connection: what was written and is not delivered yet never is (socket(7),
    /// `SO_LINGER` of zero).
    func forgetUndelivered() {
        guard let descriptor else { return }
        var now = linger(l_onoff: 1, l_linger: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &now, socklen_t(MemoryLayout<linger>.size))
    }

    /// Why the socket could not be connected; `nil` while it may still be.
    func socketError() -> String? {
        guard let descriptor else { return nil }
        var code: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        guard getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &code, &length) == 0, code != 0 else { return nil }
        return String(cString: strerror(code))
    }

    /// What the server said of TLS before it reset the connection: that is still to be read.
    var lastWords: String? {
        if tls != nil { _ = read() }
        return tls?.fault
    }

    var descriptor: Int32? {
        let descriptor = mosquitto_socket(handle)
        return descriptor < 0 ? nil : descriptor
    }

    var wantsToWrite: Bool { mosquitto_want_write(handle) }

    /// Reads a packet, or as many as publications are unacknowledged.
    ///
    /// The library succeeds on an empty socket too, with `EAGAIN`. So may a packet, whose acknowledgement also goes into
    /// a socket pair that nobody reads in an external loop: only without a report is the socket empty.
    func read() -> Progress {
        let before = reports.count
        let progress = self.progress { mosquitto_loop_read(handle, 1) }
        if case .nothing = progress, reports.count > before { return .made }
        return progress
    }

    /// Reads what waits, for no longer than `limit`, and gives up all of it but the code with which the session ended.
    func readFarewell(within limit: TimeSpan) -> Int32? {
        let end = Clock.now() + limit
        while case .made = read(), Clock.now() < end {}
        for case .disconnected(let code, _) in reports[nextIndex...] { return code }
        return nil
    }

    /// Writes all that is queued, as far as the socket takes it. What a server said of TLS before it went is read first: after a
    /// write that failed the library reads no more.
    func write() -> Progress {
        if tls != nil, !hasAnswer, case .failed(let reason) = read() { return .failed(reason: reason) }
        return progress { mosquitto_loop_write(handle, 1) }
    }

    func miscellaneous() -> Progress { progress { mosquitto_loop_misc(handle) } }

    private func progress(_ call: () -> Int32) -> Progress {
        errno = 0
        let code = call()
        let problem = errno
        guard code != MOSQ_ERR_SUCCESS.rawValue.signed else {
            return problem == EAGAIN || problem == EWOULDBLOCK ? .nothing : .made
        }
        return .failed(reason: tls?.fault ?? Handle.text(code, problem))
    }

    /// Queues a message; its packet id.
    func publish(_ publication: Publication) throws(BusError) -> Int32 {
        let properties = try PropertyList(of: publication)
        var mid: Int32 = 0
        try check(
            mosquitto_publish_v5(
                handle, &mid, publication.topic, Int32(publication.payload.count), publication.payload,
                publication.qualityOfService.rawValue, publication.isRetained, properties.list),
            "publish to \(publication.topic)")
        return mid
    }

    func subscribe(_ filters: [String], options: Int32) throws(BusError) -> Int32 {
        var mid: Int32 = 0
        var pointers: [UnsafeMutablePointer<CChar>?] = filters.map { strdup($0) }
        defer { for pointer in pointers { free(pointer) } }
        let result = pointers.withUnsafeMutableBufferPointer { buffer -> Int32 in
            // The C function takes `char *const *const`, whose elements Swift imports as non-optional-less pointers.
            mosquitto_subscribe_multiple(handle, &mid, Int32(filters.count), buffer.baseAddress!, 1, options, nil)
        }
        try check(result, "subscribe")
        return mid
    }

    func unsubscribe(_ filter: String) throws(BusError) {
        var mid: Int32 = 0
        try check(mosquitto_unsubscribe(handle, &mid, filter), "unsubscribe from \(filter)")
    }

    func disconnect() {
        mosquitto_disconnect_v5(handle, 0, nil)
    }

    private func check(_ code: Int32, _ operation: String) throws(BusError) {
        guard code != MOSQ_ERR_SUCCESS.rawValue.signed else { return }
        throw BusError(operation: operation, reason: tls?.fault ?? Handle.text(code))
    }

    /// What a return code, or a reason code of MQTT 5, says.
    static func text(_ code: Int32, _ problem: Int32 = errno) -> String {
        if code == MOSQ_ERR_ERRNO.rawValue.signed { return String(cString: strerror(problem)) }
        // The library has no words of its own for this one.
        if code == MOSQ_ERR_KEEPALIVE.rawValue.signed { return "the broker fell silent (keepalive)" }
        return code >= Int32(ReasonCode.failure) ? reasonText(code) : String(cString: mosquitto_strerror(code))
    }

    static func reasonText(_ reason: Int32) -> String {
        String(cString: mosquitto_reason_string(reason))
    }

    // MARK: Callbacks

    /// Each closure captures nothing, finds its handle in the user data and copies what it needs.
    private func setCallbacks() {
        mosquitto_connect_v5_callback_set(handle) { _, data, reason, _, properties in
            let limits = properties.map { PropertyList.limits($0) } ?? BrokerLimits()
            Handle.of(data)?.hasAnswer = true
            Handle.of(data)?.reports.append(.connected(reason: reason, limits))
        }
        mosquitto_disconnect_v5_callback_set(handle) { _, data, reason, _ in
            guard let handle = Handle.of(data) else { return }
            handle.reports.append(.disconnected(code: reason, reason: handle.tls?.fault ?? Handle.text(reason)))
        }
        mosquitto_publish_v5_callback_set(handle) { _, data, mid, reason, _ in
            Handle.of(data)?.reports.append(.published(mid: mid, reason: UInt8(truncatingIfNeeded: reason)))
        }
        mosquitto_subscribe_v5_callback_set(handle) { _, data, mid, count, granted, _ in
            let codes = UnsafeBufferPointer(start: granted, count: Int(count))
            Handle.of(data)?.reports.append(.subscribed(mid: mid, granted: Array(codes)))
        }
        mosquitto_message_v5_callback_set(handle) { _, data, message, properties in
            guard let handle = Handle.of(data), let message = message?.pointee, let topic = message.topic else {
                return
            }
            let payload = [UInt8](UnsafeRawBufferPointer(start: message.payload, count: Int(message.payloadlen)))
            var delivery = Delivery(topic: String(cString: topic), payload: payload, isRetained: message.retain)
            if let properties { PropertyList.read(properties, into: &delivery) }
            handle.reports.append(.received(delivery))
        }
    }

    private static func of(_ data: UnsafeMutableRawPointer?) -> Handle? {
        data.map { Unmanaged<Handle>.fromOpaque($0).takeUnretainedValue() }
    }
}

extension Int32 {
    var signed: Int32 { self }
}

extension UInt32 {
    /// C enums are imported unsigned or signed by platform; the library's functions return `int`.
    var signed: Int32 { Int32(bitPattern: self) }
}
