public import API
internal import Lifecycle
public import Model

/// The answers of the lookups, composed from stored JSON.
public enum LookupAnswer {
    /// What an answer has besides its items, at most.
    private static let overhead = 512

    /// `{"next": …, member: [item, …]}` with as many items as fit into a message.
    ///
    /// - Parameters:
    ///   - items: at most `limit` go in; one more says that there are more.
    ///   - cursor: where the next page begins when the item at this index was the last one.
    public static func page(
        _ member: String, _ items: [[UInt8]], limit: Int, cursor: (_ last: Int) -> String
    ) -> [UInt8] {
        var list: [UInt8] = []
        var count = 0
        for item in items.prefix(limit) {
            guard count == 0 || list.count + item.count + overhead <= Limits.messageBytesMax else { break }
            if count > 0 { list.append(UInt8(ascii: ",")) }
            list += item
            count += 1
        }
        let next = count > 0 && count < items.count ? JSON.bytes(cursor(count - 1)) : Array("null".utf8)
        let listed = Array("\"\(member)\":[".utf8) + list + Array("]".utf8)
        let cursored = Array("\"next\":".utf8) + next
        // Members sorted, as everywhere.
        let members = member < "next" ? [listed, cursored] : [cursored, listed]
        return Array("{".utf8) + members[0] + Array(",".utf8) + members[1] + Array("}".utf8)
    }

    /// The answer, or, when no message holds it, how to ask for less.
    public static func fitting(_ answer: [UInt8], to lookup: Lookup, bytesMax: Int) -> Result<[UInt8], Problem> {
        guard answer.count > bytesMax else { return .success(answer) }
        let advice =
            switch lookup {
            case .summary: "; ask for one gateway at a time, by 'gateway'"
            case .listGateways: "; 'summary' with 'gateway' tells of one"
            case .list, .history: "; ask with a lower 'limit'"
            case .get: ""
            }
        return .failure(
            Problem(.tooLarge, "the answer has \(answer.count) bytes or more, a message holds \(bytesMax)\(advice)"))
    }

    /// `{"record": …}`
    public static func record(_ record: [UInt8]) -> [UInt8] {
        Array("{\"record\":".utf8) + record + Array("}".utf8)
    }

    /// How many agents there are in each status, written gateway by gateway: of thousands an encoder makes a stall.
    public struct Summary: Sendable {
        private static let statuses = AgentStatus.allCases.sorted { $0.rawValue < $1.rawValue }
        private var byStatus: [AgentStatus: Int] = [:]
        private var byGateway: [UInt8] = []

        public init() {}

        /// How many bytes it has so far, about.
        var count: Int { byGateway.count }

        /// Adds a gateway, behind all before it by name.
        public mutating func add(_ counts: [AgentStatus: Int], gateway: String) {
            byGateway += "\(byGateway.isEmpty ? "" : ",")\"\(gateway)\":{".utf8
            Summary.append(counts, to: &byGateway)
            for (status, count) in counts { byStatus[status, default: 0] += count }
        }

        /// As JSON, members sorted.
        public var bytes: [UInt8] {
            var bytes = Array("{\"by_gateway\":{".utf8) + byGateway + Array("},".utf8)
            Summary.append(byStatus, to: &bytes)
            return bytes
        }

        /// All five statuses, absent ones with 0.
        private static func append(_ counts: [AgentStatus: Int], to bytes: inout [UInt8]) {
            bytes += "\"by_status\":{".utf8
            for (index, status) in statuses.enumerated() {
                bytes += "\(index > 0 ? "," : "")\"\(status.rawValue)\":\(counts[status] ?? 0)".utf8
            }
            bytes += "},\"total\":\(counts.values.reduce(0, +))}".utf8
        }
    }

    /// The answer of `list-gateways`, of gateways that are encoded already.
    static func gateways(_ gateways: [[UInt8]]) -> [UInt8] {
        Array("{\"gateways\":[".utf8) + gateways.joined(separator: [UInt8(ascii: ",")]) + Array("]}".utf8)
    }

    struct Gateway: Encodable {
        let gateway: String
        let state: GatewayState.Connection
        let agents: Int
        let policy: PolicyOverrides

        init(_ state: GatewayState, agents: Int) {
            gateway = state.gateway
            self.state = state.connection
            self.agents = agents
            policy = state.policyOverrides
        }
    }
}
