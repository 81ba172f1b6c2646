internal import Model

/// An id as one value of a fixed size: it is looked up by its bytes, without a string that would have to be made of them.
struct PackedIdentifier: Hashable, Sendable {
    private var words = SIMD8<UInt64>.zero

    /// - Precondition: it is an id.
    init(_ id: String) {
        self.init(id.utf8.span)!
    }

    /// `nil` for what is too long to be an id, or ends in a zero, as none does.
    init?(_ bytes: Span<UInt8>) {
        guard bytes.count <= Identifier.lengthMax, bytes.isEmpty || bytes[bytes.count - 1] != 0 else { return nil }
        withUnsafeMutableBytes(of: &words) { words in bytes.withUnsafeBytes { words.copyMemory(from: $0) } }
    }

    /// No byte of an id is zero: behind the first word that is, all are.
    func hash(into hasher: inout Hasher) {
        for lane in words.indices {
            guard words[lane] != 0 else { return }
            hasher.combine(words[lane])
        }
    }
}
