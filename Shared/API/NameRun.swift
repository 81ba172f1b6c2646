/// Names of agents as one run of bytes, each with a space behind it, which no id holds: nothing is allocated for one of them.
public struct NameRun: Hashable, Sendable {
    private var bytes: [UInt8] = []
    public private(set) var count = 0

    public init() {}

    public init(_ names: some Sequence<String>) {
        for name in names { append(name.utf8) }
    }

    /// From the text that it is encoded as.
    package init(text: String) {
        bytes = Array(text.utf8)
        count = bytes.reduce(0) { $0 + ($1 == UInt8(ascii: " ") ? 1 : 0) }
    }

    public var isEmpty: Bool { count == 0 }
    public var byteCount: Int { bytes.count }

    public mutating func append(_ name: String) { append(name.utf8) }

    mutating func append(_ name: some Collection<UInt8>) {
        bytes.append(contentsOf: name)
        bytes.append(UInt8(ascii: " "))
        count += 1
    }

    /// Lets `body` look at each name where it lies.
    public func forEachName(_ body: (Span<UInt8>) -> Void) {
        let span = bytes.span
        var start = 0
        for end in span.indices where span[end] == UInt8(ascii: " ") {
            body(span.extracting(start..<end))
            start = end + 1
        }
    }

    /// The same names as strings.
    public var strings: [String] {
        bytes.split(separator: UInt8(ascii: " ")).map { String(decoding: $0, as: UTF8.self) }
    }

    /// The same names in runs of at most so many.
    public func parts(of countMax: Int) -> [NameRun] {
        guard count > countMax else { return [self] }
        var parts = [NameRun()]
        forEachName { name in
            if parts[parts.count - 1].count == countMax { parts.append(NameRun()) }
            name.withUnsafeBufferPointer { parts[parts.count - 1].append($0) }
        }
        return parts
    }
}

extension NameRun: Codable {
    public init(from decoder: any Decoder) throws {
        self.init(text: try decoder.singleValueContainer().decode(String.self))
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(String(decoding: bytes, as: UTF8.self))
    }
}
