internal import Contract
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
