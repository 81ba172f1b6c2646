internal import API

/// Bytes of answers that the broker has not acknowledged, by who asked. With the connection all are forgotten.
struct AnswersUnderWay: Sendable {
    private var bytes: [String: Int] = [:]
    private var byTicket: [Int: (asker: String, bytes: Int)] = [:]

    /// Whether who asks has answers enough to wait for.
    func isFull(_ asker: String) -> Bool { (bytes[asker] ?? 0) >= Limits.answerBytesUnderWayMax }

    mutating func handedOver(_ asker: String, bytes count: Int, ticket: Int) {
        byTicket[ticket] = (asker, count)
        bytes[asker, default: 0] += count
    }

    mutating func acknowledged(_ ticket: Int) {
        guard let answer = byTicket.removeValue(forKey: ticket), let rest = bytes[answer.asker] else { return }
        bytes[answer.asker] = rest > answer.bytes ? rest - answer.bytes : nil
    }
}
