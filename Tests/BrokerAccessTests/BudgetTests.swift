import BrokerAccessCore
import Testing

private let second: Int64 = 1_000_000_000

/// An access table with a gateway of two agents and an operator; drives it in short words.
private final class Door {
    var access = BrokerAccess(root: .standard)

    init() throws {
        access.identities = Identities("gw1", "gw1/a1", "gw1/a2")
        access.identities.replaceFixed(
            with: try FixedIdentities.parse("op:alice \(String(repeating: "01", count: 32))\n"))
    }

    func connect(_ number: UInt, _ username: String, id: String, clean: Bool = true) -> BrokerAccess.Admission {
        access.connect(
            Connection(number), clientId: Array(id.utf8).span, username: Array(username.utf8).span, secret: secret(1),
            isResumable: !clean, at: at(0))
    }

    func allows(
        _ wanted: BrokerAccess.Access, _ topic: String, to number: UInt, _ username: String, bytes: Int = 0
    ) -> Bool {
        access.allows(
            wanted, Array("rollcall/v1/\(topic)".utf8).span, to: Connection(number),
            username: Array(username.utf8).span, bytes: bytes)
    }

    /// How many of `count` publications at one moment are let through.
    func publish(_ count: Int, on topic: String, by username: String, bytes: Int = 0) -> Int {
        (0..<count).count { _ in allows(.publish, topic, to: 1, username, bytes: bytes) }
    }
}

@Suite("Budgets")
struct BudgetTests {
    @Test("connections of one identity are few, and one that replaces another is none more")
    func connections() throws {
        let door = try Door()
        for number in 0..<8 { #expect(door.connect(UInt(number), "gw1/a1", id: "gw1/a1~\(number)") == .admitted) }
        #expect(door.connect(8, "gw1/a1", id: "gw1/a1~8") == .refused(.tooManyConnections))
        #expect(door.connect(9, "gw1/a1", id: "gw1/a1~7") == .admitted)
        #expect(door.connect(10, "gw1/a2", id: "gw1/a2") == .admitted, "another's are its own")
        door.access.disconnect(Connection(0))
        #expect(door.connect(11, "gw1/a1", id: "gw1/a1~8") == .admitted)
        for number in 100..<164 { #expect(door.connect(UInt(number), "gw1", id: "gw1~\(number)") == .admitted) }
        #expect(door.connect(164, "gw1", id: "gw1~164") == .refused(.tooManyConnections))
    }

    @Test("connections come no faster than sessions may be left behind")
    func connects() throws {
        let door = try Door()
        for _ in 0..<64 {
            #expect(door.connect(1, "gw1/a1", id: "gw1/a1") == .admitted)
            door.access.disconnect(Connection(1))
        }
        #expect(door.connect(1, "gw1/a1", id: "gw1/a1") == .refused(.rateLimited))
        door.access.time += second
        #expect(door.connect(1, "gw1/a1", id: "gw1/a1") == .admitted)
    }

    @Test("subscriptions of one identity are few; what is given up or said again counts once")
    func subscriptions() throws {
        let door = try Door()
        #expect(door.connect(1, "gw1/a1", id: "gw1/a1~1") == .admitted)
        #expect(door.connect(2, "gw1/a1", id: "gw1/a1~2") == .admitted)
        for number in 0..<63 { #expect(door.allows(.subscribe, "replies/gw1/a1/\(number)", to: 1, "gw1/a1")) }
        #expect(door.allows(.subscribe, "replies/gw1/a1/62", to: 1, "gw1/a1"))
        #expect(door.allows(.subscribe, "agents/gw1/a1/wake", to: 2, "gw1/a1"))
        #expect(!door.allows(.subscribe, "replies/gw1/a1/64", to: 2, "gw1/a1"))
        door.access.unsubscribed(Array("rollcall/v1/replies/gw1/a1/0".utf8).span, Connection(1))
        #expect(door.allows(.subscribe, "replies/gw1/a1/64", to: 2, "gw1/a1"))
        door.access.disconnect(Connection(1))
        #expect(door.allows(.subscribe, "replies/gw1/a1/65", to: 2, "gw1/a1"))
    }

    @Test("an agent publishes a burst, then at its rate, whatever it does with its other topics")
    func agent() throws {
        let door = try Door()
        #expect(door.connect(1, "gw1/a1", id: "gw1/a1") == .admitted)
        #expect(door.publish(1_500, on: "agents/gw1/a1/heartbeat", by: "gw1/a1") == 1_000)
        #expect(door.publish(100, on: "agents/gw1/a1/files", by: "gw1/a1") == 64)
        door.access.time += second
        #expect(door.publish(300, on: "agents/gw1/a1/heartbeat", by: "gw1/a1") == 200)
        #expect(door.publish(30, on: "agents/gw1/a1/files", by: "gw1/a1") == 20)
    }

    @Test("bytes count as messages do")
    func bytes() throws {
        let door = try Door()
        #expect(door.connect(1, "gw1", id: "gw1") == .admitted)
        #expect(door.publish(20, on: "gateways/gw1/heartbeats", by: "gw1", bytes: 262_144) == 4)
        door.access.time += second
        // Two agents add 512 bytes a second, and 2 KiB at once.
        #expect(door.publish(200, on: "gateways/gw1/heartbeats", by: "gw1", bytes: 1_024) == 66)
    }

    @Test("of a gateway grow with its agents")
    func agentsBehindIt() throws {
        #expect(Budget(of: .gateway).messages(.request) == Allowance(perSecond: 20, burst: 64))
        #expect(Budget(of: .gateway, agents: 1_000).messages(.request) == Allowance(perSecond: 120, burst: 2_064))
        let door = try Door()
        #expect(door.connect(1, "gw1", id: "gw1") == .admitted)
        #expect(door.publish(100, on: "agents/gw1/a1/files", by: "gw1") == 64 + 2 * 2)
        _ = door.access.identities.apply(.remove(name("gw1/a2")), at: at(0))
        door.access.time += 100 * second
        #expect(door.publish(100, on: "agents/gw1/a1/files", by: "gw1") == 64 + 2)
    }

    @Test("a gateway speaks for agents that do not exist only so often")
    func unknownNames() throws {
        let door = try Door()
        #expect(door.connect(1, "gw1", id: "gw1") == .admitted)
        #expect((0..<100).count { door.allows(.publish, "agents/gw1/x\($0)/heartbeat", to: 1, "gw1") } == 20)
        #expect(door.allows(.publish, "agents/gw1/a1/heartbeat", to: 1, "gw1"))
    }

    @Test("who goes on far beyond them is told of once, cut off and kept out for a while")
    func excluded() throws {
        let door = try Door()
        #expect(door.connect(1, "gw1/a1", id: "gw1/a1") == .admitted)
        #expect(door.connect(2, "gw1/a1", id: "gw1/a1~2") == .admitted)
        #expect(door.connect(3, "gw1/a2", id: "gw1/a2") == .admitted)
        #expect(door.publish(1_999, on: "agents/gw1/a1/heartbeat", by: "gw1/a1") == 1_000)
        #expect(door.access.takeExcluded().isEmpty)
        #expect(door.publish(10, on: "agents/gw1/a1/heartbeat", by: "gw1/a1") == 0)
        let closed = door.access.takeExcluded().map { String(decoding: $0.clientId, as: UTF8.self) }
        #expect(Set(closed) == ["gw1/a1", "gw1/a1~2"])
        #expect(door.access.takeExcluded().isEmpty)
        let refusals = door.access.takeRefusals()
        #expect(refusals.map(\.username.description) == ["gw1/a1"])
        #expect(refusals.map(\.count) == [1_009])
        #expect(door.access.takeRefusals().isEmpty)
        door.access.disconnect(Connection(1))
        #expect(door.connect(1, "gw1/a1", id: "gw1/a1") == .refused(.rateLimited))
        door.access.time += 5 * second
        #expect(door.connect(1, "gw1/a1", id: "gw1/a1") == .admitted)
    }

    @Test("what is forbidden is no matter of the budget, and ends as it does")
    func forbidden() throws {
        let door = try Door()
        #expect(door.connect(1, "gw1/a1", id: "gw1/a1") == .admitted)
        #expect(door.publish(1_000, on: "agents/gw1/a2/heartbeat", by: "gw1/a1") == 0)
        #expect(door.access.takeRefusals().isEmpty)
        #expect(door.access.takeExcluded().count == 1)
    }

    @Test("absent sessions of one identity are kept only so much")
    func queues() throws {
        let door = try Door()
        func queue(_ count: Int, _ username: String) -> Int {
            (0..<count).count { _ in door.allows(.read, "agents/gw1/a1/wake", to: 9, username, bytes: 1 << 20) }
        }
        #expect(queue(100, "gw1/a1") == 31)
        #expect(queue(100, "gw1") == 31, "another's are its own")
        #expect(door.connect(1, "gw1/a1", id: "gw1/a1") == .admitted)
        #expect(door.allows(.read, "agents/gw1/a1/wake", to: 1, "gw1/a1", bytes: 1 << 20))
        door.access.disconnect(Connection(1))
        #expect(queue(100, "gw1/a1") == 31)
    }

    @Test("services and a factor of 0 have none; a factor multiplies")
    func factor() throws {
        #expect(Budget(of: .service).messages(.command) == nil)
        #expect(Budget(of: .operator, factor: 0).messages(.command) == nil)
        #expect(Budget(of: .operator, factor: 2).messages(.command) == Allowance(perSecond: 2_000, burst: 2_000))
    }

    @Test("the session of an id that the broker gave waits for its owner for an hour")
    func assignedIds() throws {
        let door = try Door()
        let id = "auto-0A1B2C3D-0123-4567-89AB-0123456789AB"
        #expect(door.connect(1, "gw1/a1", id: id) == .admitted)
        door.access.disconnect(Connection(1))
        door.access.time += 3_600 * second
        _ = door.access.takeRefusals()
        #expect(door.connect(2, "gw1/a2", id: id, clean: false) == .refused(.clientIdInUse))
        door.access.time += 61 * second
        _ = door.access.takeRefusals()
        #expect(door.connect(2, "gw1/a2", id: id, clean: false) == .admitted)
    }
}
