public import API
internal import Lifecycle
public import Model

/// Gathers what a diagnosis looks at beyond what announces itself: which lookup is to be asked next, until all are answered.
///
/// A pure value: whoever has it asks, over whatever connection.
public struct Gathering: Sendable {
    /// How long one lookup may take: a store that is stopped is a finding, not a wait.
    public static let answerLimit = TimeSpan.seconds(5)
    /// Of one list; further agents that are not well would say nothing new, and of those online only so many are looked at.
    static let recordsMax = 10_000
    static let eventsMax: Int64 = 50

    private enum Step {
        /// Can turn into: `record`, `unwell` or `done`.
        case gateways
        /// The agent that is asked about. Can turn into: `history`.
        case record
        /// Can turn into: `done`.
        case history
        /// Agents that are not online. Can turn into: `stale`.
        case unwell
        /// Agents that are online with old files. Can turn into: `online`.
        case stale
        /// Those of the others that are online in whom something shows. Can turn into: `done`.
        case online
        case done
    }

    private struct GatewayList: Decodable {
        struct Gateway: Decodable {
            let gateway: String
            let state: GatewayState.Connection
            let agents: Int
        }

        let gateways: [Gateway]
    }

    private struct Record: Decodable { let record: AgentRecord }

    private struct Page: Decodable {
        let records: [AgentRecord]
        let next: String?
    }

    private struct Events: Decodable {
        struct Event: Decodable {
            struct Record: Decodable {
                let error: String?

                enum CodingKeys: String, CodingKey { case error = "last_provision_error" }
            }

            let event: String
            let time: Timestamp
            let record: Record?
        }

        let events: [Event]
    }

    public var snapshot: Snapshot
    private let ofAgents: Bool
    private var step = Step.gateways
    private var pages = ListPages([:])
    private var listed = 0

    /// - Parameters:
    ///   - subject: the agent that is asked about; `nil`: the whole system.
    ///   - ofAgents: `false`: whether lookups are answered at all is enough.
    public init(at: Timestamp, subject: AgentAddress?, ofAgents: Bool = true) {
        snapshot = Snapshot(at: at, broker: .reached)
        snapshot.subject = subject
        self.ofAgents = ofAgents
    }

    /// What is to be asked now; `nil`: everything is there.
    public var question: (verb: Verb, members: [String: JSONValue])? {
        let agent = ["agent": JSONValue.string(snapshot.subject?.description ?? "")]
        switch step {
        case .gateways: return (.listGateways, [:])
        case .record: return (.get, agent)
        case .history: return (.history, agent.merging(["limit": .integer(Gathering.eventsMax)]) { $1 })
        case .unwell, .stale, .online: return (.list, pages.request)
        case .done: return nil
        }
    }

    /// - Throws: `DecodingError` for what is no answer to the question.
    public mutating func answered(_ payload: [UInt8]) throws {
        switch step {
        case .gateways:
            snapshot.gateways = try JSON.decode(GatewayList.self, from: payload).gateways.map {
                Snapshot.Gateway(name: $0.gateway, state: $0.state, agents: $0.agents)
            }
            snapshot.isAnswered = true
            if !ofAgents {
                step = .done
            } else if snapshot.subject != nil {
                step = .record
            } else {
                list(.unwell, ["status": .array(Gathering.unwell.map { .string($0.rawValue) })])
            }
        case .record:
            snapshot.records = [try JSON.decode(Record.self, from: payload).record]
            step = .history
        case .history:
            snapshot.events = try JSON.decode(Events.self, from: payload).events.map {
                let hasFailed = $0.event == LifecycleEvent.provisionFailed.rawValue
                return Snapshot.Event(event: $0.event, at: $0.time, error: hasFailed ? $0.record?.error : nil)
            }
            step = .done
        case .unwell:
            guard try !take(payload) else { return }
            list(.stale, ["status": .string(AgentStatus.online.rawValue), "stale_templates": .bool(true)])
        case .stale:
            guard try !take(payload) else { return }
            list(.online, ["status": .string(AgentStatus.online.rawValue), "stale_templates": .bool(false)])
        case .online: if try !take(payload) { step = .done }
        case .done: break
        }
    }

    /// No answer came, which is a finding.
    public mutating func unanswered() {
        snapshot.isAnswered = false
        step = .done
    }

    private static let unwell: [AgentStatus] = [.offline, .provisioning, .updating]

    private mutating func list(_ step: Step, _ filter: [String: JSONValue]) {
        self.step = step
        pages = ListPages(filter)
        listed = 0
    }

    /// Whether there is another page.
    private mutating func take(_ payload: [UInt8]) throws -> Bool {
        let page = try JSON.decode(Page.self, from: payload)
        snapshot.records += step == .online ? page.records.filter(DoctorCheck.isNotable) : page.records
        listed += page.records.count
        return listed < Gathering.recordsMax && pages.advance(to: page.next)
    }
}
