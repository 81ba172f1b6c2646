internal import Contract
internal import Lifecycle

extension CredentialChange {
    /// The longest time two secrets may both work: a day.
    private static let overlapSecondsMax = 86_400

    /// Whether the broker's access plugin can take it: an agent or gateway, a SHA-256 in hexadecimal, a bounded overlap.
    var isWellFormed: Bool {
        guard Identifier.isValid(username) || AgentAddress(username) != nil else { return false }
        switch change {
        case .set(let digest): return CredentialChange.isDigest(digest)
        case .overlap(let digest, let seconds):
            return CredentialChange.isDigest(digest) && (1...CredentialChange.overlapSecondsMax).contains(seconds)
        case .remove: return true
        }
    }

    private static func isDigest(_ text: String) -> Bool {
        text.utf8.count == 64
            && text.utf8.allSatisfy {
                (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0)
                    || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0)
            }
    }
}

extension CommandOutcome {
    /// Whose secret is the one minted for the request; `nil` when none is.
    var mintedFor: String? {
        switch self {
        case .record(let record, minted: true): record.address.description
        case .gateway(let gateway, minted: true): gateway
        case .record, .gateway, .paused, .gatewayRemoved, .refused, .render: nil
        }
    }

    func with(minted: Bool) -> CommandOutcome {
        switch self {
        case .record(let record, _): .record(record, minted: minted)
        case .gateway(let gateway, _): .gateway(gateway, minted: minted)
        case .paused, .gatewayRemoved, .refused, .render: self
        }
    }
}
