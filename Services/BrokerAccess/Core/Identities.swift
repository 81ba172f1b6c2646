/// The second it is: deadlines use the steady clock, only what is kept in a file uses the wall clock.
public struct Moment: Sendable {
    /// Seconds of a clock that never jumps and counts suspension.
    public let steady: Int
    /// Seconds of Unix time.
    public let wall: Int

    public init(steady: Int, wall: Int) {
        self.steady = steady
        self.wall = wall
    }
}

/// Who exists and which secret proves it.
///
/// Operators and services are fixed by the administrator's file; agents and gateways are minted by the status store.
/// While an overlap lasts the table of the minted holds the new secret, and `overlaps` the old one.
///
/// The store sends its whole table after each connection. Of an overlap it knows the secrets and the time, not whether the
/// new one was used; whoever remembers knows better. So a rotation that is known already is not begun again by a table.
public struct Identities: Sendable {
    /// What came of showing a secret.
    public enum Verdict: Equatable, Sendable {
        case unknownUsername, wrongSecret, accepted
        /// The new secret of an overlap was used for the first time: the old one no longer works.
        case acceptedNewSecret
    }

    private struct Overlap: Sendable {
        var old: SecretDigest
        /// On the steady clock.
        var until: Int
    }

    /// A rotation, or several, as a begun table tells of them.
    private struct Rotation: Sendable {
        /// The secrets before the one in the table, oldest first.
        var superseded: [SecretDigest] = []
        /// On the steady clock.
        var until = 0
    }

    private struct BegunTable: Sendable {
        var table = IdentityTable()
        var rotations: [Username: Rotation] = [:]

        mutating func set(_ username: Username, _ digest: SecretDigest) {
            table.set(username, digest)
            if !rotations.isEmpty { rotations[username] = nil }
        }

        mutating func overlap(_ username: Username, _ digest: SecretDigest, until: Int) {
            guard let before = table.digest(of: username.bytes.span) else { return table.set(username, digest) }
            if before == digest { return }
            rotations[username, default: Rotation()].superseded.append(before)
            rotations[username]?.until = until
            table.set(username, digest)
        }

        mutating func remove(_ username: Username) {
            table.remove(username)
            rotations[username] = nil
        }
    }

    private var fixed = IdentityTable()
    private var minted = IdentityTable()
    private var begun: BegunTable?
    private var overlaps: [Username: Overlap] = [:]

    /// Identities with the secret whose use ended an overlap, or of which a table still told an overlap that is over: the store
    /// is to know, for a broker that forgets.
    private var used: [(Username, SecretDigest)] = []

    /// Whether a secret stopped working since this was last set to `false`: live connections need a look.
    public var hasWithdrawn = false

    public init() {}

    /// How many agents and gateways are known.
    public var mintedCount: Int { minted.count }

    /// How many agents of a gateway are known. O(1).
    func agentCount(of gateway: Username) -> Int { minted.agentCount(of: gateway) }

    /// Whether a username is known. O(1).
    public func contains(_ name: borrowing Span<UInt8>) -> Bool {
        minted.contains(name) || fixed.contains(name)
    }

    /// Whether a username is known. O(1).
    public func contains(_ username: Username) -> Bool {
        contains(username.bytes.span)
    }

    /// Whether a secret is one of the username's at this moment. O(1), constant time over the digests.
    public func accepts(_ username: Username, _ secret: SecretDigest, at now: Moment) -> Bool {
        guard let digest = table(of: username).digest(of: username.bytes.span) else { return false }
        if digest == secret { return true }
        guard let overlap = overlaps[username] else { return false }
        return overlap.old == secret && now.steady < overlap.until
    }

    /// Judges a secret, and ends the username's overlap when it is the new one. O(1).
    public mutating func verify(_ username: Username, _ secret: SecretDigest, at now: Moment) -> Verdict {
        guard contains(username.bytes.span) else { return .unknownUsername }
        guard accepts(username, secret, at: now) else { return .wrongSecret }
        guard overlaps[username] != nil, minted.digest(of: username.bytes.span) == secret else { return .accepted }
        overlaps[username] = nil
        hasWithdrawn = true
        used.append((username, secret))
        return .acceptedNewSecret
    }

    /// Replaces operators and services.
    public mutating func replaceFixed(with table: IdentityTable) {
        fixed = table
        hasWithdrawn = true
    }

    /// Whether these changes can be applied in their order: `commit` only after `begin`.
    public func canApply(_ changes: [IdentityChange]) -> Bool {
        var isBegun = begun != nil
        for change in changes {
            switch change {
            case .begin: isBegun = true
            case .commit:
                guard isBegun else { return false }
                isBegun = false
            case .set, .overlap, .remove, .answer: continue
            }
        }
        return true
    }

    /// Applies one change; returns what the state file needs to know of it.
    ///
    /// `commit` returns nothing: the whole file has to be written anew (``writeState(to:at:)``).
    public mutating func apply(_ change: IdentityChange, at now: Moment) -> JournalEntry? {
        switch change {
        case .begin:
            begun = BegunTable()
            return nil
        case .set(let username, let digest):
            if begun != nil {
                begun?.set(username, digest)
                return nil
            }
            return set(username, digest)
        case .overlap(let username, let digest, let seconds):
            if begun != nil {
                begun?.overlap(username, digest, until: now.steady + seconds)
                return nil
            }
            return overlap(username, digest, seconds: seconds, at: now)
        case .remove(let username):
            begun?.remove(username)
            guard minted.remove(username) else { return nil }
            overlaps[username] = nil
            hasWithdrawn = true
            return .remove(username)
        case .commit:
            commit()
            return nil
        case .answer: return nil
        }
    }

    /// What the store is to know of secrets that were used: `USERNAME SHA256HEX`, one a line, about `pieceBytes` a piece.
    public mutating func takeUsed(pieceBytes: Int = 1 << 16) -> [[UInt8]] {
        guard !used.isEmpty else { return [] }
        var pieces: [[UInt8]] = [[]]
        for (username, digest) in used {
            if pieces[pieces.count - 1].count >= pieceBytes { pieces.append([]) }
            pieces[pieces.count - 1] += username.bytes
            pieces[pieces.count - 1].append(.space)
            digest.write(to: &pieces[pieces.count - 1])
            pieces[pieces.count - 1].append(.newline)
        }
        used = []
        return pieces
    }

    /// Forgets old secrets whose time is over.
    public mutating func expireOverlaps(at now: Moment) {
        guard overlaps.contains(where: { $0.value.until <= now.steady }) else { return }
        overlaps = overlaps.filter { $0.value.until > now.steady }
        hasWithdrawn = true
    }

    /// Takes over one entry of the state file.
    public mutating func restore(_ entry: JournalEntry, at now: Moment) {
        switch entry {
        case .set(let username, let digest):
            _ = set(username, digest)
        case .overlap(let username, let new, let old, let until):
            minted.set(username, new)
            // A wall clock that was set back must not lengthen an overlap beyond the longest one.
            let remaining = min(until - now.wall, IdentityChange.overlapSecondsMax)
            overlaps[username] = remaining > 0 ? Overlap(old: old, until: now.steady + remaining) : nil
        case .remove(let username):
            minted.remove(username)
            overlaps[username] = nil
        }
    }

    /// Forgets all agents and gateways.
    public mutating func forgetMinted() {
        minted = IdentityTable()
        overlaps = [:]
        hasWithdrawn = true
    }

    /// Writes all agents and gateways as a state file, in pieces of about `pieceBytes`.
    public func writeState(at now: Moment, pieceBytes: Int = 1 << 20, to sink: ([UInt8]) -> Bool) -> Bool {
        var piece: [UInt8] = []
        piece.reserveCapacity(pieceBytes + 512)
        var isWritten = true
        minted.visit { name, digest in
            JournalEntry.writeSet(name, digest, to: &piece)
            if piece.count >= pieceBytes {
                isWritten = isWritten && sink(piece)
                piece.removeAll(keepingCapacity: true)
            }
        }
        for (username, overlap) in overlaps {
            guard let new = minted.digest(of: username.bytes.span) else { continue }
            let until = now.wall + overlap.until - now.steady
            JournalEntry.overlap(username, new: new, old: overlap.old, until: until).write(to: &piece)
        }
        return isWritten && sink(piece)
    }

    private func table(of username: Username) -> IdentityTable {
        switch username.kind {
        case .operator, .service: fixed
        case .gateway, .agent: minted
        }
    }

    private mutating func set(_ username: Username, _ digest: SecretDigest) -> JournalEntry? {
        let before = minted.digest(of: username.bytes.span)
        let hadOverlap = overlaps.removeValue(forKey: username) != nil
        if before == digest, !hadOverlap { return nil }
        minted.set(username, digest)
        if before != nil { hasWithdrawn = true }
        return .set(username, digest)
    }

    private mutating func overlap(
        _ username: Username, _ digest: SecretDigest, seconds: Int, at now: Moment
    ) -> JournalEntry? {
        guard let before = minted.digest(of: username.bytes.span) else { return set(username, digest) }
        // A repeat of the same change is no second rotation.
        if before == digest { return nil }
        // A new secret that was never used is replaced; the one in use stays the old one.
        let old = overlaps[username]?.old ?? before
        overlaps[username] = Overlap(old: old, until: now.steady + seconds)
        minted.set(username, digest)
        hasWithdrawn = true
        return .overlap(username, new: digest, old: old, until: now.wall + seconds)
    }

    private mutating func commit() {
        guard let begun else { return }
        var next = overlaps.filter { username, _ in
            minted.digest(of: username.bytes.span) == begun.table.digest(of: username.bytes.span)
        }
        for (username, rotation) in begun.rotations {
            guard let old = rotation.superseded.first else { continue }
            let before = minted.digest(of: username.bytes.span)
            // What was seen of the newest secret counts: its overlap lasts, or is over.
            if let before, before == begun.table.digest(of: username.bytes.span) {
                if overlaps[username] == nil { used.append((username, before)) }
                continue
            }
            // A rotation that was not heard of: the secret in use is the old one, as if it were told now.
            let inUse = before.map(rotation.superseded.contains) == true ? overlaps[username]?.old ?? before : nil
            next[username] = Overlap(old: inUse ?? old, until: rotation.until)
        }
        overlaps = next
        minted = begun.table
        self.begun = nil
        hasWithdrawn = true
    }
}
