import API
import Bus
import Glibc
import HTTP
import Model
import Testing

private let ask = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n"

struct HTTPServerTests {
    @Test("A request comes with all that it said, and its answer goes back")
    func roundTrip() throws {
        let stage = try Stage()
        stage.answering = { _ in
            HTTPResponse(
                201, headers: [.init("X-Request-Id", "7"), .init("Broken", "a\r\nb")], body: Array("made".utf8))
        }
        let answer = try stage.exchange(
            "POST /a/b?c=d HTTP/1.1\r\nHost: h\r\nAuthorization:  Bearer x \r\nContent-Length: 3\r\n\r\nabc")
        #expect(answer.status == 201)
        #expect(answer.text == "made")
        #expect(answer.headers["x-request-id"] == "7")
        #expect(answer.headers["broken"] == nil)
        let request = try #require(stage.requests.first)
        #expect(request.method == "POST")
        #expect(request.path == ["a", "b"])
        #expect(request.query.last?.value == "d")
        #expect(request.header("authorization") == "Bearer x")
        #expect(request.body == Array("abc".utf8))
    }

    @Test("One connection carries one request after the other, in their order, also when they are sent at once")
    func keepAlive() throws {
        let stage = try Stage()
        stage.answering = { HTTPResponse(200, body: Array(($0.path.first ?? "").utf8)) }
        let client = TestClient(on: stage.loop, port: stage.server.port)
        client.send("GET /1 HTTP/1.1\r\nHost: h\r\n\r\nPOST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi")
        client.send("GET /3 HTTP/1.1\r\nHost: h\r\n\r\n")
        try stage.wait("three answers") { client.answers.count == 3 }
        #expect(client.answers.map(\.text) == ["1", "2", "3"])
        #expect(Set(stage.requests.map(\.id)).count == 3)
        #expect(!client.isClosed)
        #expect(stage.server.openRequests == 0)
    }

    @Test("A chunked body arrives whole, however it is cut")
    func chunked() throws {
        let stage = try Stage()
        let client = TestClient(on: stage.loop, port: stage.server.port)
        let text =
            "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
        for byte in text.utf8 {
            client.send([byte])
            stage.idle(TimeSpan(milliseconds: 1))
        }
        try stage.wait("an answer") { client.firstAnswer != nil }
        #expect(stage.requests.map { String(decoding: $0.body, as: UTF8.self) } == ["hello world"])
    }

    @Test("The largest body arrives whole; one byte more is 413, and its client reads why though it sent all at once")
    func largest() throws {
        let stage = try Stage()
        for (size, status) in [(65_536, 200), (65_537, 413), (600_000, 413)] {
            let client = TestClient(on: stage.loop, port: stage.server.port)
            client.send("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: \(size)\r\n\r\n")
            client.send([UInt8](repeating: 65, count: size))
            try stage.wait("an answer") { client.firstAnswer != nil || client.isClosed }
            #expect(client.firstAnswer?.status == status)
        }
        #expect(stage.requests.map(\.body.count) == [65_536])
    }

    @Test("HEAD gets the headers of the answer and no body; 204 has none")
    func noBody() throws {
        let stage = try Stage()
        let client = TestClient(on: stage.loop, port: stage.server.port)
        client.send("HEAD /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        try stage.wait("the end") { client.isClosed }
        #expect(client.text.contains("Content-Length: 6\r\n"))
        #expect(client.text.hasSuffix("\r\n\r\n"))
        stage.answering = { _ in HTTPResponse(204) }
        let empty = TestClient(on: stage.loop, port: stage.server.port)
        empty.send("DELETE /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        try stage.wait("the end") { empty.isClosed }
        #expect(empty.text.hasPrefix("HTTP/1.1 204"))
        #expect(empty.text.hasSuffix("\r\n\r\n"))
    }

    @Test("100 Continue is said where it is asked for")
    func expectation() throws {
        let stage = try Stage()
        let client = TestClient(on: stage.loop, port: stage.server.port)
        client.send("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        try stage.wait("100") { client.text.hasPrefix("HTTP/1.1 100") }
        client.send("hi")
        try stage.wait("200") { client.answers.map(\.status) == [100, 200] }
    }

    @Test("A request waits for its answer, others pass it, and a second answer is ignored")
    func answeredLater() throws {
        let stage = try Stage()
        stage.answering = { $0.path == ["slow"] ? nil : HTTPResponse(200, body: Array("quick".utf8)) }
        let slow = TestClient(on: stage.loop, port: stage.server.port)
        slow.send("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
        try stage.wait("the slow one") { stage.requests.count == 1 }
        #expect(try stage.exchange(ask).text == "quick")
        #expect(slow.bytes.isEmpty)
        #expect(stage.server.openRequests == 1)
        stage.server.answer(stage.requests[0].id, HTTPResponse(200, body: Array("at last".utf8)))
        stage.server.answer(stage.requests[0].id, HTTPResponse(500))
        stage.server.answer(4_711, HTTPResponse(500))
        try stage.wait("its answer") { slow.firstAnswer != nil }
        #expect(slow.answers.map(\.text) == ["at last"])
        #expect(stage.server.openRequests == 0)
    }

    @Test("The program is told when the client of a waiting request has gone, and its answer is ignored")
    func cancelled() throws {
        let stage = try Stage()
        stage.answering = { _ in nil }
        let client = TestClient(on: stage.loop, port: stage.server.port)
        client.send(ask)
        try stage.wait("the request") { stage.requests.count == 1 }
        client.hangUp()
        try stage.wait("the cancellation") { stage.cancelled == [stage.requests[0].id] }
        #expect(stage.server.openRequests == 0)
        stage.server.answer(stage.requests[0].id, HTTPResponse(200))
        #expect(
            try {
                stage.answering = { _ in HTTPResponse(200) }
                return try stage.exchange(ask).status
            }() == 200)
    }

    @Test("An answer of megabytes arrives whole")
    func largeAnswer() throws {
        let stage = try Stage()
        let body = (0..<4_000_000).map { UInt8(truncatingIfNeeded: $0 / 251) }
        stage.answering = { _ in HTTPResponse(200, body: body) }
        let client = TestClient(on: stage.loop, port: stage.server.port)
        client.send("GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        try stage.wait("the end") { client.isClosed }
        #expect(client.answerUntilClose?.body == body)
    }

    @Test("A port that is taken is named")
    func takenPort() throws {
        let stage = try Stage()
        let failure = #expect(throws: HTTPFailure.self) { _ = try Stage { $0.port = stage.server.port } }
        #expect(failure?.reason == "port \(stage.server.port) of 127.0.0.1 is taken")
        #expect(throws: HTTPFailure.self) { _ = try Stage { $0.address = "192.0.2.1" } }
        #expect(throws: HTTPFailure.self) { _ = try Stage { $0.port = 65_536 } }
    }

    @Test("IPv6 is served where it is asked for")
    func versionSix() throws {
        let stage = try Stage { $0.address = "::1" }
        #expect(stage.server.port > 0)
    }

    @Test(
        "Who owes a request for too long, or is silent, is cut off; who waits for an answer is not",
        arguments: [true, false])
    func slowClients(drips: Bool) throws {
        let stage = try Stage {
            $0.requestLimit = .seconds(2)
            $0.silenceLimit = .seconds(drips ? 10 : 1)
        }
        stage.answering = { _ in nil }
        let waiting = TestClient(on: stage.loop, port: stage.server.port)
        waiting.send(ask)
        let slow = TestClient(on: stage.loop, port: stage.server.port)
        slow.send("GET /a HTTP/1.1\r\nHost: h\r\n")
        let timer = stage.loop.every(TimeSpan(milliseconds: 200)) { if drips { slow.send("X") } }
        try stage.wait("the cut", for: .seconds(8)) { slow.isClosed }
        stage.idle(.seconds(2))
        stage.loop.cancel(timer)
        #expect(!waiting.isClosed)
        stage.server.answer(stage.requests[0].id, HTTPResponse(200))
        try stage.wait("the answer") { waiting.firstAnswer?.status == 200 }
    }

    @Test("Connections beyond the limit wait until another ends")
    func connectionLimit() throws {
        let stage = try Stage { $0.connectionsMax = 2 }
        let first = [0, 1].map { _ in TestClient(on: stage.loop, port: stage.server.port) }
        for client in first { client.send(ask) }
        try stage.wait("answers") { first.allSatisfy { $0.firstAnswer != nil } }
        let third = TestClient(on: stage.loop, port: stage.server.port)
        third.send(ask)
        stage.idle()
        #expect(third.bytes.isEmpty)
        first[0].hangUp()
        try stage.wait("its turn") { third.firstAnswer != nil }
    }

    @Test("Who owes a request for longest makes room for new clients; who is owed an answer stays")
    func room() throws {
        let stage = try Stage { $0.connectionsMax = 32 }
        stage.answering = { $0.path == ["slow"] ? nil : HTTPResponse(200) }
        let waiting = TestClient(on: stage.loop, port: stage.server.port)
        waiting.send("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
        try stage.wait("the request") { stage.requests.count == 1 }
        let idle = (0..<40).map { _ in
            stage.idle(TimeSpan(milliseconds: 5))
            return TestClient(on: stage.loop, port: stage.server.port)
        }
        let new = TestClient(on: stage.loop, port: stage.server.port)
        new.send(ask)
        try stage.wait("the answer", for: .seconds(3)) { new.firstAnswer != nil }
        #expect(idle[0].isClosed)
        #expect(!idle[39].isClosed)
        stage.server.answer(stage.requests[0].id, HTTPResponse(200))
        try stage.wait("the answer") { waiting.firstAnswer != nil }
    }

    @Test("Another server takes over the port while the one before answers what it has")
    func takingOver() throws {
        let stage = try Stage()
        stage.answering = { _ in nil }
        let before = TestClient(on: stage.loop, port: stage.server.port)
        before.send(ask)
        try stage.wait("the request") { stage.requests.count == 1 }
        let next = try HTTPServer(takingOverFrom: stage.server, tls: nil)
        stage.server.stop(within: .seconds(20))
        let after = TestClient(on: stage.loop, port: stage.server.port)
        after.send(ask)
        try stage.wait("the other request") { stage.requests.count == 2 }
        #expect(stage.requests[0].id != stage.requests[1].id)
        for server in [stage.server, next] {
            for request in stage.requests { server.answer(request.id, HTTPResponse(200)) }
        }
        try stage.wait("the answers") { before.firstAnswer != nil && after.firstAnswer != nil }
        try stage.wait("its end") { stage.server.isStopped }
        #expect(!next.isStopped)
    }

    @Test("A stop finishes what is being answered, takes no new connection, and then everything is closed")
    func drain() throws {
        let stage = try Stage()
        stage.answering = { _ in nil }
        let waiting = TestClient(on: stage.loop, port: stage.server.port)
        waiting.send(ask)
        let streaming = TestClient(on: stage.loop, port: stage.server.port)
        streaming.send(ask)
        let idle = TestClient(on: stage.loop, port: stage.server.port)
        try stage.wait("the requests") { stage.requests.count == 2 }
        stage.server.openStream(stage.requests[1].id, headers: [])
        try stage.wait("the stream") { streaming.text.hasPrefix("HTTP/1.1 200") }
        stage.server.stop(within: .seconds(15))
        try stage.wait("the end of the stream") { streaming.isClosed }
        #expect(!stage.server.isStopped)
        #expect(stage.server.openRequests == 1)
        #expect(throws: Never.self) { _ = try Stage { $0.port = stage.server.port } }
        stage.server.answer(stage.requests[0].id, HTTPResponse(200, body: Array("done".utf8)))
        try stage.wait("the stop") { stage.server.isStopped }
        try stage.wait("the answer") { waiting.isClosed && idle.isClosed }
        #expect(waiting.answerUntilClose?.text == "done")
        #expect(waiting.answerUntilClose?.headers["connection"] == "close")
        #expect(stage.cancelled.isEmpty)
    }

    @Test("A stop cuts off what is not answered in time, and says so")
    func cutOff() throws {
        let stage = try Stage()
        stage.answering = { _ in nil }
        let waiting = TestClient(on: stage.loop, port: stage.server.port)
        waiting.send(ask)
        try stage.wait("the request") { stage.requests.count == 1 }
        stage.server.stop(within: TimeSpan(milliseconds: 100))
        try stage.wait("the stop") { stage.server.isStopped && waiting.isClosed }
        #expect(stage.cancelled == [stage.requests[0].id])
        #expect(stage.server.openRequests == 0)
    }

    @Test("A server that is forgotten ends with its clients, also while they wait")
    func forgotten() throws {
        var stage: Stage? = try Stage()
        let loop = try #require(stage?.loop)
        let client = TestClient(on: loop, port: stage?.server.port ?? 0)
        stage?.answering = { _ in nil }
        client.send(ask)
        try stage?.wait("the request") { stage?.requests.count == 1 }
        stage = nil
        #expect(loop.run(until: { client.isClosed }, for: Stage.patience))
    }
}

struct HTTPStreamTests {
    /// A stage with an open stream.
    private func streaming(
        reads: Bool = true, receiveBuffer: Int32? = nil
    ) throws -> (stage: Stage, client: TestClient, id: Int) {
        let stage = try Stage()
        stage.answering = { _ in nil }
        let client = TestClient(on: stage.loop, port: stage.server.port, reads: reads, receiveBuffer: receiveBuffer)
        client.send(ask)
        try stage.wait("the request") { stage.requests.count == 1 }
        let id = stage.requests[0].id
        stage.server.openStream(id, headers: [.init("Content-Type", "text/event-stream")])
        return (stage, client, id)
    }

    @Test("A stream goes on until it is ended, and its head comes before anything is written")
    func goesOn() throws {
        let (stage, client, id) = try streaming()
        try stage.wait("its head") { client.text.hasSuffix("\r\n\r\n") }
        #expect(client.text.contains("Content-Type: text/event-stream\r\n"))
        #expect(client.text.contains("Connection: close\r\n"))
        #expect(stage.server.openStreams == 1)
        #expect(stage.server.openRequests == 0)
        for number in 1...3 {
            #expect(stage.server.write(id, Array("data: \(number)\n\n".utf8)))
            try stage.wait("event \(number)") { client.text.contains("data: \(number)\n\n") }
        }
        #expect(stage.server.write(id, [UInt8](repeating: 120, count: 5_000)))
        stage.server.endStream(id)
        #expect(!stage.server.write(id, [1]))
        try stage.wait("the end") { client.isClosed }
        #expect(client.text.filter { $0 == "x" }.count == 5_000 + 1)  // one is in text/event-stream
        #expect(stage.server.openStreams == 0)
        #expect(stage.cancelled.isEmpty)
        #expect(!stage.server.write(id, [1]))
    }

    @Test("An idle stream keeps no processor busy")
    func idles() throws {
        let (stage, client, _) = try streaming()
        try stage.wait("its head") { client.text.hasSuffix("\r\n\r\n") }
        var turns = 0
        stage.loop.turnEnded = { turns += 1 }
        stage.idle(.seconds(1))
        #expect(turns < 50)
    }

    @Test("A reader that falls too far behind is ended")
    func slowReader() throws {
        let (stage, client, id) = try streaming(reads: false, receiveBuffer: 4_096)
        let block = [UInt8](repeating: 65, count: 16_384)
        var written = 0
        try stage.wait("the end of a slow reader") {
            guard written < 1_000, stage.server.write(id, block) else { return true }
            written += 1
            return false
        }
        #expect(written < 1_000)
        #expect(!stage.server.write(id, [1]))
        try stage.wait("its count") { stage.server.openStreams == 0 }
        #expect(stage.cancelled.isEmpty)
        _ = client
    }

    @Test("The program is told when the client of a stream has gone")
    func cancelled() throws {
        let (stage, client, id) = try streaming()
        try stage.wait("its head") { client.text.hasSuffix("\r\n\r\n") }
        client.hangUp()
        try stage.wait("the cancellation") { stage.cancelled == [id] }
        #expect(stage.server.openStreams == 0)
        #expect(!stage.server.write(id, [1]))
    }

    @Test("HEAD on a stream and a stream to HTTP/1.0 end well")
    func oldClients() throws {
        let stage = try Stage()
        stage.answering = { _ in nil }
        let old = TestClient(on: stage.loop, port: stage.server.port)
        old.send("GET /a HTTP/1.0\r\n\r\n")
        let head = TestClient(on: stage.loop, port: stage.server.port)
        head.send("HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n")
        try stage.wait("the requests") { stage.requests.count == 2 }
        for request in stage.requests { stage.server.openStream(request.id, headers: []) }
        for request in stage.requests where request.method == "GET" {
            #expect(stage.server.write(request.id, Array("plain".utf8)))
            stage.server.endStream(request.id)
        }
        try stage.wait("the ends") { old.isClosed && head.isClosed }
        #expect(old.text.hasSuffix("\r\n\r\nplain"))
        #expect(head.text.hasSuffix("\r\n\r\n"))
        #expect(stage.server.openStreams == 0)
    }

    @Test("Hundreds of streams get every event, and a drain ends them all")
    func many() throws {
        let stage = try Stage()
        stage.answering = { _ in nil }
        let clients = (0..<200).map { _ in TestClient(on: stage.loop, port: stage.server.port) }
        for client in clients { client.send(ask) }
        try stage.wait("the requests") { stage.requests.count == 200 }
        for request in stage.requests { stage.server.openStream(request.id, headers: []) }
        for number in 1...20 {
            for request in stage.requests { #expect(stage.server.write(request.id, Array("event \(number)\n".utf8))) }
            stage.idle(TimeSpan(milliseconds: 2))
        }
        stage.server.stop(within: .seconds(15))
        try stage.wait("the ends") { clients.allSatisfy(\.isClosed) }
        #expect(clients.allSatisfy { client in (1...20).allSatisfy { client.text.contains("event \($0)\n") } })
        #expect(stage.server.isStopped)
    }
}
