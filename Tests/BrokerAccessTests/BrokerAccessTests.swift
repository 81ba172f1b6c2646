import BrokerAccessCore
import Testing

private let assignedId = "auto-0A1B2C3D-0123-4567-89AB-0123456789AB"

/// An access table with `op:alice`, `op:bob`, two services and some agents, each with secret 1; drives it in short words.
private final class Door {
    var access = BrokerAccess(root: .standard)

    init() throws {
        let digits = String(repeating: "01", count: 32)
        let names = ["op:alice", "op:bob", "svc:a/1", "svc:a/10", "svc:status-store/1"]
        let file = names.map { "\($0) \(digits)\n" }.joined()
        access.identities = Identities("gw1", "gw1/a1", "gw1/a2", "gw2", assignedName)
        access.identities.replaceFixed(with: try FixedIdentities.parse(file))
        access.identities.hasWithdrawn = false
    }

    /// A gateway whose name happens to look like an id that the broker assigns.
    private let assignedName = "auto-FFFFFFFF-0123-4567-89AB-0123456789AB"

    func connect(
        _ number: UInt, _ username: String, id: String, secret given: UInt8 = 1, resumable: Bool = false,
        second: Int = 0
    ) -> BrokerAccess.Admission {
        access.connect(
            Connection(number), clientId: Array(id.utf8).span, username: Array(username.utf8).span,
            secret: secret(given),
            isResumable: resumable, at: at(second))
    }

    func allows(
        _ wanted: BrokerAccess.Access, _ topic: String, to number: UInt, _ username: String
    ) -> Bool {
        access.allows(
            wanted, Array("rollcall/v1/\(topic)".utf8).span, to: Connection(number), username: Array(username.utf8).span
        )
    }
}

@Suite("Client ids")
struct ClientIdTests {
    @Test(
        "of one's own are welcome",
        arguments: [
            ("gw1/a1", "gw1/a1"), ("gw1/a1", "gw1/a1~7"), ("gw1/a1", assignedId), ("gw1", "gw1"), ("gw1", "gw1~"),
            ("op:alice", "op:alice"), ("op:alice", "op:alice-x"), ("op:alice", "anything at all"),
            ("op:alice", assignedId),
            ("svc:a/1", "svc:a/1~x"), ("svc:a/10", "svc:a/10"), ("svc:a/10", "svc:a/100"),
        ])
    func own(username: String, id: String) throws {
        let door = try Door()
        #expect(door.connect(1, username, id: id) == .admitted)
    }

    @Test(
        "of others are refused, whether they are there or not",
        arguments: [
            ("gw1/a1", "gw1/a2"), ("gw1/a1", "gw1"), ("gw1/a1", "gw1/a1x"), ("gw1/a1", "gw1/a1/x"), ("gw1/a1", "x"),
            ("gw1", "gw1/a1"), ("gw1", "gw12"), ("gw1", "auto-1"), ("gw1", assignedId.lowercased()), ("gw1", ""),
            ("gw1", "auto-FFFFFFFF-0123-4567-89AB-0123456789AB"), ("op:alice", "op:bob"), ("op:alice", "op:bob~1"),
            ("op:alice", "gw1"), ("op:alice", "gw1/a1~1"), ("op:alice", "gw1-x"), ("svc:a/1", "svc:a/10"),
            ("svc:a/1", "gw2~x"),
            ("op:alice", "auto-FFFFFFFF-0123-4567-89AB-0123456789AB"),
        ])
    func others(username: String, id: String) throws {
        let door = try Door()
        #expect(door.connect(1, username, id: id) == .refused(.clientIdNotAllowed))
    }

    @Test("in use belong to their holder until the connection ends")
    func inUse() throws {
        let door = try Door()
        #expect(door.connect(1, "op:alice", id: "x") == .admitted)
        #expect(door.connect(2, "op:bob", id: "x") == .refused(.clientIdInUse))
        #expect(door.connect(3, "op:alice", id: "x") == .admitted)
        door.access.disconnect(Connection(1))
        #expect(door.connect(2, "op:bob", id: "x") == .refused(.clientIdInUse), "the end of the first frees nothing")
        door.access.disconnect(Connection(3))
        #expect(door.connect(2, "op:bob", id: "x") == .admitted)
        #expect(door.access.sessionCount == 1)
    }

    @Test("of resumable sessions wait for their owner")
    func resumable() throws {
        let door = try Door()
        #expect(door.connect(1, "op:alice", id: "x", resumable: true) == .admitted)
        door.access.disconnect(Connection(1))
        #expect(door.connect(2, "op:bob", id: "x") == .refused(.clientIdInUse))
        for number in 0..<BrokerAccess.rememberedIdsMax {
            #expect(door.connect(9, "op:alice", id: "y\(number)", resumable: true) == .admitted)
            door.access.disconnect(Connection(9))
        }
        #expect(door.connect(2, "op:bob", id: "x") == .admitted, "memory has a limit")
    }
}

@Suite("Connections")
struct ConnectionTests {
    @Test("need a known username and its secret")
    func refusals() throws {
        let door = try Door()
        #expect(door.connect(1, "", id: "x") == .refused(.badUsername))
        #expect(door.connect(1, "gw1/+", id: "x") == .refused(.badUsername))
        #expect(door.connect(1, "gw9", id: "gw9") == .refused(.unknownUsername))
        #expect(door.connect(1, "gw1", id: "gw1", secret: 2) == .refused(.wrongSecret))
        #expect(door.access.sessionCount == 0)
    }

    @Test("that are refused neither end an overlap nor take an id")
    func refusalsChangeNothing() throws {
        let door = try Door()
        _ = door.access.identities.apply(.overlap(name("gw1"), secret(2), seconds: 10), at: at(0))
        #expect(door.connect(1, "gw1", id: "gw2", secret: 2) == .refused(.clientIdNotAllowed))
        #expect(door.connect(1, "gw1", id: "gw1", secret: 1) == .admitted)
        #expect(door.connect(2, "gw1", id: "gw1~2", secret: 2) == .admittedByNewSecret(.set(name("gw1"), secret(2))))
        #expect(door.connect(3, "gw1", id: "gw1~3", secret: 1) == .refused(.wrongSecret))
    }

    @Test("are closed when their secret no longer works, with a will only while the identity exists")
    func evictions() throws {
        let door = try Door()
        for (number, username) in ["gw1", "gw1/a1", "gw1/a2", "op:bob"].enumerated() {
            #expect(door.connect(UInt(number), username, id: username) == .admitted)
        }
        #expect(door.access.evictions(at: at(0)).isEmpty)
        _ = door.access.identities.apply(.set(name("gw1/a1"), secret(2)), at: at(0))
        _ = door.access.identities.apply(.remove(name("gw1")), at: at(0))
        let closed = door.access.evictions(at: at(0)).map {
            "\(String(decoding: $0.clientId, as: UTF8.self)) \($0.publishesWill)"
        }
        #expect(Set(closed) == ["gw1/a1 true", "gw1 false"])
        #expect(door.access.evictions(at: at(0)).isEmpty, "asked once for each withdrawal")
    }

    @Test("may stay after a reload as long as their secret works")
    func reload() throws {
        let door = try Door()
        #expect(door.connect(1, "op:alice", id: "x") == .admitted)
        #expect(door.connect(2, "gw1", id: "gw1") == .admitted)
        door.access.identities.replaceFixed(with: IdentityTable())
        #expect(!door.access.mayStay(1, "op:alice"))
        #expect(door.access.mayStay(2, "gw1"))
        #expect(door.access.mayStay(3, "gw2"), "an absent client")
        #expect(!door.access.mayStay(3, "op:alice"))
    }

    @Test("do what their rights say; an absent client leaves its will and gets its messages")
    func absentClients() throws {
        let door = try Door()
        #expect(door.connect(1, "gw1/a1", id: "gw1/a1") == .admitted)
        #expect(door.allows(.publish, "agents/gw1/a1/files", to: 1, "gw1/a1"))
        #expect(door.allows(.subscribe, "agents/gw1/a1/wake", to: 1, "gw1/a1"))
        door.access.disconnect(Connection(1))
        #expect(!door.allows(.publish, "agents/gw1/a1/files", to: 1, "gw1/a1"))
        #expect(door.allows(.publish, "agents/gw1/a1/heartbeat", to: 1, "gw1/a1"))
        #expect(door.allows(.read, "agents/gw1/a1/wake", to: 1, "gw1/a1"))
        #expect(!door.allows(.read, "agents/gw1/a2/wake", to: 1, "gw1/a1"))
        _ = door.access.identities.apply(.remove(name("gw1/a1")), at: at(0))
        #expect(!door.allows(.publish, "agents/gw1/a1/heartbeat", to: 1, "gw1/a1"))
        #expect(!door.allows(.read, "agents/gw1/a1/wake", to: 1, "gw1/a1"))
        #expect(!door.allows(.read, "agents/gw1/a1/wake", to: 7, ""))
    }

    @Test("that lost their session to a newer one of the same client are absent at once")
    func takeover() throws {
        let door = try Door()
        #expect(door.connect(1, "op:alice", id: "x") == .admitted)
        #expect(door.allows(.publish, "commands/get", to: 1, "op:alice"))
        #expect(door.connect(2, "op:alice", id: "x") == .admitted)
        #expect(!door.allows(.publish, "commands/get", to: 1, "op:alice"), "its Last Will must not be a command")
        #expect(door.allows(.publish, "commands/get", to: 2, "op:alice"))
    }

    @Test("answers may be asked for by live connections only")
    func answers() throws {
        let door = try Door()
        let topic = "replies/gw1/a1/x"
        #expect(!door.access.allowsAnswer(on: topic, to: 1))
        #expect(door.connect(1, "gw1/a1", id: "gw1/a1") == .admitted)
        #expect(door.access.allowsAnswer(on: topic, to: 1))
        #expect(door.connect(2, "gw1", id: "gw1") == .admitted)
        #expect(!door.access.allowsAnswer(on: topic, to: 2))
        _ = door.access.identities.apply(.remove(name("gw1/a1")), at: at(0))
        #expect(
            door.access.allowsAnswer(on: topic, to: 2), "no such agent: the topic is the gateway's")
    }

    @Test("what a service left retained outlives its entry in the administrator's file")
    func retained() throws {
        let door = try Door()
        #expect(door.allows(.publish, "agents/gw1/a1/status", to: 9, "svc:status-store/2"))
        #expect(!door.allows(.read, "internal/x", to: 9, "svc:status-store/2"))
    }
}
