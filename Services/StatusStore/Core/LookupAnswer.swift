public import Contract
public import Lifecycle

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
            Problem(.tooLarge, "the answer has \(answer.count) bytes, a message holds \(bytesMax)\(advice)"))
    }

    /// `{"record": …}`
    public static func record(_ record: [UInt8]) -> [UInt8] {
        Array("{\"record\":".utf8) + record + Array("}".utf8)
    }

    /// How many agents there are in each status.
    public struct Summary: Codable, Hashable, Sendable {
        public struct Counts: Codable, Hashable, Sendable {
            public var total = 0
            /// All five statuses, absent ones with 0.
            public var byStatus: [String: Int]

            public init() {
                byStatus = Dictionary(uniqueKeysWithValues: AgentStatus.allCases.map { ($0.rawValue, 0) })
            }

            public mutating func add(_ count: Int, _ status: AgentStatus) {
                total += count
                byStatus[status.rawValue, default: 0] += count
            }

            enum CodingKeys: String, CodingKey {
                case total
                case byStatus = "by_status"
            }
        }

        public var total = 0
        public var byStatus = Counts().byStatus
        public var byGateway: [String: Counts] = [:]

        public init(gateways: [String]) {
            for gateway in gateways { byGateway[gateway] = Counts() }
        }

        public mutating func add(_ count: Int, _ status: AgentStatus, gateway: String) {
            total += count
            byStatus[status.rawValue, default: 0] += count
            byGateway[gateway, default: Counts()].add(count, status)
        }

        /// As JSON, members sorted. Written by hand: of thousands of gateways the encoder makes a stall.
        public var bytes: [UInt8] {
            var bytes = Array("{\"by_gateway\":{".utf8)
            for (index, gateway) in byGateway.keys.sorted().enumerated() {
                let counts = byGateway[gateway] ?? Counts()
                bytes += "\(index > 0 ? "," : "")\"\(gateway)\":{".utf8
                Summary.append(counts.byStatus, total: counts.total, to: &bytes)
            }
            bytes += "},".utf8
            Summary.append(byStatus, total: total, to: &bytes)
            return bytes
        }

        private static let statuses = AgentStatus.allCases.map(\.rawValue).sorted()

        private static func append(_ byStatus: [String: Int], total: Int, to bytes: inout [UInt8]) {
            bytes += "\"by_status\":{".utf8
            for (index, status) in statuses.enumerated() {
                bytes += "\(index > 0 ? "," : "")\"\(status)\":\(byStatus[status] ?? 0)".utf8
            }
            bytes += "},\"total\":\(total)}".utf8
        }

        enum CodingKeys: String, CodingKey {
            case total
            case byStatus = "by_status"
            case byGateway = "by_gateway"
        }
    }

    /// The answer of `list-gateways`.
    public struct Gateways: Codable, Hashable, Sendable {
        public struct Gateway: Codable, Hashable, Sendable {
            public let gateway: String
            public let state: GatewayState.Connection
            public let agents: Int
            public let policy: PolicyOverrides

            public init(_ state: GatewayState, agents: Int) {
                gateway = state.gateway
                self.state = state.connection
                self.agents = agents
                policy = state.policyOverrides
            }
        }

        public let gateways: [Gateway]

        public init(_ gateways: [Gateway]) {
            self.gateways = gateways
        }
    }
}
