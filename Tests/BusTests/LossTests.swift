import Bus
import Glibc
import Model
import Testing

extension RealBroker {
    /// What is promised when brokers die, forget, hang or refuse.
    @Suite struct LossTests {
        @Test func aKilledBrokerIsFoundAgainAndAskedAnew() throws {
            let broker = try Broker()
            let client = try Client(subscribing: ["t"], to: broker.address)
            for round in 1...3 {
                broker.stop()
                try client.wait { client.losses.count >= round && !client.connection.isConnected }
                #expect(throws: BusError.self) { try client.connection.publish(Publication("t", "never")) }
                try broker.start()
                try client.wait { client.sessions == round + 1 && client.subscriptions.count == round + 1 }
                client.forget()
                try client.connection.publish(Publication("t", "\(round)"))
                try client.wait { client.payloads == ["\(round)"] && client.acknowledged.count == 1 }
            }
            #expect(client.connection.lastError == nil)
        }

        /// What was under way is forgotten: nothing of it comes in the next session by itself.
        @Test func whatWasUnderWayIsNotSentAgain() throws {
            let broker = try Broker()
            let client = try Client(subscribing: ["t"], to: broker.address)
            broker.pause()
            for number in 1...500 { try client.connection.publish(Publication("t", "\(number)")) }
            broker.stop()
            try client.wait { !client.losses.isEmpty }
            #expect(client.connection.outstanding == 0)
            try broker.start()
            try client.wait { client.subscriptions.count == 2 }
            try client.connection.publish(Publication("t", "after"))
            try client.wait { client.payloads.last == "after" && client.acknowledged.count == 1 }
            #expect(client.payloads == ["after"])
        }

        @Test func aBrokerThatStopsForTwoSecondsIsKept() throws {
            let broker = try Broker()
            let client = try Client(subscribing: ["t"], to: broker.address)
            broker.pause()
            let paused = Clock.now()
            for number in 1...1_000 { try client.connection.publish(Publication("t", "\(number)")) }
            try client.wait { Clock.now().milliseconds(since: paused) > 2_000 }
            #expect(client.deliveries.isEmpty)
            broker.resume()
            try client.wait { client.deliveries.count == 1_000 && client.acknowledged.count == 1_000 }
            #expect(client.payloads == (1...1_000).map { "\($0)" })
            #expect(client.sessions == 1)
            #expect(client.losses.isEmpty)
        }

        @Test func aBrokerThatIsNotThereIsNamed() throws {
            let address = BrokerAddress(
                endpoint: .tcp(host: "127.0.0.1", port: try Broker.freePort(), isEncrypted: false))
            let client = Client(address)
            try client.wait { client.losses.count >= 3 }
            let error = try #require(client.connection.lastError)
            #expect(!error.isRefusal)
            #expect(error.description.contains("Connection refused"), "\(error)")
            #expect(error.description.contains("127.0.0.1"), "\(error)")
        }

        @Test func refusedCredentialsAreARefusal() throws {
            let broker = try Broker(allowsAnonymous: false, passwords: "")
            var address = broker.address
            address.username = "ada"
            address.password = "hunter2"
            let client = Client(address)
            try client.wait { !client.losses.isEmpty }
            #expect(client.losses[0].isRefusal)
            #expect(!client.losses[0].description.contains("hunter2"))
            #expect(client.sessions == 0)
        }

        @Test func aConnectionMayAskOnlyOnce() throws {
            let broker = try Broker()
            let client = Client(broker.address) { $0.reconnects = false }
            try client.wait { client.sessions == 1 }
            broker.stop()
            try client.wait { client.losses.count == 1 }
            try broker.start()
            let since = Clock.now()
            try client.wait { Clock.now().milliseconds(since: since) > 1_500 }
            #expect(client.sessions == 1)
        }

        /// What a process reads after a pause is old: it is not read at all.
        @Test func aStallEndsSessionsUnread() throws {
            let broker = try Broker()
            let client = try Client(subscribing: ["t"], to: broker.address)
            let sender = try Client(connectedTo: broker.address)
            var stalls: [TimeSpan] = []
            client.loop.stalled = { stalls.append($0) }
            client.loop.after(.zero) {
                do {
                    for number in 1...10 { try sender.connection.publish(Publication("t", "old \(number)")) }
                    try sender.wait { sender.acknowledged.count == 10 }
                } catch {
                    Issue.record(error)
                }
                usleep(1_100_000)
            }
            try client.wait { client.subscriptions.count == 2 }
            // A busy machine may make another stall.
            #expect(try #require(stalls.first) > .seconds(1))
            #expect(client.sessions >= 2)
            #expect(client.losses.count >= 1)
            try sender.connection.publish(Publication("t", "new"))
            try sender.wait { sender.acknowledged.count == 11 }
            try client.wait { !client.deliveries.isEmpty }
            #expect(client.payloads == ["new"])
        }
    }
}
