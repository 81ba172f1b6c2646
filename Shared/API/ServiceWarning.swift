public import Model

/// What a service wants somebody to see to, while it does its work.
public struct ServiceWarning: Codable, Hashable, Sendable {
    public enum Kind: String, Codable, Sendable, CaseIterable {
        /// A receiver of alerts takes none.
        case alertUndelivered = "alert.undelivered"
        /// Lines of the file of operators' tokens cannot be read: their owners are turned away.
        case tokensUnreadable = "http.tokens_unreadable"
        case certificateExpiring = "http.certificate_expiring"
        /// Agents are woken with the templates of before.
        case templatesUnreadable = "templates.unreadable"
        /// What it sends waits long for its receiver's acknowledgement.
        case streamBehind = "stream.behind"
        /// What is committed waits long for the broker.
        case outboxOld = "outbox.old"
        /// Somebody wants more than its share, and is refused.
        case budgetExceeded = "budget.exceeded"
        /// History is nearly as large as it may be: its oldest goes before its days are over.
        case historyFull = "store.history_full"
    }

    /// What waits for longer is told.
    public static let patience = TimeSpan.seconds(10)

    public let kind: Kind
    public let detail: String

    public init(_ kind: Kind, _ detail: String) {
        self.kind = kind
        self.detail = detail
    }

    enum CodingKeys: String, CodingKey {
        case detail
        case kind = "id"
    }
}
