import API
import Bus
import Glibc
import HTTP
import Model
import Testing

/// A server and its clients on one loop, in one thread.
final class Stage {
    static let patience = TimeSpan.seconds(20)

    let loop = EventLoop()
    let server: HTTPServer
    private(set) var requests: [HTTPRequest] = []
    private(set) var cancelled: [Int] = []
    /// What each request is answered with at once; `nil` keeps it waiting.
    var answering: (HTTPRequest) -> HTTPResponse? = { _ in HTTPResponse(200, body: Array("served".utf8)) }

    init(_ change: (inout HTTPServer.Options) -> Void = { _ in }) throws {
        var options = HTTPServer.Options()
        change(&options)
        server = try HTTPServer(loop: loop, options: options)
        server.received = { [unowned self] request in
            requests.append(request)
            if let response = answering(request) { server.answer(request.id, response) }
        }
        server.cancelled = { [unowned self] id in cancelled.append(id) }
    }

    func wait(_ what: String, for limit: TimeSpan = patience, until condition: () -> Bool) throws {
        let holds = loop.run(until: condition, for: limit)
        try #require(holds, "waited in vain: \(what)")
    }

    /// Lets the loop run for a while, to see that something does not happen.
    func idle(_ span: TimeSpan = TimeSpan(milliseconds: 100)) {
        _ = loop.run(until: { false }, for: span)
    }

    /// Sends bytes on a connection of their own; what comes back until it is closed or holds one whole answer.
    func exchange(_ text: String) throws -> Answer {
        let client = TestClient(on: loop, port: server.port)
        client.send(text)
        try wait("an answer to \(text.prefix(80).debugDescription)") { client.isClosed || client.firstAnswer != nil }
        return try #require(client.firstAnswer ?? client.answerUntilClose, "no answer")
    }
}

/// The answer of a server, as it came.
struct Answer {
    let status: Int
    let headers: [String: String]
    let body: [UInt8]
    /// How many bytes it takes, head and body.
    let size: Int

    var text: String { String(decoding: body, as: UTF8.self) }
}

/// A client that writes bytes as they are.
final class TestClient {
    let descriptor: Int32
    private(set) var bytes: [UInt8] = []
    private(set) var isClosed = false
    private var unsent: [UInt8] = []
    private let loop: EventLoop

    /// - Parameter reads: whether it takes what comes.
    init(on loop: EventLoop, port: Int, reads: Bool = true, receiveBuffer: Int32? = nil) {
        self.loop = loop
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        if var receiveBuffer {
            setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &receiveBuffer, socklen_t(MemoryLayout<Int32>.size))
        }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(UInt16(port)).bigEndian
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        let size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, size) }
        }
        precondition(result == 0, "connect: \(String(cString: strerror(errno)))")
        _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
        guard reads else { return }
        loop.watch(descriptor) { [unowned self] in read() }
    }

    deinit {
        hangUp()
    }

    func hangUp() {
        loop.unwatch(descriptor)
        if !isHungUp { close(descriptor) }
        isHungUp = true
    }
    private var isHungUp = false

    func send(_ text: String) {
        unsent += text.utf8.map { $0 }
        flush()
    }

    func send(_ bytes: [UInt8]) {
        unsent += bytes
        flush()
    }

    private func flush() {
        while !unsent.isEmpty {
            let count = Glibc.send(descriptor, unsent, unsent.count, Int32(MSG_NOSIGNAL))
            guard count > 0 else {
                if errno == EAGAIN {
                    loop.after(TimeSpan(milliseconds: 1)) { [weak self] in self?.flush() }
                } else {
                    unsent = []
                }
                return
            }
            unsent.removeFirst(count)
        }
    }

    private func read() {
        var block = [UInt8](repeating: 0, count: 65_536)
        let count = recv(descriptor, &block, block.count, 0)
        if count < 0, errno == EAGAIN { return }
        guard count > 0 else {
            isClosed = true
            return loop.unwatch(descriptor)
        }
        bytes += block.prefix(count)
    }

    var text: String { String(decoding: bytes, as: UTF8.self) }

    /// The first answer when all of it is there by its own length.
    var firstAnswer: Answer? { answer(from: 0, isClosed: false) }
    /// What stands there when the server has closed.
    var answerUntilClose: Answer? { answer(from: 0, isClosed: true) }

    /// All whole answers, one after the other.
    var answers: [Answer] {
        var found: [Answer] = []
        var offset = 0
        while let answer = answer(from: offset, isClosed: isClosed) {
            found.append(answer)
            offset += answer.size
        }
        return found
    }

    private func answer(from offset: Int, isClosed: Bool) -> Answer? {
        let rest = bytes.dropFirst(offset)
        guard let end = rest.indices.first(where: { rest[$0...].starts(with: "\r\n\r\n".utf8) }) else { return nil }
        let lines = String(decoding: rest[..<end], as: UTF8.self).split(separator: "\r\n")
        let words = lines[0].split(separator: " ")
        guard words.count > 1, let status = Int(words[1]) else { return nil }
        var headers: [String: String] = [:]
        for line in lines.dropFirst() {
            let parts = line.split(separator: ":", maxSplits: 1)
            headers[parts[0].lowercased()] = parts[1].trimmingPrefix(" ").description
        }
        let body = Array(rest[(end + 4)...])
        let head = end + 4 - rest.startIndex
        if status == 100 { return Answer(status: status, headers: headers, body: [], size: head) }
        if let length = headers["content-length"].flatMap({ Int($0) }), !isClosed || body.count >= length {
            guard body.count >= length else { return nil }
            return Answer(status: status, headers: headers, body: Array(body.prefix(length)), size: head + length)
        }
        return isClosed ? Answer(status: status, headers: headers, body: body, size: head + body.count) : nil
    }
}
