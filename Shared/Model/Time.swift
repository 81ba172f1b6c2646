/// A reading of a monotonic clock that also counts suspension (`CLOCK_BOOTTIME`), in nanoseconds.
///
/// Deadlines are judged on it. Readings of two machines cannot be compared: what crosses the bus is an age.
///
/// All arithmetic of times ends at the farthest that there is (`plus`, `minus`, `times`): spans and stamps come from outside, and
/// what is due in ten thousand years is due never.
public struct Instant: Hashable, Comparable, Sendable {
    public let nanoseconds: Int64

    public init(nanoseconds: Int64) {
        self.nanoseconds = nanoseconds
    }

    public static func < (left: Instant, right: Instant) -> Bool { left.nanoseconds < right.nanoseconds }

    public static func + (instant: Instant, span: TimeSpan) -> Instant {
        Instant(nanoseconds: instant.nanoseconds.plus(span.milliseconds.times(1_000_000)))
    }

    public static func - (instant: Instant, span: TimeSpan) -> Instant {
        Instant(nanoseconds: instant.nanoseconds.minus(span.milliseconds.times(1_000_000)))
    }

    /// Milliseconds from `earlier` to this instant, rounded down; negative when `earlier` is the later one.
    public func milliseconds(since earlier: Instant) -> Int64 {
        nanoseconds(since: earlier) / 1_000_000
    }

    /// Nanoseconds from `earlier` to this instant; negative when `earlier` is the later one.
    public func nanoseconds(since earlier: Instant) -> Int64 {
        nanoseconds.minus(earlier.nanoseconds)
    }
}

/// A span of time in whole milliseconds.
public struct TimeSpan: Hashable, Comparable, Sendable {
    public let milliseconds: Int64

    public init(milliseconds: Int64) {
        self.milliseconds = milliseconds
    }

    public static func < (left: TimeSpan, right: TimeSpan) -> Bool { left.milliseconds < right.milliseconds }
    public static func + (left: TimeSpan, right: TimeSpan) -> TimeSpan {
        TimeSpan(milliseconds: left.milliseconds.plus(right.milliseconds))
    }
    public static let zero = TimeSpan(milliseconds: 0)
    public static func seconds(_ count: Int64) -> TimeSpan { TimeSpan(milliseconds: count.times(1_000)) }
    public var seconds: Double { Double(milliseconds) / 1_000 }
}

/// A point of wall-clock time for people, as RFC 3339 in UTC with milliseconds. It decides nothing.
public struct Timestamp: Hashable, Comparable, Sendable, CustomStringConvertible {
    public let millisecondsSince1970: Int64

    public init(millisecondsSince1970: Int64) {
        self.millisecondsSince1970 = millisecondsSince1970
    }

    public static func < (left: Timestamp, right: Timestamp) -> Bool {
        left.millisecondsSince1970 < right.millisecondsSince1970
    }

    public static func + (wallTime: Timestamp, span: TimeSpan) -> Timestamp {
        Timestamp(millisecondsSince1970: wallTime.millisecondsSince1970.plus(span.milliseconds))
    }

    public static func - (wallTime: Timestamp, span: TimeSpan) -> Timestamp {
        Timestamp(millisecondsSince1970: wallTime.millisecondsSince1970.minus(span.milliseconds))
    }

    /// From `earlier` to this point; negative when `earlier` is the later one.
    public func span(since earlier: Timestamp) -> TimeSpan {
        TimeSpan(milliseconds: millisecondsSince1970.minus(earlier.millisecondsSince1970))
    }

    /// The years that four digits can write, 0000 to 9999 (RFC 3339 §5.6).
    private static let writable: ClosedRange<Int64> = -62_167_219_200_000...253_402_300_799_999

    private static func nearestWritable(_ milliseconds: Int64) -> Int64 {
        min(max(milliseconds, writable.lowerBound), writable.upperBound)
    }

    /// `2026-01-31T09:05:07.042Z`; of a point outside of what can be written, the nearest that can.
    public var description: String {
        let (days, milliseconds) = Timestamp.nearestWritable(millisecondsSince1970)
            .flooredQuotientAndRemainder(dividingBy: 86_400_000)
        let (year, month, day) = Timestamp.civil(fromDays: days)
        let seconds = milliseconds / 1_000
        var text = ""
        text.reserveCapacity(24)
        Timestamp.append(year, width: 4, to: &text)
        text += "-"
        Timestamp.append(month, width: 2, to: &text)
        text += "-"
        Timestamp.append(day, width: 2, to: &text)
        text += "T"
        Timestamp.append(seconds / 3_600, width: 2, to: &text)
        text += ":"
        Timestamp.append(seconds / 60 % 60, width: 2, to: &text)
        text += ":"
        Timestamp.append(seconds % 60, width: 2, to: &text)
        text += "."
        Timestamp.append(milliseconds % 1_000, width: 3, to: &text)
        text += "Z"
        return text
    }

    /// A timestamp from RFC 3339 text with any offset and any number of fractional digits; `nil` for anything else. One that
    /// lies in no year of four digits in UTC is the nearest that does: it can be written again.
    public init?(_ text: String) {
        var reader = DigitReader(text)
        guard let year = reader.number(4), reader.take("-"), let month = reader.number(2), (1...12).contains(month),
            reader.take("-"), let day = reader.number(2), (1...Timestamp.days(inMonth: month, of: year)).contains(day),
            reader.take("T") || reader.take("t") || reader.take(" "), let hour = reader.number(2), hour < 24,
            reader.take(":"), let minute = reader.number(2), minute < 60, reader.take(":"),
            let second = reader.number(2), second <= 60, let fraction = reader.fractionInMilliseconds(),
            let offset = reader.offsetInMinutes(), reader.isAtEnd
        else { return nil }
        let days = Timestamp.days(fromYear: year, month: month, day: day)
        let minutes = days * 1_440 + hour * 60 + minute - offset
        self.init(millisecondsSince1970: Timestamp.nearestWritable((minutes * 60 + second) * 1_000 + fraction))
    }

    private static func append(_ number: Int64, width: Int, to text: inout String) {
        let digits = String(number)
        for _ in 0..<max(0, width - digits.utf8.count) { text += "0" }
        text += digits
    }

    private static func days(inMonth month: Int64, of year: Int64) -> Int64 {
        switch month {
        case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
        case 4, 6, 9, 11: 30
        default: 31
        }
    }

    /// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
    private static func civil(fromDays days: Int64) -> (year: Int64, month: Int64, day: Int64) {
        let shifted = days + 719_468
        let (era, dayOfEra) = shifted.flooredQuotientAndRemainder(dividingBy: 146_097)
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * shiftedMonth + 2) / 5 + 1)
    }

    /// Howard Hinnant, `days_from_civil`.
    private static func days(fromYear year: Int64, month: Int64, day: Int64) -> Int64 {
        let shiftedYear = month <= 2 ? year - 1 : year
        let (era, yearOfEra) = shiftedYear.flooredQuotientAndRemainder(dividingBy: 400)
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
    }
}

extension Timestamp: Codable {
    public init(from decoder: any Decoder) throws {
        let text = try decoder.singleValueContainer().decode(String.self)
        guard let wallTime = Timestamp(text) else {
            throw DecodingError.dataCorrupted(
                .init(
                    codingPath: decoder.codingPath,
                    debugDescription: "not a time of RFC 3339, as 2026-01-31T09:05:07.042Z"))
        }
        self = wallTime
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}

extension Int64 {
    /// The sum, or the bound of `Int64` that lies before it: for numbers that come from outside.
    public func plus(_ other: Int64) -> Int64 {
        let (sum, overflow) = addingReportingOverflow(other)
        return overflow ? (self < 0 ? .min : .max) : sum
    }

    /// The difference, or the bound of `Int64` that lies before it.
    public func minus(_ other: Int64) -> Int64 {
        let (difference, overflow) = subtractingReportingOverflow(other)
        return overflow ? (self < 0 ? .min : .max) : difference
    }

    /// The product, or the bound of `Int64` that lies before it.
    public func times(_ other: Int64) -> Int64 {
        let (product, overflow) = multipliedReportingOverflow(by: other)
        return overflow ? ((self < 0) == (other < 0) ? .max : .min) : product
    }

    fileprivate func flooredQuotientAndRemainder(dividingBy divisor: Int64) -> (Int64, Int64) {
        let (quotient, remainder) = quotientAndRemainder(dividingBy: divisor)
        return remainder < 0 ? (quotient - 1, remainder + divisor) : (quotient, remainder)
    }
}

/// Reads the fixed-width fields of a timestamp.
private struct DigitReader {
    private var rest: ArraySlice<UInt8>

    init(_ text: String) {
        rest = Array(text.utf8)[...]
    }

    var isAtEnd: Bool { rest.isEmpty }

    mutating func take(_ character: Unicode.Scalar) -> Bool {
        guard let first = rest.first, UInt32(first) == character.value else { return false }
        rest = rest.dropFirst()
        return true
    }

    mutating func number(_ width: Int) -> Int64? {
        guard rest.count >= width else { return nil }
        var value: Int64 = 0
        for byte in rest.prefix(width) {
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else { return nil }
            value = value * 10 + Int64(byte - UInt8(ascii: "0"))
        }
        rest = rest.dropFirst(width)
        return value
    }

    mutating func fractionInMilliseconds() -> Int64? {
        guard take(".") else { return 0 }
        var value: Int64 = 0
        var digits = 0
        while let digit = number(1) {
            if digits < 3 { value = value * 10 + digit }
            digits += 1
        }
        guard digits > 0 else { return nil }
        for _ in 0..<max(0, 3 - digits) { value *= 10 }
        return value
    }

    mutating func offsetInMinutes() -> Int64? {
        if take("Z") || take("z") { return 0 }
        let sign: Int64
        if take("+") { sign = 1 } else if take("-") { sign = -1 } else { return nil }
        guard let hours = number(2), hours < 24, take(":"), let minutes = number(2), minutes < 60 else { return nil }
        return sign * (hours * 60 + minutes)
    }
}
