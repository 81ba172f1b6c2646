internal import Alerts
internal import Bus
internal import CCurl
internal import Glibc
internal import Model

/// Sends small requests over HTTP and HTTPS from the loop of its program (libcurl's multi interface, libcurl-multi(3)).
///
/// All its sockets are in one epoll descriptor that the loop watches (epoll(7)). It follows no redirect and speaks no other
/// protocol. What a server answers with is not kept, but for its status.
final class HTTPClient {
    struct Request: Sendable {
        let url: String
        let headers: [(name: String, value: String)]
        let body: [UInt8]
    }

    /// From the first packet to the last of the answer.
    private static let limit = TimeSpan.seconds(15)
    private static let connectLimit = TimeSpan.seconds(5)

    private struct Transfer {
        let headers: UnsafeMutablePointer<curl_slist>?
        let completed: (PostOutcome) -> Void
    }

    private let loop: EventLoop
    private let multi: UnsafeMutableRawPointer
    private let epoll: Int32
    private var transfers: [UnsafeMutableRawPointer: Transfer] = [:]
    private var timer: Int?

    /// Belongs to the thread that runs the loop.
    init(loop: EventLoop) {
        self.loop = loop
        curl_global_init(Int(CURL_GLOBAL_DEFAULT))
        epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
        guard let multi = curl_multi_init(), epoll >= 0 else { preconditionFailure("no memory for libcurl") }
        self.multi = multi
        let context = Unmanaged.passUnretained(self).toOpaque()
        rollcall_curl_set_socket_callback(
            multi,
            { _, socket, what, context, known in
                if let context {
                    Unmanaged<HTTPClient>.fromOpaque(context).takeUnretainedValue().watch(socket, what, known != nil)
                }
                return 0
            }, context)
        rollcall_curl_set_timer_callback(
            multi,
            { _, milliseconds, context in
                if let context {
                    Unmanaged<HTTPClient>.fromOpaque(context).takeUnretainedValue().wake(after: milliseconds)
                }
                return 0
            }, context)
        loop.watch(epoll) { [weak self] in self?.socketsReady() }
    }

    deinit {
        loop.unwatch(epoll)
        if let timer { loop.cancel(timer) }
        for (handle, transfer) in transfers {
            curl_multi_remove_handle(multi, handle)
            curl_easy_cleanup(handle)
            curl_slist_free_all(transfer.headers)
        }
        curl_multi_cleanup(multi)
        close(epoll)
    }

    /// Sends a POST; `completed` is called once, on a later turn of the loop.
    func post(_ request: Request, completed: @escaping (PostOutcome) -> Void) {
        guard let handle = curl_easy_init() else { preconditionFailure("no memory for libcurl") }
        var headers: UnsafeMutablePointer<curl_slist>?
        // `Expect: 100-continue` would cost a round trip.
        for (name, value) in request.headers + [("Expect", "")] {
            headers = curl_slist_append(headers, "\(name): \(value)")
        }
        // libcurl copies strings, and the body since its size is known before it.
        request.url.withCString { _ = rollcall_curl_set_pointer(handle, CURLOPT_URL, $0) }
        "http,https".withCString { _ = rollcall_curl_set_pointer(handle, CURLOPT_PROTOCOLS_STR, $0) }
        "rollcall".withCString { _ = rollcall_curl_set_pointer(handle, CURLOPT_USERAGENT, $0) }
        rollcall_curl_set_number(handle, CURLOPT_POST, 1)
        rollcall_curl_set_number(handle, CURLOPT_POSTFIELDSIZE, request.body.count)
        request.body.withUnsafeBytes {
            _ = rollcall_curl_set_pointer(handle, CURLOPT_COPYPOSTFIELDS, $0.baseAddress)
        }
        rollcall_curl_set_pointer(handle, CURLOPT_HTTPHEADER, headers)
        rollcall_curl_set_number(handle, CURLOPT_FOLLOWLOCATION, 0)
        rollcall_curl_set_number(handle, CURLOPT_NOSIGNAL, 1)
        // The thread that looks up a name is not waited for: a name server that does not answer would hold up the loop.
        rollcall_curl_set_number(handle, CURLOPT_QUICK_EXIT, 1)
        rollcall_curl_set_number(handle, CURLOPT_TIMEOUT_MS, Int(HTTPClient.limit.milliseconds))
        rollcall_curl_set_number(handle, CURLOPT_CONNECTTIMEOUT_MS, Int(HTTPClient.connectLimit.milliseconds))
        rollcall_curl_set_writer(handle) { _, size, count, _ in size * count }
        transfers[handle] = Transfer(headers: headers, completed: completed)
        curl_multi_add_handle(multi, handle)
    }

    // MARK: What libcurl asks for

    private func watch(_ socket: Int32, _ what: Int32, _ isKnown: Bool) {
        guard what != CURL_POLL_REMOVE else {
            // A socket that is closed has left the epoll descriptor by itself.
            epoll_ctl(epoll, EPOLL_CTL_DEL, socket, nil)
            return
        }
        var event = epoll_event()
        if what & CURL_POLL_IN != 0 { event.events |= EPOLLIN.rawValue }
        if what & CURL_POLL_OUT != 0 { event.events |= EPOLLOUT.rawValue }
        event.data.fd = socket
        epoll_ctl(epoll, isKnown ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, socket, &event)
        // Remembered for the next call: it comes as `known`.
        if !isKnown { curl_multi_assign(multi, socket, UnsafeMutableRawPointer(bitPattern: 1)) }
    }

    private func wake(after milliseconds: Int) {
        if let timer { loop.cancel(timer) }
        timer = nil
        guard milliseconds >= 0 else { return }
        timer = loop.after(TimeSpan(milliseconds: Int64(milliseconds))) { [weak self] in
            self?.timer = nil
            self?.act(CURL_SOCKET_BAD, 0)
        }
    }

    private func socketsReady() {
        var events = [epoll_event](repeating: epoll_event(), count: 32)
        let count = epoll_wait(epoll, &events, Int32(events.count), 0)
        for event in events.prefix(max(0, Int(count))) {
            var mask: Int32 = 0
            if event.events & EPOLLIN.rawValue != 0 { mask |= CURL_CSELECT_IN }
            if event.events & EPOLLOUT.rawValue != 0 { mask |= CURL_CSELECT_OUT }
            if event.events & (EPOLLERR.rawValue | EPOLLHUP.rawValue) != 0 { mask |= CURL_CSELECT_ERR }
            act(event.data.fd, mask)
        }
    }

    private func act(_ socket: Int32, _ mask: Int32) {
        var running: Int32 = 0
        curl_multi_socket_action(multi, socket, mask, &running)
        var left: Int32 = 0
        while let message = curl_multi_info_read(multi, &left) {
            guard message.pointee.msg == CURLMSG_DONE, let handle = message.pointee.easy_handle,
                let transfer = transfers.removeValue(forKey: handle)
            else { continue }
            let outcome = HTTPClient.outcome(of: handle, message.pointee.data.result)
            curl_multi_remove_handle(multi, handle)
            curl_easy_cleanup(handle)
            curl_slist_free_all(transfer.headers)
            transfer.completed(outcome)
        }
    }

    private static func outcome(of handle: UnsafeMutableRawPointer, _ result: CURLcode) -> PostOutcome {
        guard result == CURLE_OK else { return .failed(String(cString: curl_easy_strerror(result))) }
        let seconds = rollcall_curl_retry_after(handle)
        return .answered(
            status: rollcall_curl_status(handle), retryAfter: seconds > 0 ? .seconds(Int64(seconds)) : nil)
    }
}
