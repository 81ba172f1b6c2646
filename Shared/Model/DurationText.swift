/// A duration as people write it: an integer and a unit, `500ms`, `30s`, `10m`, `2h`, `30d`.
///
/// The unit is kept, so that what an operator wrote is what an operator reads.
public struct DurationText: Hashable, Sendable, CustomStringConvertible {
    public enum Unit: String, CaseIterable, Sendable {
        case milliseconds = "ms"
        case seconds = "s"
        case minutes = "m"
        case hours = "h"
        case days = "d"

        var inMilliseconds: Int64 {
            switch self {
            case .milliseconds: 1
            case .seconds: 1_000
            case .minutes: 60_000
            case .hours: 3_600_000
            case .days: 86_400_000
            }
        }
    }

    /// The shortest and the longest duration that is accepted: 100 ms and 30 days.
    public static let shortest = TimeSpan(milliseconds: 100)
    public static let longest = TimeSpan(milliseconds: 30 * 86_400_000)

    public let count: Int64
    public let unit: Unit

    public init(_ count: Int64, _ unit: Unit) {
        self.count = count
        self.unit = unit
    }

    /// A duration from its text. Refuses with a sentence that names the bound that is broken.
    ///
    /// - Parameter mayBeZero: whether `0s` is accepted besides.
    public init(parsing text: String, mayBeZero: Bool = false) throws(InvalidValue) {
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        guard !digits.isEmpty, let count = Int64(digits),
            let unit = Unit(rawValue: String(text.dropFirst(digits.count)))
        else {
            throw InvalidValue(
                "'\(text.prefix(40))' is not a duration: an integer and a unit, as 500ms, 30s, 10m, 2h, 30d")
        }
        let (milliseconds, overflow) = count.multipliedReportingOverflow(by: unit.inMilliseconds)
        guard !overflow, milliseconds >= DurationText.shortest.milliseconds || (mayBeZero && milliseconds == 0),
            milliseconds <= DurationText.longest.milliseconds
        else {
            throw InvalidValue(
                "'\(text.prefix(40))' is out of bounds: \(mayBeZero ? "0s, or " : "")100ms to 30d")
        }
        self.init(count, unit)
    }

    public var span: TimeSpan { TimeSpan(milliseconds: count.times(unit.inMilliseconds)) }
    public var description: String { "\(count)\(unit.rawValue)" }
}

/// A value that is refused, with the reason in a sentence for the person who wrote it.
public struct InvalidValue: Error, Hashable, Sendable, CustomStringConvertible {
    public let reason: String

    public init(_ reason: String) {
        self.reason = reason
    }

    public var description: String { reason }
}

/// A rate as people write it: events in a second, `50/s`; `0` is no limit.
public struct Rate: Hashable, Sendable, CustomStringConvertible {
    public static let perSecondMax = 1_000_000

    public let perSecond: Int

    public init(perSecond: Int) {
        self.perSecond = perSecond
    }

    /// A rate from `50/s`, or `0` for no limit.
    public init(parsing text: String) throws(InvalidValue) {
        let number = text.hasSuffix("/s") ? text.dropLast(2) : text[...]
        guard !number.isEmpty, number.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
            let count = Int(number), text.hasSuffix("/s") || count == 0
        else { throw InvalidValue("'\(text.prefix(40))' is not a rate: an integer and /s, as 50/s, or 0 for no limit") }
        guard count <= Rate.perSecondMax else {
            throw InvalidValue("'\(text.prefix(40))' is out of bounds: 0 to \(Rate.perSecondMax)/s")
        }
        self.init(perSecond: count)
    }

    public var isUnlimited: Bool { perSecond == 0 }
    public var description: String { perSecond == 0 ? "0" : "\(perSecond)/s" }
}

extension DurationText: Codable {
    public init(from decoder: any Decoder) throws {
        let text = try decoder.singleValueContainer().decode(String.self)
        do {
            try self.init(parsing: text)
        } catch {
            throw DecodingError.dataCorrupted(.init(codingPath: decoder.codingPath, debugDescription: error.reason))
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}
