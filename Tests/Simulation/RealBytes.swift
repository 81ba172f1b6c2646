import HeartbeatIngestCore
import Model
import Wire

/// Messages as they are on a real bus: in some runs each goes through the codecs that services use.
enum RealBytes {
    /// One seed in so many pays for it.
    static let seedsEvery: UInt64 = 50

    /// The same message, written and read again.
    static func recoded(_ body: SimBody) -> SimBody {
        switch body {
        case .partition(let frame): .partition(recode(frame))
        case .store(let frame): .store(recode(frame))
        case .reconciler(let frame): .reconciler(recode(frame))
        case .acknowledgement(let acknowledgement): .acknowledgement(recode(acknowledgement))
        case .presence(let presence): .presence(recode(presence))
        case .order(let message): .order(recode(message))
        case .answer(let message): .answer(recode(message))
        case .claim(let claim): .claim(recode(claim))
        case .question(let question): .question(recode(question))
        case .barrierAnswer(let answer): .barrierAnswer(recode(answer))
        case .subscriptionEnded(let end): .subscriptionEnded(recode(end))
        case .endings(let ends): .endings(recode(ends))
        case .gatewayStatus, .cursor, .command, .canary, .reply, .heartbeat, .wake, .fact, .credentials, .acknowledged:
            body
        }
    }

    /// What an agent would have published.
    static func payload(of heartbeat: HeartbeatDetail) -> [UInt8] {
        var members: [String] = []
        func add(_ name: String, _ text: String?) { if let text { members.append("\"\(name)\":\"\(text)\"") } }
        func add(_ name: String, _ number: Int64?) { if let number { members.append("\"\(name)\":\(number)") } }
        add("status", heartbeat.status?.rawValue)
        add("reason", heartbeat.reason?.rawValue)
        add("exit_status", heartbeat.exitStatus.map(Int64.init))
        add("note", heartbeat.note)
        add("extend", heartbeat.extend?.description)
        add("generation", heartbeat.generation.map(Int64.init))
        add("attempt", heartbeat.attempt.map(Int64.init))
        add("boot_id", heartbeat.bootID)
        add("seq", heartbeat.seq)
        add("templates_digest", heartbeat.templatesDigest)
        return members.isEmpty ? [] : Array("{\(members.joined(separator: ","))}".utf8)
    }

    /// What stands for the SHA-256 of a text.
    static func digest(of text: String) -> String {
        (0..<4).map { part in
            let digits = String(Partition.fnv1a("\(part)\(text)"), radix: 16)
            return String(repeating: "0", count: 16 - digits.count) + digits
        }.joined()
    }

    private static func recode<Message: Codable>(_ message: Message) -> Message {
        do {
            return try WireFormat.decode(Message.self, from: WireFormat.bytes(message))
        } catch {
            preconditionFailure("\(Message.self) is not read as it is written: \(error)")
        }
    }
}
