internal import Bus
internal import Glibc
internal import Lifecycle

/// A value of a log event's member.
public enum LogValue: Hashable, Sendable, ExpressibleByStringLiteral, ExpressibleByIntegerLiteral {
    case string(String)
    case integer(Int64)
    case number(Double)
    case bool(Bool)

    public init(stringLiteral value: String) { self = .string(value) }
    public init(integerLiteral value: Int64) { self = .integer(value) }
    public init(_ value: some CustomStringConvertible) { self = .string(value.description) }
    public init(_ value: Int) { self = .integer(Int64(value)) }
    public init(_ value: Double) { self = .number(value) }
}

public enum LogLevel: Int, Comparable, Sendable, CaseIterable {
    case debug, info, warning, error

    public var name: String {
        switch self {
        case .debug: "debug"
        case .info: "info"
        case .warning: "warning"
        case .error: "error"
        }
    }

    public init?(name: String) {
        guard let level = LogLevel.allCases.first(where: { $0.name == name }) else { return nil }
        self = level
    }

    public static func < (left: LogLevel, right: LogLevel) -> Bool { left.rawValue < right.rawValue }
}

/// One line an event on standard output, as text for people or JSON for programs.
///
/// Each line is one `write(2)`: a killed process loses none that was written, two processes never mix theirs.
public struct Log: Sendable {
    public enum Format: String, Sendable, CaseIterable {
        case text, json
    }

    public let service: String
    public let instance: String
    public let format: Format
    public let level: LogLevel

    public init(service: String, instance: String, format: Format, level: LogLevel) {
        self.service = service
        self.instance = instance
        self.format = format
        self.level = level
    }

    /// Writes one event with its members, in their order.
    public func event(_ name: String, _ level: LogLevel = .info, _ members: KeyValuePairs<String, LogValue> = [:]) {
        event(name, level, Array(members))
    }

    public func event(_ name: String, _ level: LogLevel, _ members: [(key: String, value: LogValue)]) {
        guard level >= self.level else { return }
        let time = Clock.stamp().description
        var line: String
        switch format {
        case .json:
            line =
                "{\"time\":\"\(time)\",\"level\":\"\(level.name)\",\"service\":\(Log.quoted(service)),\"instance\":\(Log.quoted(instance)),\"event\":\(Log.quoted(name))"
            for (key, value) in members { line += ",\(Log.quoted(key)):\(Log.json(value))" }
            line += "}\n"
        case .text:
            line = "\(time) \(level.name.uppercased()) \(service)/\(instance) \(name)"
            for (key, value) in members { line += " \(key)=\(Log.text(value))" }
            line += "\n"
        }
        var bytes = Array(line.utf8)[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes { write(1, $0.baseAddress, $0.count) }
            if count < 0 {
                guard errno == EINTR else { return }  // nobody reads: a log must not stop the service
                continue
            }
            bytes = bytes.dropFirst(count)
        }
    }

    private static func json(_ value: LogValue) -> String {
        switch value {
        case .string(let text): quoted(text)
        case .integer(let number): String(number)
        case .number(let number): number.isFinite ? String(number) : "null"
        case .bool(let flag): flag ? "true" : "false"
        }
    }

    private static func text(_ value: LogValue) -> String {
        guard case .string(let text) = value else { return json(value) }
        let isPlain =
            !text.isEmpty
            && text.utf8.allSatisfy { $0 > 32 && $0 != UInt8(ascii: "\"") && $0 != UInt8(ascii: "=") && $0 != 127 }
        return isPlain ? text : quoted(text)
    }

    static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            case _ where scalar.value < 32 || scalar.value == 127:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}
