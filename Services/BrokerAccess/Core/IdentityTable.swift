/// Usernames and the digests of their secrets: a hash table made for a million of them.
///
/// `Dictionary<String, …>` costs a heap object for every name and twice the memory. Here names lie in one array of bytes,
/// records in a second, and slots (open addressing, linear probing, at most three quarters full) hold record numbers.
public struct IdentityTable: Sendable {
    private struct Record {
        var digest: SecretDigest
        var nameStart: UInt32
        var nameLength: UInt8
        var hash: UInt32
    }

    private static let emptySlot = UInt32.max
    private static let slotsMin = 16

    private var slots = [UInt32](repeating: emptySlot, count: slotsMin)
    private var records: [Record] = []
    private var names: [UInt8] = []
    private var namesUnused = 0
    /// How many agents each gateway has.
    private var agentCounts: [[UInt8]: Int] = [:]

    public init() {}

    public var count: Int { records.count }

    /// The digest kept for a username; `nil` when the username is unknown. O(1).
    public func digest(of name: borrowing Span<UInt8>) -> SecretDigest? {
        guard let slot = slot(of: name, hash: IdentityTable.hash(of: name)) else { return nil }
        return records[Int(slots[slot])].digest
    }

    /// Whether a username is known. O(1).
    public func contains(_ name: borrowing Span<UInt8>) -> Bool {
        slot(of: name, hash: IdentityTable.hash(of: name)) != nil
    }

    /// How many agents of a gateway are known. O(1).
    func agentCount(of gateway: Username) -> Int { agentCounts[gateway.bytes] ?? 0 }

    /// Adds a username or replaces the digest of a known one.
    public mutating func set(_ username: Username, _ digest: SecretDigest) {
        let hash = IdentityTable.hash(of: username.bytes.span)
        if let slot = slot(of: username.bytes.span, hash: hash) {
            records[Int(slots[slot])].digest = digest
            return
        }
        if (records.count + 1) * 4 > slots.count * 3 { grow() }
        let start = UInt32(names.count)
        names.append(contentsOf: username.bytes)
        let length = UInt8(username.bytes.count)
        records.append(Record(digest: digest, nameStart: start, nameLength: length, hash: hash))
        occupy(hash: hash, record: UInt32(records.count - 1))
        if let gateway = username.gateway { agentCounts[gateway, default: 0] += 1 }
    }

    /// Forgets a username; `false` when it was not known.
    @discardableResult
    public mutating func remove(_ username: Username) -> Bool {
        let hash = IdentityTable.hash(of: username.bytes.span)
        guard let slot = slot(of: username.bytes.span, hash: hash) else { return false }
        if let gateway = username.gateway, let count = agentCounts[gateway] {
            agentCounts[gateway] = count > 1 ? count - 1 : nil
        }
        let record = Int(slots[slot])
        closeGap(at: slot)
        let last = records.count - 1
        if record != last {
            slots[slotHolding(record: last)] = UInt32(record)
            records.swapAt(record, last)
        }
        namesUnused += Int(records.removeLast().nameLength)
        if namesUnused > 4096, namesUnused * 2 > names.count { compactNames() }
        return true
    }

    /// Shows every username with its digest, in no particular order.
    public func visit(_ body: (_ name: ArraySlice<UInt8>, _ digest: SecretDigest) -> Void) {
        for record in records {
            body(names[Int(record.nameStart)..<Int(record.nameStart) + Int(record.nameLength)], record.digest)
        }
    }

    private static func hash(of name: borrowing Span<UInt8>) -> UInt32 {
        // Seeded by process: nobody can choose usernames that collide.
        var hasher = Hasher()
        name.withUnsafeBytes { hasher.combine(bytes: $0) }
        return UInt32(truncatingIfNeeded: hasher.finalize())
    }

    private func slot(of name: borrowing Span<UInt8>, hash: UInt32) -> Int? {
        let mask = slots.count - 1
        var slot = Int(hash) & mask
        while slots[slot] != IdentityTable.emptySlot {
            let record = records[Int(slots[slot])]
            if record.hash == hash, isNamed(record, name) { return slot }
            slot = (slot + 1) & mask
        }
        return nil
    }

    private func isNamed(_ record: Record, _ name: borrowing Span<UInt8>) -> Bool {
        guard Int(record.nameLength) == name.count else { return false }
        let start = Int(record.nameStart)
        for index in 0..<name.count where names[start + index] != name[index] { return false }
        return true
    }

    private func slotHolding(record: Int) -> Int {
        let mask = slots.count - 1
        var slot = Int(records[record].hash) & mask
        while slots[slot] != UInt32(record) { slot = (slot + 1) & mask }
        return slot
    }

    private mutating func occupy(hash: UInt32, record: UInt32) {
        let mask = slots.count - 1
        var slot = Int(hash) & mask
        while slots[slot] != IdentityTable.emptySlot { slot = (slot + 1) & mask }
        slots[slot] = record
    }

    private mutating func grow() {
        slots = [UInt32](repeating: IdentityTable.emptySlot, count: slots.count * 2)
        for index in records.indices { occupy(hash: records[index].hash, record: UInt32(index)) }
    }

    /// Empties a slot and moves up what had to pass over it (Knuth, TAOCP vol. 3, 6.4, algorithm R).
    private mutating func closeGap(at slot: Int) {
        let mask = slots.count - 1
        var gap = slot
        var next = (slot + 1) & mask
        while slots[next] != IdentityTable.emptySlot {
            let home = Int(records[Int(slots[next])].hash) & mask
            if (next - home) & mask >= (next - gap) & mask {
                slots[gap] = slots[next]
                gap = next
            }
            next = (next + 1) & mask
        }
        slots[gap] = IdentityTable.emptySlot
    }

    private mutating func compactNames() {
        var compacted: [UInt8] = []
        compacted.reserveCapacity(names.count - namesUnused)
        for index in records.indices {
            let start = Int(records[index].nameStart)
            records[index].nameStart = UInt32(compacted.count)
            compacted.append(contentsOf: names[start..<start + Int(records[index].nameLength)])
        }
        names = compacted
        namesUnused = 0
    }
}
