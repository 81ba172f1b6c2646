import API
import Bus
import FoundationEssentials
import Glibc
import Model
import Streams
import Testing
import Wire

extension RealBroker {
    /// What a publication, a delegate or a broker may do without harm.
    @Suite struct HardeningTests {
        /// The kernel accepts for a stopped broker: without a limit the connection would wait for ever.
        @Test func aBrokerThatDoesNotAnswerIsGivenUp() throws {
            let broker = try Broker()
            broker.pause()
            let client = Client(broker.address)
            try client.wait { !client.losses.isEmpty }
            #expect(client.losses[0].reason == "no answer within 5 s")
            #expect(!client.losses[0].isRefusal)
            broker.resume()
            try client.wait { client.sessions == 1 }
        }

        @Test func aBrokerThatFallsSilentIsNoticed() throws {
            let broker = try Broker()
            let client = Client(broker.address) { $0.keepaliveSeconds = 5 }
            try client.wait { client.sessions == 1 }
            broker.pause()
            try client.wait(16) { !client.losses.isEmpty }
            #expect(client.losses[0].description.lowercased().contains("keepalive"), "\(client.losses)")
            broker.resume()
            try client.wait { client.sessions == 2 }
        }

        /// What waits for a broker's socket would arrive long after it was said.
        @Test func aBrokerThatTakesNothingIsGivenUpInTimeWhenThatIsAsked() throws {
            let broker = try Broker()
            let client = Client(broker.address) { $0.deliveryLimit = .seconds(1) }
            try client.wait { client.sessions == 1 }
            broker.pause()
            let began = Clock.now()
            let large = Publication(topic: "t", payload: [UInt8](repeating: 1, count: 1_000_000))
            for _ in 1...30 { try client.connection.publish(large) }
            try client.wait(10) { !client.losses.isEmpty }
            #expect(Clock.now().milliseconds(since: began) >= 1_000)
            #expect(client.losses[0].reason == "Connection timed out", "\(client.losses)")
            broker.resume()
            try client.wait { client.sessions == 2 }
        }

        @Test(arguments: [
            Publication("", "x"), Publication("a/+", "x"), Publication("a/#", "x"), Publication("a\u{0}b", "x"),
            Publication("a\nb", "x"), Publication(String(repeating: "t", count: 65_536), "x"),
            {
                var it = Publication("t", "x")
                it.userProperties = [("k", "two\nlines")]
                return it
            }(),
            {
                var it = Publication("t", "x")
                it.userProperties = [("k", String(repeating: "v", count: 65_536))]
                return it
            }(),
            {
                var it = Publication("t", "x")
                it.contentType = "\u{1}"
                return it
            }(),
            {
                var it = Publication("t", "x")
                it.responseTopic = "a\u{0}"
                return it
            }(),
            {
                var it = Publication("t", "x")
                it.correlationData = [UInt8](repeating: 0, count: 65_536)
                return it
            }(),
        ])
        func whatIsNotMQTTIsRefusedAndHarmsNothing(_ publication: Publication) throws {
            let broker = try Broker()
            let client = try Client(subscribing: ["t"], to: broker.address)
            #expect(throws: BusError.self) { try client.connection.publish(publication) }
            try client.connection.publish(Publication("t", "fine"))
            try client.wait { client.payloads == ["fine"] }
            #expect(client.losses.isEmpty)
        }

        @Test func whatIsTooLargeForUsIsRefusedHere() throws {
            let broker = try Broker()
            let client = try Client(subscribing: ["t"], to: broker.address)
            let tooLarge = Publication(
                topic: "t", payload: [UInt8](repeating: 1, count: Connection.publicationBytesMax))
            #expect(throws: BusError.self) { try client.connection.publish(tooLarge) }
            let large = Publication(
                topic: "t", payload: [UInt8](repeating: 1, count: Connection.publicationBytesMax - 100))
            try client.connection.publish(large)
            try client.wait { client.deliveries.count == 1 && client.acknowledged.count == 1 }
            #expect(client.deliveries[0].payload == large.payload)
            #expect(client.losses.isEmpty)
        }

        /// Such a frame is kept, as one without a connection is, and would be looked for in vain.
        @Test func aFrameThatIsTooLargeIsTold() throws {
            let broker = try Broker()
            let client = try Client(subscribing: ["t"], to: broker.address)
            let outlet = StreamOutlet<String>(
                topics: Topics(root: "test/v1"), service: .reconciler, instance: "1", incarnation: "a")
            outlet.connection = client.connection
            var told: [String] = []
            outlet.publisher.frameTooLarge = { stream, seq, bytes in
                told.append("\(stream) \(seq) \(bytes > Connection.publicationBytesMax)")
            }
            outlet.send("small", to: .store, stream: "s", now: Instant(nanoseconds: 0))
            outlet.send(
                String(repeating: "x", count: Connection.publicationBytesMax), to: .store, stream: "s",
                now: Instant(nanoseconds: 0))
            for second in 1...3 { outlet.tick(now: Instant(nanoseconds: 0) + .seconds(Int64(second) * 2)) }
            #expect(told == ["s 2 true"])
            #expect(outlet.unacknowledgedCount == 2)
        }

        /// The library aborts the process for a few sizes just above the broker's limit.
        @Test func whatIsTooLargeForTheBrokerIsRefusedHere() throws {
            let broker = try Broker(settings: ["max_packet_size 10000"])
            let client = try Client(subscribing: ["t"], to: broker.address)
            for length in [9_980, 9_985, 9_990, 9_991, 9_992, 9_993, 9_994, 9_995, 9_996, 9_997, 10_000, 11_000] {
                #expect(throws: BusError.self) {
                    try client.connection.publish(
                        Publication(topic: "t", payload: [UInt8](repeating: 1, count: length)))
                }
            }
            try client.connection.publish(Publication(topic: "t", payload: [UInt8](repeating: 1, count: 9_900)))
            try client.wait { client.deliveries.count == 1 && client.acknowledged.count == 1 }
            #expect(client.losses.isEmpty)
        }

        @Test func nobodyIsCalledBeforeTheConnectionIsKnown() throws {
            let client = Client(BrokerAddress(endpoint: .unix(path: "/nowhere/broker.sock")))
            #expect(client.losses.isEmpty)
            try client.wait { !client.losses.isEmpty }
            #expect(client.losses[0].reason == "No such file or directory")
        }

        @Test func aDelegateMayAbandonInACall() throws {
            let broker = try Broker()
            let client = try Client(subscribing: ["t"], to: broker.address)
            client.onReceived = { _ in client.connection.abandon(reason: "from a call") }
            for number in 1...5 { try client.connection.publish(Publication("t", "\(number)")) }
            try client.wait { client.subscriptions.count == 2 }
            #expect(client.losses.map(\.reason) == ["from a call"])
            #expect(client.payloads == ["1"])
            #expect(client.nestedCalls == 0)
        }

        @Test func aDelegateMayCloseInACall() throws {
            let broker = try Broker()
            let watcher = try Client(subscribing: ["done"], to: broker.address)
            let client = try Client(subscribing: ["t"], to: broker.address)
            client.onReceived = { _ in
                for number in 1...500 { _ = try? client.connection.publish(Publication("done", "\(number)")) }
                client.connection.close()
            }
            for number in 1...5 { try client.connection.publish(Publication("t", "\(number)")) }
            try client.wait { !client.deliveries.isEmpty }
            try watcher.wait { watcher.deliveries.count == 500 }
            #expect(client.payloads == ["1"])
            #expect(client.losses.isEmpty)
            #expect(client.nestedCalls == 0)
            #expect(!client.connection.isConnected)
        }

        @Test func aDelegateMayPublishInEveryCall() throws {
            let broker = try Broker()
            let client = Client(broker.address)
            client.onConnected = { connection in
                connection.subscribe(["t"])
                _ = try? connection.publish(Publication("early", "0"))
            }
            client.onPublished = { ticket in
                if ticket < 100 { _ = try? client.connection.publish(Publication("early", "\(ticket)")) }
            }
            try client.wait { client.acknowledged.count == 100 }
            client.onDisconnected = { _ in
                #expect(throws: BusError.self) { try client.connection.publish(Publication("t", "")) }
            }
            broker.stop()
            try client.wait { client.losses.count == 1 }
            #expect(client.nestedCalls == 0)
        }

        @Test func aRefusalIsForgottenWithItsBroker() throws {
            let broker = try Broker(allowsAnonymous: false, passwords: "")
            let client = Client(broker.address)
            try client.wait { client.losses.last?.isRefusal == true }
            broker.stop()
            try client.wait { client.losses.last?.isRefusal == false }
            #expect(client.connection.lastError?.reason == "Connection refused")
        }

        @Test func aBrokerThatEndsSaysWhy() throws {
            let broker = try Broker()
            let client = try Client(connectedTo: broker.address)
            broker.stop(SIGTERM)
            try client.wait { !client.losses.isEmpty }
            #expect(!client.losses[0].reason.contains("Unknown"), "\(client.losses)")
            #expect(!client.losses[0].reason.contains("No error"), "\(client.losses)")
        }

        @Test func everyAddressOfAHostIsTried() throws {
            let broker = try Broker()
            let client = Client(BrokerAddress(endpoint: .tcp(host: "localhost", port: broker.port, isEncrypted: false)))
            try client.wait { client.sessions == 1 }
        }

        @Test func aHostWithoutAddressIsNamed() throws {
            let client = Client(BrokerAddress(endpoint: .tcp(host: "256.1.1.1.", port: 1, isEncrypted: false)))
            try client.wait(30) { !client.losses.isEmpty }
            #expect(client.losses[0].operation == "find 256.1.1.1.")
        }

        /// Two that use one client id end each other's sessions: not twenty times a second.
        @Test func aClientIDUsedTwiceMakesNoStorm() throws {
            let broker = try Broker()
            let loop = EventLoop()
            let one = Client(broker.address, id: "same", on: loop)
            let other = Client(broker.address, id: "same", on: loop)
            let began = Clock.now()
            try one.wait { Clock.now().milliseconds(since: began) > 3_000 }
            #expect(one.sessions >= 2)
            #expect(one.sessions + other.sessions <= 20, "\(one.sessions) and \(other.sessions)")
        }

        @Test func lossesLeaveNoDescriptorsAndNoConnectionBehind() throws {
            let broker = try Broker()
            let client = try Client(connectedTo: broker.address)
            for round in 2...6 {
                client.connection.abandon(reason: "again")
                try client.wait { client.sessions == round }
            }
            // Other suites open and close descriptors meanwhile.
            #expect(broker.connections == 1)

            let loop = EventLoop()
            weak var gone: Connection?
            do {
                let short = try Client(connectedTo: broker.address, on: loop)
                gone = short.connection
                short.connection.close()
            }
            #expect(gone == nil)
        }

        @Test func aPausedConnectionReadsNothingAndLosesNothing() throws {
            let broker = try Broker()
            let loop = EventLoop()
            let reader = try Client(subscribing: ["t"], to: broker.address, on: loop)
            let sender = try Client(connectedTo: broker.address, on: loop)
            reader.connection.isReadingPaused = true
            for number in 1...5_000 { try sender.connection.publish(Publication("t", "\(number)")) }
            try sender.wait { sender.acknowledged.count == 5_000 }
            #expect(reader.deliveries.isEmpty)
            reader.connection.isReadingPaused = false
            try reader.wait { reader.deliveries.count == 5_000 }
            #expect(reader.payloads == (1...5_000).map { "\($0)" })
        }
    }
}
