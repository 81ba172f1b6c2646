internal import API
internal import Model

/// One heartbeat as it crosses the bus: on the agent's own topic, or as an entry of its gateway's message.
struct HeartbeatMessage: Encodable {
    /// The id within the gateway; absent on the agent's own topic.
    var agent: String?
    /// Absent when it is `ok`.
    var status: String?
    /// With `stopping`; absent when it is `finished`.
    var reason: String?
    /// With `stopping`: 0 to 255, 128 + signal.
    var exitStatus: Int?
    var generation: Int?
    var attempt: Int?
    var bootID: String?
    var seq: Int64?
    var templatesDigest: String?
    var note: String?

    enum CodingKeys: String, CodingKey {
        case agent, status, reason, generation, attempt, seq, note
        case exitStatus = "exit_status"
        case bootID = "boot_id"
        case templatesDigest = "templates_digest"
    }

    init(_ beat: Beat, isEntry: Bool) {
        agent = isEntry ? beat.agent.agent : nil
        switch beat.kind {
        case .alive: break
        case .waiting: status = HeartbeatStatus.waiting.rawValue
        case .ended(let ended):
            status = HeartbeatStatus.stopping.rawValue
            exitStatus = ended
        case .hostStopping:
            status = HeartbeatStatus.stopping.rawValue
            reason = StoppingReason.hostStopping.rawValue
        }
        // Always echoed: without it, a command of the cycle before would check in for a cycle it knows nothing of.
        generation = beat.generation
        attempt = beat.attempt
        bootID = beat.bootID
        seq = beat.seq
        templatesDigest = beat.templatesDigest
        note = beat.note
    }

    /// The Last Will of an agent whose command has this boot id.
    init(lost bootID: String) {
        status = HeartbeatStatus.lost.rawValue
        self.bootID = bootID
    }
}

/// The message of a gateway for all its agents.
enum GatewayHeartbeats {
    private static let head = Array(#"{"agents":["#.utf8)
    private static let tail = Array("]}".utf8)

    /// As few messages as their promised size allows, in the order of the beats.
    static func messages(_ beats: [Beat], bytesMax: Int = Limits.gatewayHeartbeatsBytesMax) -> [[UInt8]] {
        var messages: [[UInt8]] = []
        var message = head
        for beat in beats {
            let entry = JSON.bytes(HeartbeatMessage(beat, isEntry: true))
            if message.count > head.count, message.count + 1 + entry.count + tail.count > bytesMax {
                messages.append(message + tail)
                message = head
            }
            if message.count > head.count { message.append(UInt8(ascii: ",")) }
            message += entry
        }
        return message.count > head.count ? messages + [message + tail] : messages
    }
}
