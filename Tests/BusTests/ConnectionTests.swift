import Bus
import CLinux
import Glibc
import Model
import Testing

extension RealBroker {
    /// What one session promises.
    @Suite struct ConnectionTests {
        let broker: Broker
        init() throws { broker = try Broker() }

        @Test func subscriptionsAreAnswered() throws {
            let client = try Client(subscribing: ["a/+", "b/#"], to: broker.address)
            #expect(client.subscriptions == [[]])
            #expect(client.connection.isConnected)
            #expect(client.connection.lastError == nil)
        }

        @Test func acknowledgementsSayWhetherAnybodySubscribed() throws {
            let client = try Client(subscribing: ["heard"], to: broker.address)
            let heard = try client.connection.publish(Publication("heard", "1"))
            let unheard = try client.connection.publish(Publication("unheard", "2"))
            try client.wait { client.acknowledged.count == 2 }
            #expect(client.acknowledged.map(\.ticket) == [heard, unheard])
            #expect(client.acknowledged.map(\.reason) == [ReasonCode.success, ReasonCode.noMatchingSubscribers])
            #expect(client.connection.outstanding == 0)
        }

        @Test func propertiesMakeTheRoundTrip() throws {
            let client = try Client(subscribing: ["p"], to: broker.address)
            var publication = Publication(topic: "p", payload: [0, 1, 255])
            publication.contentType = "application/json"
            publication.responseTopic = "answers/1"
            publication.correlationData = [0, 7, 0]
            publication.userProperties = [("id", "1"), ("id", "2"), ("source", "ärger ☂"), ("empty", "")]
            publication.expirySeconds = 60
            try client.connection.publish(publication)
            try client.wait { client.deliveries.count == 1 }
            let delivery = try #require(client.deliveries.first)
            #expect(delivery.payload == [0, 1, 255])
            #expect(delivery.contentType == "application/json")
            #expect(delivery.responseTopic == "answers/1")
            #expect(delivery.correlationData == [0, 7, 0])
            #expect(delivery.userProperties.map(\.name) == ["id", "id", "source", "empty"])
            #expect(delivery.userProperties.map(\.value) == ["1", "2", "ärger ☂", ""])
            #expect(delivery.userProperty("id") == "1")
            #expect(!delivery.isRetained)
        }

        @Test func retainedMessagesComeToWhoeverSubscribesLater() throws {
            let client = try Client(connectedTo: broker.address)
            var publication = Publication("kept", "now")
            publication.isRetained = true
            try client.connection.publish(publication)
            try client.wait { client.acknowledged.count == 1 }

            let late = try Client(subscribing: ["kept"], to: broker.address)
            try late.wait { late.deliveries.count == 1 }
            #expect(late.deliveries[0].isRetained)
            #expect(late.payloads == ["now"])

            let without = Client(broker.address)
            without.onConnected = { $0.subscribe(["kept"], options: .withoutRetained) }
            try without.wait { without.subscriptions.count == 1 }
            try without.connection.publish(Publication("kept", "live"))
            try without.wait { without.deliveries.count == 1 }
            #expect(without.payloads == ["live"])
        }

        @Test func expiredRetainedMessagesAreGone() throws {
            let client = try Client(connectedTo: broker.address)
            var publication = Publication("short", "1")
            publication.isRetained = true
            publication.expirySeconds = 1
            try client.connection.publish(publication)
            try client.wait { client.acknowledged.count == 1 }
            let published = Clock.now()
            try client.wait { Clock.now().milliseconds(since: published) > 2_100 }
            let late = try Client(subscribing: ["short", "mark"], to: broker.address)
            try late.connection.publish(Publication("mark", "m"))
            try late.wait { !late.deliveries.isEmpty }
            #expect(late.payloads == ["m"])
        }

        /// More than the window, the receive maximum and a turn hold.
        @Test func tenThousandArriveInOrderAndAreAcknowledged() throws {
            let loop = EventLoop()
            let receiver = try Client(subscribing: ["many"], to: broker.address, on: loop)
            let sender = try Client(connectedTo: broker.address, on: loop)
            var tickets: [Int] = []
            for number in 1...10_000 { tickets.append(try sender.connection.publish(Publication("many", "\(number)"))) }
            #expect(sender.connection.outstanding == 10_000)
            try sender.wait(30) { receiver.deliveries.count == 10_000 && sender.acknowledged.count == 10_000 }
            #expect(receiver.payloads == (1...10_000).map { "\($0)" })
            #expect(sender.acknowledged.map(\.ticket) == tickets)
            #expect(sender.acknowledged.allSatisfy { $0.reason == ReasonCode.success })
            #expect(sender.connection.outstanding == 0)
        }

        /// The reader's loop stands still while the broker fills its socket and then queues.
        @Test func aSlowReaderLosesNothing() throws {
            let reader = try Client(subscribing: ["slow"], to: broker.address)
            let sender = try Client(connectedTo: broker.address)
            let filler = String(repeating: "x", count: 1_000)
            for number in 1...20_000 { try sender.connection.publish(Publication("slow", "\(number) \(filler)")) }
            try sender.wait(30) { sender.acknowledged.count == 20_000 }
            #expect(reader.deliveries.isEmpty)
            try reader.wait(30) { reader.deliveries.count == 20_000 }
            #expect(reader.payloads.map { String($0.prefix { $0 != " " }) } == (1...20_000).map { "\($0)" })
            #expect(reader.losses.isEmpty)
        }

        /// A turn takes many packets, then lets the service commit.
        @Test func aTurnReadsManyMessages() throws {
            let reader = try Client(subscribing: ["turn"], to: broker.address)
            let sender = try Client(connectedTo: broker.address)
            for number in 1...200 { try sender.connection.publish(Publication("turn", "\(number)")) }
            try sender.wait { sender.acknowledged.count == 200 }
            var batches: [Int] = []
            var seen = 0
            reader.loop.turnEnded = {
                if reader.deliveries.count > seen { batches.append(reader.deliveries.count - seen) }
                seen = reader.deliveries.count
            }
            try reader.wait { reader.deliveries.count == 200 }
            #expect(batches.count < 20, "\(batches)")
        }

        @Test func theLastWillFollowsAnUncleanEnd() throws {
            let watcher = try Client(subscribing: ["will"], to: broker.address)
            let victim = Client(broker.address) { options in
                var will = Publication("will", "lost")
                will.contentType = "text/plain"
                will.userProperties = [("why", "crash")]
                options.will = will
                options.reconnects = false
            }
            try victim.wait { victim.sessions == 1 }
            victim.connection.abandon(reason: "a test")
            #expect(!victim.connection.isConnected)
            #expect(victim.losses.map(\.reason) == ["a test"])
            try watcher.wait { watcher.deliveries.count == 1 }
            #expect(watcher.payloads == ["lost"])
            #expect(watcher.deliveries[0].contentType == "text/plain")
            #expect(watcher.deliveries[0].userProperty("why") == "crash")
        }

        @Test func closingSendsWhatWaitsAndNoLastWill() throws {
            let watcher = try Client(subscribing: ["will", "last"], to: broker.address)
            let leaver = Client(broker.address) { $0.will = Publication("will", "lost") }
            try leaver.wait { leaver.sessions == 1 }
            for number in 1...1_000 { try leaver.connection.publish(Publication("last", "\(number)")) }
            leaver.connection.close()
            #expect(!leaver.connection.isConnected)
            try watcher.wait { watcher.deliveries.count == 1_000 }
            // The broker has read DISCONNECT once it has forgotten the client: a marker comes after any Last Will.
            let marker = try Client(connectedTo: broker.address)
            try marker.connection.publish(Publication("last", "marker"))
            try marker.wait { marker.acknowledged.count == 1 }
            try watcher.wait { watcher.payloads.last == "marker" }
            #expect(watcher.payloads == (1...1_000).map { "\($0)" } + ["marker"])
            #expect(leaver.losses.isEmpty)
        }

        @Test func aUnixSocketWorksAsWell() throws {
            let client = try Client(
                subscribing: ["u"], to: BrokerAddress(endpoint: .unix(path: broker.socketPath)))
            try client.connection.publish(Publication("u", "1"))
            try client.wait { client.payloads == ["1"] }
        }

        @Test func descriptorsBeyond1024Work() throws {
            var limit = rlimit()
            getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
            limit.rlim_cur = min(limit.rlim_max, 4_096)
            setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
            var fillers: [Int32] = []
            defer { for filler in fillers { close(filler) } }
            while (fillers.last ?? 0) < 1_100 {
                let filler = dup(0)
                try #require(filler >= 0)
                fillers.append(filler)
            }
            let client = try Client(subscribing: ["fd"], to: broker.address)
            try client.connection.publish(Publication("fd", "1"))
            try client.wait { client.payloads == ["1"] }
        }

        @Test func publishingBeforeTheFirstSessionIsRefused() throws {
            let client = Client(broker.address)
            let error = #expect(throws: BusError.self) { try client.connection.publish(Publication("t", "1")) }
            #expect(error?.description == "publish to t: not connected")
        }

        @Test func atMostOnceArrivesToo() throws {
            let client = try Client(subscribing: ["zero"], to: broker.address)
            for number in 1...100 {
                var publication = Publication("zero", "\(number)")
                publication.qualityOfService = .atMostOnce
                try client.connection.publish(publication)
            }
            try client.wait { client.deliveries.count == 100 }
            #expect(client.acknowledged.isEmpty)
        }
    }
}
