internal import Model
internal import ServiceHost

/// In which order `agents` lists: those that need somebody first.
enum AgentOrder: String, CaseIterable {
    case address
    case status
    /// The one that is offline for longest first.
    case offline
    /// Who was not heard of for longest first.
    case seen
    case attempts

    static let names = allCases.map(\.rawValue).joined(separator: "|")

    init(_ invocation: Invocation) throws(CommandFailure) {
        let name = invocation.arguments.value("sort") ?? AgentOrder.address.rawValue
        guard let order = AgentOrder(rawValue: name) else {
            throw .usage(
                "--sort: '\(name)' is none of \(AgentOrder.names)"
                    + meant(by: name, among: AgentOrder.allCases.map(\.rawValue)))
        }
        self = order
    }

    /// Of those that are equal the one with the lower address comes first, as they are given.
    func sorted(_ records: [AgentRecord]) -> [AgentRecord] {
        guard self != .address else { return records }
        return records.enumerated().map { (rank($1), $0, $1) }.sorted { ($0.0, $0.1) < ($1.0, $1.1) }.map(\.2)
    }

    /// The lowest first.
    private func rank(_ record: AgentRecord) -> Int64 {
        switch self {
        case .address: 0
        case .status:
            switch record.status {
            case .offline: 0
            case .updating: 1
            case .provisioning: 2
            case .deleting: 3
            case .online: 4
            }
        case .offline: RecordText.offlineSince(record)?.millisecondsSince1970 ?? .max
        case .seen: record.lastSeenAt?.millisecondsSince1970 ?? .min
        case .attempts: -Int64(record.wakeAttempts)
        }
    }
}
