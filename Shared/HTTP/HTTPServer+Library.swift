internal import API
internal import Bus
internal import CMicroHTTPD
internal import Glibc
internal import Model

/// What the library calls, always from within `run`. Each closure captures nothing and finds its server in the context.
extension HTTPServer {
    /// The daemon on a listening socket; `nil` when it does not start.
    func startLibrary(on descriptor: Int32) -> OpaquePointer? {
        let context = Unmanaged.passUnretained(self).toOpaque()
        let lineRead:
            @convention(c) (UnsafeMutableRawPointer?, UnsafePointer<CChar>?, OpaquePointer?)
                -> UnsafeMutableRawPointer? = { context, target, connection in
                    guard let connection else { return nil }
                    HTTPServer.of(context).lineRead(target.map { String(cString: $0) } ?? "", on: connection)
                    return nil
                }
        // Targets are divided before they are decoded, by `Target`.
        let unescape: @convention(c) (UnsafeMutableRawPointer?, OpaquePointer?, UnsafeMutablePointer<CChar>?) -> Int = {
            $2.map { strlen($0) } ?? 0
        }
        let completed: MHD_RequestCompletedCallback = { context, connection, _, _ in
            guard let connection else { return }
            HTTPServer.of(context).completed(on: connection)
        }
        let noted: MHD_NotifyConnectionCallback = { context, connection, _, code in
            guard let connection else { return }
            HTTPServer.of(context).noted(connection, hasBegun: code == .CONNECTION_NOTIFY_STARTED)
        }
        var items = [
            HTTPServer.option(.LISTEN_SOCKET, Int(descriptor)),
            HTTPServer.option(.CONNECTION_LIMIT, options.connectionsMax),
            HTTPServer.option(.CONNECTION_MEMORY_LIMIT, HTTPServer.connectionMemory),
            HTTPServer.option(.CONNECTION_TIMEOUT, Int(options.silenceLimit.milliseconds / 1_000)),
            HTTPServer.option(.SIGPIPE_HANDLED_BY_APP, 1),
            HTTPServer.option(.URI_LOG_CALLBACK, unsafeBitCast(lineRead, to: Int.self), context),
            HTTPServer.option(.UNESCAPE_CALLBACK, unsafeBitCast(unescape, to: Int.self), context),
            HTTPServer.option(.NOTIFY_COMPLETED, unsafeBitCast(completed, to: Int.self), context),
            HTTPServer.option(.NOTIFY_CONNECTION, unsafeBitCast(noted, to: Int.self), context),
        ]
        var flags = MHD_USE_EPOLL.rawValue | MHD_ALLOW_SUSPEND_RESUME.rawValue
        // Read when the daemon starts, and never again.
        var texts: [UnsafeMutablePointer<CChar>?] = []
        defer { for text in texts { free(text) } }
        if let tls = options.tls {
            flags |= MHD_USE_TLS.rawValue
            for (name, bytes) in [
                (MHD_OPTION.HTTPS_MEM_CERT, tls.certificate), (.HTTPS_MEM_KEY, tls.key),
                (.HTTPS_MEM_TRUST, tls.clientAuthority),
            ] {
                guard let bytes else { continue }
                texts.append(strdup(String(decoding: bytes, as: UTF8.self)))
                items.append(HTTPServer.option(name, 0, texts[texts.count - 1]))
            }
        }
        items.append(HTTPServer.option(.END, 0))
        return rollcall_http_start(
            UInt32(flags),
            { context, connection, target, method, version, data, size, _ in
                guard let connection, let target, let method, let version, let size else { return .NO }
                return HTTPServer.of(context).handle(
                    connection, HeadPointers(target: target, method: method, version: version), data, size)
            }, context, &items)
    }

    private static func option(_ name: MHD_OPTION, _ value: Int, _ pointer: UnsafeMutableRawPointer? = nil)
        -> MHD_OptionItem
    {
        MHD_OptionItem(option: name, value: value, ptr_value: pointer)
    }

    private static func of(_ context: UnsafeMutableRawPointer?) -> HTTPServer {
        guard let context else { preconditionFailure("the library lost its context") }
        return Unmanaged<HTTPServer>.fromOpaque(context).takeUnretainedValue()
    }

    private func noted(_ connection: OpaquePointer, hasBegun: Bool) {
        guard hasBegun else {
            guard let client = clients.removeValue(forKey: connection), client.isRefused, !isEnding else { return }
            return lingering.take(client.socket)
        }
        let socket = rollcall_http_socket(connection)
        // What a host that has vanished does not acknowledge ends its connection (tcp(7)).
        var limit = Int32(clamping: options.silenceLimit.milliseconds)
        setsockopt(socket, Int32(IPPROTO_TCP), TCP_USER_TIMEOUT, &limit, socklen_t(MemoryLayout<Int32>.size))
        if clients.count >= options.connectionsMax - spare { makeRoom() }
        clients[connection] = Client(connection, socket: socket, deadline: loop.now + options.requestLimit)
    }

    private func lineRead(_ target: String, on connection: OpaquePointer) {
        guard let client = clients[connection] else { return }
        client.exchange = Exchange(id: numbers.next(), client: client, target: target)
    }

    /// The answer is with the kernel, or the connection has ended.
    private func completed(on connection: OpaquePointer) {
        guard let client = clients[connection], let exchange = client.exchange else { return }
        client.exchange = nil
        client.deadline = loop.now + options.requestLimit
        guard exchanges.removeValue(forKey: exchange.id) != nil else { return }
        if exchange.isStream { openStreams -= 1 }
        if exchange.isOwed { gone.append(exchange.id) }
    }

    /// Called when the head is there, for each piece of the body, at its end, and when the connection is resumed.
    private func handle(
        _ connection: OpaquePointer, _ pointers: HeadPointers, _ data: UnsafePointer<CChar>?,
        _ size: UnsafeMutablePointer<Int>
    ) -> MHD_Result {
        guard !isEnding, let client = clients[connection], let exchange = client.exchange, !exchange.isSentAway else {
            return .NO
        }
        switch exchange.stage {
        case .head:
            exchange.stage = .body
            do {
                try checkCertificate(connection)
                try exchange.take(
                    pointers.head(of: connection, targetSize: exchange.target.utf8.count), bodyMax: options.bodyMax)
            } catch {
                return refuse(client, error)
            }
            return .YES
        case .body:
            guard size.pointee == 0 else {
                exchange.take(UnsafeRawBufferPointer(start: data, count: size.pointee), bodyMax: options.bodyMax)
                size.pointee = 0
                return exchange.received <= options.bodyMax * HTTPServer.discardedBodies ? .YES : .NO
            }
            guard exchange.received <= options.bodyMax else { return refuse(client, Framing.tooLarge(options.bodyMax)) }
            exchange.stage = .waiting
            client.deadline = nil
            exchanges[exchange.id] = exchange
            arrived.append(exchange)
            MHD_suspend_connection(connection)
            exchange.isSuspended = true
            return .YES
        case .answered(let response): return send(response, on: connection)
        case .opened(let headers):
            exchange.stage = .streaming
            return stream(exchange, headers: headers)
        case .waiting, .streaming: return .NO
        }
    }

    /// - Throws: `Refusal` of who has to show a certificate and does not.
    private func checkCertificate(_ connection: OpaquePointer) throws(Refusal) {
        guard options.tls?.clientAuthority != nil else { return }
        switch rollcall_http_client_is_known(connection) {
        case 1: return
        case -1: throw Refusal("a client certificate is required", status: 403)
        default:
            throw Refusal(
                "the client certificate does not count: it is not for clients, has ended, or is of another authority",
                status: 403)
        }
    }

    private func refuse(_ client: Client, _ refusal: Refusal) -> MHD_Result {
        client.isRefused = true
        client.deadline = loop.now + options.requestLimit
        return send(refusal.response, on: client.connection)
    }

    private func send(_ response: HTTPResponse, on connection: OpaquePointer) -> MHD_Result {
        let handle = response.body.withUnsafeBytes { bytes in
            // Copied: the pointer is only read.
            MHD_create_response_from_buffer(
                bytes.count, UnsafeMutableRawPointer(mutating: bytes.baseAddress), .RESPMEM_MUST_COPY)
        }
        return queue(handle, status: response.status, headers: response.headers, closes: isStopping, on: connection)
    }

    private func stream(_ exchange: Exchange, headers: [HTTPResponse.Header]) -> MHD_Result {
        let handle = MHD_create_response_from_callback(
            UInt64.max, HTTPServer.streamBlock,
            { context, _, buffer, size in
                guard let context, let buffer else { return -2 }
                return Unmanaged<Exchange>.fromOpaque(context).takeUnretainedValue()
                    .read(into: UnsafeMutableRawBufferPointer(start: buffer, count: size))
            }, Unmanaged.passRetained(exchange).toOpaque(),
            { context in
                guard let context else { return }
                Unmanaged<Exchange>.fromOpaque(context).release()
            })
        return queue(handle, status: 200, headers: headers, closes: true, on: exchange.client.connection)
    }

    private func queue(
        _ handle: OpaquePointer?, status: Int, headers: [HTTPResponse.Header], closes: Bool,
        on connection: OpaquePointer
    ) -> MHD_Result {
        guard let handle else { return .NO }
        defer { MHD_destroy_response(handle) }
        for header in headers { MHD_add_response_header(handle, header.name, header.value) }
        if closes { MHD_add_response_header(handle, "Connection", "close") }
        return MHD_queue_response(connection, UInt32(status), handle)
    }
}

extension Exchange {
    /// - Throws: `Refusal`.
    fileprivate func take(_ head: Head, bodyMax: Int) throws(Refusal) {
        let location = try Target(target)
        try Framing.check(head, authority: location.authority, bodyMax: bodyMax)
        self.location = location
        method = String(decoding: head.method, as: UTF8.self)
        headers = head.headers.map { name, value in
            (
                String(decoding: name, as: UTF8.self).lowercased(),
                String(decoding: Framing.trimmed(value[...]), as: UTF8.self)
            )
        }
    }

    fileprivate func take(_ bytes: UnsafeRawBufferPointer, bodyMax: Int) {
        received += bytes.count
        if received <= bodyMax { body += bytes }
    }

    /// What the library writes next: a count, -1 at the end (`MHD_CONTENT_READER_END_OF_STREAM`), -2 to give up.
    fileprivate func read(into room: UnsafeMutableRawBufferPointer) -> Int {
        guard !isSentAway else { return -2 }
        let count = backlog.take(into: room)
        guard count == 0 else { return count }
        guard !isEnding else { return -1 }
        // 0 without a suspension would be asked again at once, for ever.
        MHD_suspend_connection(client.connection)
        isSuspended = true
        return 0
    }
}

/// Where in the library's memory the parts of a request line are. It cuts texts at zero bytes; their distances tell.
private struct HeadPointers {
    let target: UnsafePointer<CChar>
    let method: UnsafePointer<CChar>
    let version: UnsafePointer<CChar>

    private final class Fields {
        var head: Head
        /// Where the last field ended.
        var end: UnsafePointer<CChar>

        init(_ head: Head, end: UnsafePointer<CChar>) {
            self.head = head
            self.end = end
        }
    }

    /// One field's end, and the next one's beginning: LF or CRLF lies between.
    private static let lineEnds = 1...2

    func head(of connection: OpaquePointer, targetSize: Int) -> Head {
        var head = Head(method: HeadPointers.bytes(method), version: HeadPointers.bytes(version))
        head.hidesBytes = target - method != head.method.count + 1 || version - target != targetSize + 1
        let fields = Fields(head, end: version + head.version.count)
        MHD_get_connection_values_n(
            connection, .HEADER_KIND,
            { context, _, name, nameSize, value, valueSize in
                guard let context, let name else { return .NO }
                let fields = Unmanaged<Fields>.fromOpaque(context).takeUnretainedValue()
                fields.head.hidesBytes = fields.head.hidesBytes || !HeadPointers.lineEnds.contains(name - fields.end)
                fields.head.headers.append(
                    (HeadPointers.bytes(name, nameSize), value.map { HeadPointers.bytes($0, valueSize) } ?? []))
                if let value { fields.end = value + valueSize }
                return .YES
            }, Unmanaged.passUnretained(fields).toOpaque())
        let rest = method + rollcall_http_head_size(connection) - fields.end
        fields.head.hidesBytes = fields.head.hidesBytes || !(2...4).contains(rest)
        return fields.head
    }

    private static func bytes(_ text: UnsafePointer<CChar>, _ count: Int? = nil) -> [UInt8] {
        [UInt8](UnsafeRawBufferPointer(start: text, count: count ?? strlen(text)))
    }
}
