import API
import HTTP
import Testing

/// A request as bytes, and the status that it must get; 0 where the library closes without a word.
struct BrokenRequest: CustomTestStringConvertible, Sendable {
    let what: String
    let status: Int
    let bytes: String
    var testDescription: String { what }

    init(_ what: String, _ bytes: String, _ status: Int = 400) {
        self.what = what
        self.status = status
        self.bytes = bytes
    }
}

/// Stands in every body and behind every broken request: it must never be delivered.
private let smuggled = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"

private func post(_ headers: String, _ body: String = smuggled) -> String {
    "POST /a HTTP/1.1\r\nHost: h\r\n\(headers)\r\n\r\n\(body)"
}

private func get(_ target: String, _ headers: String = "Host: h\r\n") -> String {
    "GET \(target) HTTP/1.1\r\n\(headers)\r\n"
}

private let chunked = "Transfer-Encoding: chunked"
private let chunk = "5\r\nhello\r\n0\r\n\r\n"

let brokenRequests: [BrokenRequest] = [
    // Two opinions about the length (RFC 9112 §6.3).
    .init("length and chunked", post("Content-Length: 5\r\n\(chunked)", chunk)),
    .init("chunked and length", post("\(chunked)\r\nContent-Length: 5", chunk)),
    .init("chunked and length of zero", post("\(chunked)\r\nContent-Length: 0", "0\r\n\r\n")),
    .init("two lengths", post("Content-Length: 0\r\nContent-Length: \(smuggled.utf8.count)")),
    .init("two lengths the other way", post("Content-Length: \(smuggled.utf8.count)\r\nContent-Length: 0")),
    .init("the same length twice", post("Content-Length: 0\r\nContent-Length: 0")),
    .init("two lengths in two cases", post("content-length: 0\r\nCONTENT-LENGTH: 5")),
    .init("a list of lengths", post("Content-Length: 0, 5")),
    .init("a list of equal lengths", post("Content-Length: 5, 5")),
    .init("an empty length", post("Content-Length:")),
    .init("a positive sign", post("Content-Length: +5")),
    .init("a negative length", post("Content-Length: -5")),
    .init("a hexadecimal length", post("Content-Length: 0x5")),
    .init("a fraction", post("Content-Length: 5.0")),
    .init("a length with a blank in it", post("Content-Length: 1 0")),
    .init("a length with a blank behind", post("Content-Length: 5 ")),
    .init("a length in words", post("Content-Length: five")),
    .init("a length beyond 64 bits", post("Content-Length: 99999999999999999999999"), 413),
    .init("a length of 64 bits", post("Content-Length: 18446744073709551615"), 413),
    .init("a length beyond the limit", post("Content-Length: 70000"), 413),
    .init("a length beyond the limit, asked first", post("Content-Length: 70000\r\nExpect: 100-continue", ""), 413),
    // What is chunked, and what is not (RFC 9112 §7).
    .init("gzip, chunked", post("Transfer-Encoding: gzip, chunked", chunk)),
    .init("chunked, chunked", post("Transfer-Encoding: chunked, chunked", chunk)),
    .init("chunked, identity", post("Transfer-Encoding: chunked, identity", chunk)),
    .init("chunked twice", post("\(chunked)\r\n\(chunked)", chunk)),
    .init("chunked and another identity", post("\(chunked)\r\nTransfer-Encoding: identity", chunk)),
    .init("another identity before", post("Transfer-Encoding: identity\r\n\(chunked)", chunk)),
    .init("identity", post("Transfer-Encoding: identity")),
    .init("xchunked", post("Transfer-Encoding: xchunked", chunk)),
    .init("chunked in quotes", post("Transfer-Encoding: \"chunked\"", chunk)),
    .init("an empty encoding", post("Transfer-Encoding:", chunk)),
    .init("chunked with a blank behind", post("Transfer-Encoding: chunked ", chunk)),
    .init("chunked after a vertical tab", post("Transfer-Encoding: \u{0B}chunked", chunk)),
    .init("chunked with a parameter", post("Transfer-Encoding: chunked;q=1", chunk)),
    .init("chunked in HTTP/1.0", "POST /a HTTP/1.0\r\nHost: h\r\n\(chunked)\r\n\r\n\(chunk)"),
    .init("a chunk size with a sign", post(chunked, "+5\r\nhello\r\n0\r\n\r\n")),
    .init("a chunk size with a prefix", post(chunked, "0x5\r\nhello\r\n0\r\n\r\n")),
    .init("a chunk size of no digits", post(chunked, "\r\nhello\r\n0\r\n\r\n")),
    .init("a negative chunk size", post(chunked, "-5\r\nhello\r\n0\r\n\r\n")),
    .init("a chunk size beyond 64 bits", post(chunked, "fffffffffffffffff\r\nhello\r\n0\r\n\r\n"), 413),
    .init("a chunk longer than its size", post(chunked, "5\r\nhelloX\r\n0\r\n\r\n")),
    // Headers (RFC 9112 §5).
    .init("a blank before the colon", post("Content-Length : 5")),
    .init("a blank before the colon of an encoding", post("Transfer-Encoding : chunked", chunk)),
    .init("a tab before the colon", post("Content-Length\t: 5")),
    .init("a blank in a name", post("X Y: 1")),
    .init("a blank before a name", "POST /a HTTP/1.1\r\n Host: h\r\n\r\n"),
    .init("no name", post(": 1")),
    .init("no colon", post("nonsense")),
    .init("a bare CR in a value", post("X: a\rContent-Length: 5")),
    .init("a bare CR before a name", post("\rContent-Length: 5")),
    .init("a bare CR in a name", post("Content-Length\r: 5")),
    .init("a zero byte in a value", post("X: a\0b")),
    .init("a zero byte in the last value", post("Content-Length: 0\0\(smuggled.utf8.count)")),
    .init("a zero byte before other headers", post("X: a\0b\r\nContent-Length: 0")),
    .init("a zero byte in a length before other headers", post("Content-Length: 0\0 5\r\nX: 1")),
    .init("a header in two lines before others", post("X: a\r\n b\r\nY: 1")),
    .init("a zero byte at the end of a value", post("X: ab\0")),
    .init("a zero byte in a name", post("Content\0-Length: 5")),
    .init("a header in two lines", post("X: a\r\n b")),
    .init("an encoding in two lines", post("Transfer-Encoding:\r\n chunked", chunk)),
    .init("a control character in a value", post("X: a\u{07}b")),
    .init("a name in brackets", post("(X): 1")),
    .init("headers that are too many", post((0..<400).map { "X\($0): 1" }.joined(separator: "\r\n")), 431),
    .init("a header that is too long", post("X: \(String(repeating: "x", count: 9_000))"), 431),
    // The host (RFC 9112 §3.2).
    .init("no Host", get("/a", "")),
    .init("two Hosts", get("/a", "Host: h\r\nHost: h\r\n")),
    .init("two Hosts that differ", get("/a", "Host: h\r\nHost: i\r\n")),
    .init("a Host with a path", get("/a", "Host: h/b\r\n")),
    .init("a Host with a user", get("/a", "Host: u@h\r\n")),
    .init("a Host with a blank", get("/a", "Host: h i\r\n")),
    .init("a target of another host", get("http://i/a")),
    // The request line (RFC 9112 §3).
    .init("a zero byte in the target", get("/a\0b")),
    .init("an escaped zero byte", get("/a%00b")),
    .init("an escaped zero byte in the query", get("/a?b=%00")),
    .init("half an escape", get("/a%2")),
    .init("an escape of no digits", get("/a%zz")),
    .init("an escape with a sign", get("/a%+1")),
    .init("bytes that are no UTF-8", get("/a%FF")),
    .init("a surrogate", get("/a%ED%A0%80")),
    .init("an overlong slash", get("/a%C0%AF")),
    .init("raw bytes in the target", get("/\u{E4}")),
    .init("a blank in the target", get("/a b")),
    .init("a bare CR in the target", get("/a\rb")),
    .init("a fragment", get("/a#b")),
    .init("no slash", get("a")),
    .init("a target for proxies", "CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n"),
    .init("two blanks", "GET  /a HTTP/1.1\r\nHost: h\r\n\r\n"),
    .init("no version", "GET /a\r\nHost: h\r\n\r\n"),
    .init("a version of one digit", "GET /a HTTP/1\r\nHost: h\r\n\r\n"),
    .init("a version in small letters", "GET /a http/1.1\r\nHost: h\r\n\r\n"),
    .init("HTTP/2", "GET /a HTTP/2.0\r\nHost: h\r\n\r\n", 505),
    .init("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    .init("HTTP/0.9", "GET /a HTTP/0.9\r\nHost: h\r\n\r\n", 505),
    .init("a method that is no token", "G(T /a HTTP/1.1\r\nHost: h\r\n\r\n"),
    .init("a blank before the method", " GET /a HTTP/1.1\r\nHost: h\r\n\r\n", 0),
    .init("a target that is too long", get("/" + String(repeating: "a", count: 9_000)), 414),
]

struct BrokenFramingTests {
    @Test("Broken framing is refused, closed, and hides no request", arguments: brokenRequests)
    func isRefused(_ request: BrokenRequest) throws {
        let stage = try Stage()
        let client = TestClient(on: stage.loop, port: stage.server.port)
        client.send(request.bytes + smuggled)
        try stage.wait("the end of the connection") { client.isClosed }
        let answer = client.answerUntilClose
        #expect((answer?.status ?? 0) == request.status, "\(client.text)")
        #expect(stage.requests.isEmpty, "\(stage.requests)")
        #expect(!client.text.contains("HTTP/1.1 200"))
        if let answer, answer.headers["content-type"] == Problem.contentType {
            #expect(try JSON.decode(JSONValue.self, from: answer.body)["status"]?.integer == Int64(request.status))
        }
    }

    @Test("The table is long enough and names nothing twice")
    func table() {
        #expect(brokenRequests.count >= 60)
        #expect(Set(brokenRequests.map(\.what)).count == brokenRequests.count)
    }

    @Test("A body without a length that grows too long is 413, and is not read for ever")
    func longChunks() throws {
        let stage = try Stage { $0.bodyMax = 1_000 }
        let piece = "3e8\r\n" + String(repeating: "x", count: 1_000) + "\r\n"
        let few = TestClient(on: stage.loop, port: stage.server.port)
        few.send(post(chunked, piece + piece + "0\r\n\r\n"))
        try stage.wait("an answer") { few.isClosed }
        #expect(few.answerUntilClose?.status == 413)

        let endless = TestClient(on: stage.loop, port: stage.server.port)
        endless.send(post(chunked, String(repeating: piece, count: 100)))
        try stage.wait("the end") { endless.isClosed }
        #expect(stage.requests.isEmpty)
    }

    @Test("What is unusual and sound is served")
    func isServed() throws {
        let stage = try Stage()
        stage.answering = {
            HTTPResponse(
                200,
                body: Array(
                    "\($0.method) \($0.path) \($0.query.map { "\($0.name)=\($0.value)" }) \($0.body.count)".utf8))
        }
        for (request, expected) in [
            ("GET /a%2Fb/c HTTP/1.1\r\nHost: h\r\n\r\n", #"GET ["a/b", "c"] [] 0"#),
            ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET [] [] 0"),
            ("GET /a/ HTTP/1.1\r\nHost: h\r\n\r\n", #"GET ["a", ""] [] 0"#),
            ("GET /%C3%A4 HTTP/1.1\r\nHost: h\r\n\r\n", #"GET ["ä"] [] 0"#),
            (
                "GET /a?b=c%26d&e+f=%2B&g&h=i=j HTTP/1.1\r\nHost: h\r\n\r\n",
                #"GET ["a"] ["b=c&d", "e f=+", "g=", "h=i=j"] 0"#
            ),
            ("GET http://H:80/a HTTP/1.1\r\nHost: h:80\r\n\r\n", #"GET ["a"] [] 0"#),
            ("GET http://h?b=c HTTP/1.1\r\nHost: h\r\n\r\n", #"GET [] ["b=c"] 0"#),
            ("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", #"OPTIONS ["*"] [] 0"#),
            ("GET /a HTTP/1.0\r\n\r\n", #"GET ["a"] [] 0"#),
            ("GET /a HTTP/1.1\nHost: h\n\n", #"GET ["a"] [] 0"#),
            ("\r\nGET /a HTTP/1.1\r\nHost:h\r\n\r\n", #"GET ["a"] [] 0"#),
            ("GET /a HTTP/1.1\r\nHost: \t h \t\r\nX:\r\nY: \r\n\r\n", #"GET ["a"] [] 0"#),
            ("GET /a HTTP/1.1\r\nCookie: a=b; c=d\r\nHost: h\r\n\r\n", #"GET ["a"] [] 0"#),
            ("DELETE /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi", #"DELETE ["a"] [] 2"#),
            (
                "PATCH /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n2;x=y\r\nhi\r\n0\r\nTrailer: z\r\n\r\n",
                #"PATCH ["a"] [] 2"#
            ),
            ("FOO /a HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", #"FOO ["a"] [] 0"#),
        ] {
            let answer = try stage.exchange(request)
            #expect(
                answer.status == 200 && answer.text == expected,
                "\(request.debugDescription): \(answer.status) \(answer.text)")
        }
    }
}
