import API
import Bus
import Model
import Streams
import Testing
import Wire

extension RealBroker {
    /// Streams through a broker that forgets everything, again and again.
    @Suite struct StreamBrokerTests {
        @Test func everythingArrivesOnceAlthoughTheBrokerForgets() throws {
            let broker = try Broker()
            let topics = Topics(root: "test/v1")
            let loop = EventLoop()
            let outlet = StreamOutlet<Int>(topics: topics, service: .reconciler, instance: "1", incarnation: "a")
            let inlet = StreamInlet<Int>(topics: topics)
            let sender = Client(broker.address, on: loop)
            let receiver = Client(broker.address, on: loop)
            outlet.connection = sender.connection
            inlet.connection = receiver.connection
            sender.onConnected = { connection in
                connection.subscribe([topics.acknowledgements(service: "reconciler", instance: "1")])
                outlet.reconnected(now: Clock.now())
            }
            sender.onReceived = { delivery in
                guard let acknowledgement = try? WireFormat.decode(StreamAcknowledgement.self, from: delivery.payload)
                else {
                    return
                }
                _ = outlet.receive(acknowledgement, now: Clock.now())
            }
            receiver.onConnected = { $0.subscribe([topics.stream(to: .store)]) }
            // Applied and not yet committed; a commit takes whole turns.
            var applied: [(StreamID, Int, Int)] = []
            var committed: [Int] = []
            receiver.onReceived = { delivery in
                guard let arrival = try? inlet.receive(delivery.payload, now: Clock.now()) else { return }
                applied.append((arrival.id, arrival.seq, arrival.body))
            }
            loop.turnEnded = {
                for (id, seq, body) in applied {
                    committed.append(body)
                    inlet.committed(id, upTo: seq)
                }
                applied = []
                inlet.publishAcknowledgements()
            }
            var sent = 0
            var mayBeForgotten = 0
            loop.every(TimeSpan(milliseconds: 2)) {
                guard sent < 2_000 else { return }
                for _ in 1...3 {
                    sent += 1
                    outlet.send(sent, to: .store, stream: "s", now: Clock.now())
                }
            }
            loop.every(TimeSpan(milliseconds: 200)) { outlet.tick(now: Clock.now()) }

            for kill in 1...4 {
                try sender.wait { committed.count >= kill * 200 }
                broker.stop()
                try sender.wait { sender.losses.count >= kill && receiver.losses.count >= kill }
                // What the sender has forgotten was committed.
                mayBeForgotten = max(mayBeForgotten, sent - outlet.unacknowledgedCount)
                #expect(mayBeForgotten <= committed.count)
                try broker.start()
            }
            try sender.wait(30) { committed.count >= sent && sent >= 2_000 && outlet.unacknowledgedCount == 0 }
            #expect(committed == Array(1...sent))
        }

        /// Many streams that are behind share one window, also on a new connection.
        @Test func streamsShareAWindow() throws {
            let broker = try Broker()
            let topics = Topics(root: "test/v1")
            let loop = EventLoop()
            let outlet = StreamOutlet<Int>(
                topics: topics, service: .reconciler, instance: "1", incarnation: "a", windowOfAll: 8)
            let sender = Client(broker.address, on: loop)
            let receiver = Client(broker.address, on: loop)
            outlet.connection = sender.connection
            receiver.onConnected = { $0.subscribe([topics.stream(to: .store)]) }
            var came: [String: [Int]] = [:]
            receiver.onReceived = { delivery in
                guard let frame = try? WireFormat.decode(StreamFrame<Int>.self, from: delivery.payload),
                    frame.body != nil
                else { return }
                came[frame.id.stream, default: []].append(frame.seq)
            }
            for number in 1...20 {
                for stream in ["a", "b", "c", "d"] {
                    outlet.send(number, to: .store, stream: stream, now: Clock.now())
                }
            }
            try receiver.wait { receiver.subscriptions.count == 1 && sender.connection.isConnected }
            outlet.reconnected(now: Clock.now())
            try receiver.wait { came.values.reduce(0) { $0 + $1.count } >= 8 }
            for stream in ["a", "b", "c", "d"] { #expect(came[stream] == [1, 2]) }
            // The others are done: one may have all of it.
            for stream in ["b", "c", "d"] { outlet.end(stream: stream) }
            came = [:]
            let id = StreamID(service: "reconciler", instance: "1", incarnation: "a", stream: "a")
            _ = outlet.receive(StreamAcknowledgement(id: id, upTo: 2, resendFrom: nil), now: Clock.now())
            try receiver.wait { came["a"]?.count ?? 0 >= 8 }
            #expect(came["a"] == Array(3...10))
        }
    }
}
