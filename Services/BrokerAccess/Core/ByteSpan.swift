/// Comparisons of borrowed bytes: what the broker lends is looked at in place and never copied.
extension Span<UInt8> {
    /// Whether both hold the same bytes.
    func holdsSame(as other: Span<UInt8>) -> Bool {
        guard count == other.count else { return false }
        return begins(with: other)
    }

    /// Whether these bytes begin with all of `prefix`.
    func begins(with prefix: Span<UInt8>) -> Bool {
        guard prefix.count <= count else { return false }
        for index in 0..<prefix.count where self[index] != prefix[index] { return false }
        return true
    }

    /// The first position of `byte` at or after `start`; `count` when there is none.
    func position(of byte: UInt8, from start: Int = 0) -> Int {
        var index = start
        while index < count, self[index] != byte { index += 1 }
        return index
    }

    /// A copy that outlives the loan.
    func copied() -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            for index in 0..<count { buffer.initializeElement(at: index, to: self[index]) }
            initialized = count
        }
    }
}

extension UInt8 {
    static let slash = UInt8(ascii: "/")
    static let colon = UInt8(ascii: ":")
    static let tilde = UInt8(ascii: "~")
    static let plus = UInt8(ascii: "+")
    static let hash = UInt8(ascii: "#")
    static let space = UInt8(ascii: " ")
    static let newline = UInt8(ascii: "\n")
}
