public import Model

/// Something that is wrong, what shows it, and what to do.
public struct Finding: Hashable, Sendable, Encodable {
    public enum Severity: String, Hashable, Sendable, Encodable {
        /// Agents are lost by it, or will be.
        case error
        case warning
    }

    public struct Evidence: Hashable, Sendable, Encodable {
        public let what: String
        /// Where it is from, as `record.last_rejection`.
        public let source: String
        public let at: Timestamp?

        init(_ what: String, _ source: String, at: Timestamp? = nil) {
            self.what = what
            self.source = source
            self.at = at
        }
    }

    public struct Action: Hashable, Sendable, Encodable {
        public let summary: String
        /// A line for a shell; `nil`: it is done elsewhere.
        public let command: String?

        init(_ summary: String, _ command: String? = nil) {
            self.summary = summary
            self.command = command
        }
    }

    public let id: String
    public let severity: Severity
    public let subject: String
    public let summary: String
    public let cause: String
    public var evidence: [Evidence] = []
    public var actions: [Action] = []
    /// Checks whose findings it explains: they are not made.
    public var explains: [String] = []

    init(
        _ id: String, _ severity: Severity = .error, subject: String, _ summary: String, cause: String,
        evidence: [Evidence] = [], actions: [Action] = []
    ) {
        self.id = id
        self.severity = severity
        self.subject = subject
        self.summary = summary
        self.cause = cause
        self.evidence = evidence
        self.actions = actions
    }
}

/// What an examination came to.
public struct Diagnosis: Sendable, Encodable {
    public struct Check: Hashable, Sendable, Encodable {
        public enum Result: String, Sendable, Encodable { case pass, fail, skipped }

        public let id: String
        public let result: Result
        /// The finding that explains what it would find, or why it cannot be made.
        public let because: String?
    }

    public let checkedAt: Timestamp
    public let subject: String?
    public let findings: [Finding]
    public let checks: [Check]

    public var isHealthy: Bool { findings.isEmpty }

    private enum CodingKeys: String, CodingKey {
        case subject, findings, checks, healthy
        case checkedAt = "checked_at"
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(checkedAt, forKey: .checkedAt)
        try container.encode(subject, forKey: .subject)
        try container.encode(isHealthy, forKey: .healthy)
        try container.encode(findings, forKey: .findings)
        try container.encode(checks, forKey: .checks)
    }

    /// Whether nobody is served, woken or judged as promised, or somebody who was there is missed.
    public var isInterrupted: Bool { findings.contains { $0.severity == .error || $0.id == "service.missing" } }

    /// Examines a snapshot: lower layers first, and a finding hides what it explains.
    public init(of snapshot: Snapshot) {
        self.init(of: snapshot, DoctorCheck.all)
    }

    /// Examines the broker and the services alone.
    public init(ofServicesOf snapshot: Snapshot) {
        self.init(of: snapshot, DoctorCheck.ofBroker + DoctorCheck.ofServices)
    }

    private init(of snapshot: Snapshot, _ all: [DoctorCheck]) {
        checkedAt = snapshot.at
        subject = snapshot.subject?.description
        var findings: [Finding] = []
        var checks: [Check] = []
        var explained: [String: String] = [:]
        for check in all {
            if let because = explained[check.id] {
                checks.append(Check(id: check.id, result: .skipped, because: because))
                continue
            }
            if let because = check.unmadeWithoutObservation, snapshot.observedFor == .zero {
                checks.append(Check(id: check.id, result: .skipped, because: because))
                continue
            }
            var found = check.examine(snapshot)
            for index in found.indices where found[index].explains.isEmpty { found[index].explains = check.explains }
            checks.append(Check(id: check.id, result: found.isEmpty ? .pass : .fail, because: nil))
            findings += found
            for id in found.flatMap(\.explains) where explained[id] == nil { explained[id] = check.id }
        }
        self.findings = findings
        self.checks = checks
    }
}

/// One thing to look for.
struct DoctorCheck: Sendable {
    let id: String
    /// What needs not be looked for once this was found, unless the finding says so itself.
    let explains: [String]
    /// Why it cannot be made from one look.
    let unmadeWithoutObservation: String?
    let examine: @Sendable (Snapshot) -> [Finding]

    init(
        _ id: String, explains: [String] = [], unmadeWithoutObservation: String? = nil,
        _ examine: @escaping @Sendable (Snapshot) -> [Finding]
    ) {
        self.id = id
        self.explains = explains
        self.unmadeWithoutObservation = unmadeWithoutObservation
        self.examine = examine
    }

    /// In the order in which they are made.
    static let all = ofBroker + ofServices + ofGateways + ofAgents
}
