package import Model
package import Wire

extension CredentialChange {
    /// The longest time two secrets may both work: a day.
    private static let overlapSecondsMax = 86_400

    /// Whether the broker's access plugin can take it: an agent or gateway, a SHA-256 in hexadecimal, a bounded overlap.
    package var isWellFormed: Bool {
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
    package var mintedFor: String? {
        switch self {
        case .record(let record, minted: true): record.address.description
        case .gateway(let gateway, minted: true): gateway
        case .record, .gateway, .paused, .gatewayRemoved, .members, .templatesSynced, .refused, .render: nil
        }
    }

    package func with(minted: Bool) -> CommandOutcome {
        switch self {
        case .record(let record, _): .record(record, minted: minted)
        case .gateway(let gateway, _): .gateway(gateway, minted: minted)
        case .paused, .gatewayRemoved, .members, .templatesSynced, .refused, .render: self
        }
    }
}

extension Identity {
    /// The identity that a rotation leaves; `nil` when it is a repeat, and no second rotation.
    ///
    /// It keeps the digests before the new one: a broker that never heard of the rotation, or forgot it, is told all of it.
    package static func rotating(
        _ before: Identity?, _ username: String, to digest: String, until: Timestamp, now: Timestamp
    ) -> Identity? {
        if before?.digest == digest { return nil }
        var superseded: [String] = []
        if let overlap = before?.overlap, overlap.until > now { superseded = overlap.superseded }
        if let before { superseded.append(before.digest) }
        // The oldest may be in use still; of the others the newest.
        let surplus = superseded.count - supersededMax
        if surplus > 0 { superseded.removeSubrange(1...surplus) }
        return Identity(
            username: username, digest: digest,
            overlap: superseded.isEmpty ? nil : Overlap(superseded: superseded, until: until))
    }
}
