import Bus
import Glibc
import Model
import Testing

extension RealBroker {
    /// A process that stood still believes nothing that waited meanwhile, and says nothing that it had decided before.
    @Suite struct StallTests {
        static let stop = TimeSpan(milliseconds: 1_200)

        static func standStill() {
            usleep(useconds_t(stop.milliseconds * 1_000))
        }

        /// A loop that stands still in its phase of writing: in the call that tells of a broken connection, of which it
        /// learns by writing.
        final class Stopping {
            let loop = EventLoop()
            let broker: Broker
            private let doomed: Broker
            private var breaking: Client!
            private(set) var speaker: Client!
            private(set) var stalls: [TimeSpan] = []

            /// `isBefore`: whether it stops before its speaker writes, or after it.
            init(before isBefore: Bool) throws {
                broker = try Broker()
                doomed = try Broker()
                if isBefore { breaking = try Client(connectedTo: doomed.address, on: loop) }
                speaker = try Client(subscribing: ["old"], to: broker.address, on: loop)
                if !isBefore { breaking = try Client(connectedTo: doomed.address, on: loop) }
                loop.stalled = { [unowned self] in stalls.append($0) }
            }

            /// One turn decides to say this, and stands still before or after it is written; runs on until the speaker is back.
            func say(_ topic: String, _ texts: [String], meanwhile: @escaping () -> Void = {}) throws {
                breaking.onDisconnected = { [unowned self] _ in
                    breaking.onDisconnected = { _ in }
                    meanwhile()
                    StallTests.standStill()
                }
                loop.turnEnded = { [unowned self] in
                    loop.turnEnded = {}
                    doomed.stop()
                    // The first meets a closed socket, whose answer the next one finds.
                    for number in 1...3 { _ = try? breaking.connection.publish(Publication("t", "\(number)")) }
                    for text in texts { _ = try? speaker.connection.publish(Publication(topic, text)) }
                }
                try speaker.wait { speaker.subscriptions.count == 2 }
                breaking.connection.close()
            }
        }

        @Test func whatWasDecidedBeforeAStopBetweenTwoWritesIsNotWritten() throws {
            let process = try Stopping(before: true)
            let watcher = try Client(subscribing: ["wake"], to: process.broker.address)
            try process.say("wake", (1...8).map(String.init))
            try process.speaker.connection.publish(Publication("wake", "marker"))
            try process.speaker.wait { process.speaker.acknowledged.count == 1 }
            try watcher.wait { watcher.payloads.last == "marker" }
            #expect(watcher.payloads == ["marker"])
            // A busy machine may make another stall.
            #expect(process.speaker.losses.count >= 1)
            #expect(process.stalls.contains { $0 >= StallTests.stop })
        }

        @Test func whatWaitedDuringAStopAfterTheLastWriteIsNotRead() throws {
            let process = try Stopping(before: false)
            let other = try Client(connectedTo: process.broker.address)
            try process.say("t", ["1"]) {
                for number in 1...8 { _ = try? other.connection.publish(Publication("old", "\(number)")) }
                _ = other.loop.run(until: { other.acknowledged.count == 8 }, for: .seconds(5))
            }
            #expect(other.acknowledged.count == 8)
            #expect(process.speaker.payloads == [])
            #expect(process.stalls.count >= 1)
        }

        /// The library reads several packets in one call when publications are under way.
        @Test func whatWasReadWithAMessageThatTookLongIsNotDelivered() throws {
            let broker = try Broker()
            let reader = try Client(subscribing: ["t"], to: broker.address)
            var stalls = 0
            reader.loop.stalled = { _ in stalls += 1 }
            reader.onReceived = { _ in
                if reader.deliveries.count == 1 { StallTests.standStill() }
            }
            for number in 1...100 { try reader.connection.publish(Publication("t", "\(number)")) }
            try reader.wait { reader.subscriptions.count == 2 }
            #expect(reader.payloads == ["1"])
            #expect(stalls >= 1)
        }

        @Test func aClientThatRestedBetweenTwoRunsHasNotStalled() throws {
            let broker = try Broker()
            let watcher = try Client(subscribing: ["will"], to: broker.address)
            let client = Client(broker.address) { $0.will = Publication("will", "lost") }
            try client.wait { client.sessions == 1 }
            StallTests.standStill()
            try client.connection.publish(Publication("will", "1"))
            try client.wait { client.acknowledged.count == 1 }
            StallTests.standStill()
            client.connection.close()
            try watcher.connection.publish(Publication("will", "marker"))
            try watcher.wait { watcher.payloads.last == "marker" }
            #expect(watcher.payloads == ["1", "marker"])
            #expect(client.losses.isEmpty)
        }
    }
}
