internal import Bus
internal import Glibc
internal import Model

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
/// Writing never waits (`LogOutput`), and a flood of one event is thinned out (`LogThrottle`); what was not written is counted and
/// told.
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
        // Who asks for the finest level wants every line of it.
        let leftOut = level == .debug ? 0 : Log.sink.withLock { $0.throttle.admit(name, now: Clock.now()) }
        guard let leftOut else { return }
        let count: [(key: String, value: LogValue)] = leftOut > 0 ? [("left_out", LogValue(leftOut))] : []
        write(name, level, members + count)
        tellDropped()
    }

    /// Writes text that is no event; for people.
    public func say(_ text: String) {
        Log.sink.withLock { $0.output.write(Array(text.utf8)) }
    }

    /// Writes what waits for the reader and tells what was left out. Whoever runs a loop calls it each turn.
    public func flush() {
        let untold = Log.sink.withLock { sink in
            sink.output.flush()
            return sink.throttle.takeUntold(now: Clock.now())
        }
        for (name, count) in untold {
            write("log.left_out", .warning, [("of", LogValue(name)), ("count", LogValue(count))])
        }
        tellDropped()
    }

    /// Gives the reader a moment to take the rest, before the process ends.
    public func finish() {
        flush()
        Log.sink.withLock { $0.output.finish(milliseconds: Log.finishMilliseconds) }
        tellDropped()
    }

    private static let finishMilliseconds: Int32 = 300

    /// What all logs of this process share.
    private struct Sink {
        var output = LogOutput(1)
        var throttle = LogThrottle()
    }

    private static let sink = Locked(Sink())

    private func tellDropped() {
        let count = Log.sink.withLock { $0.output.takeDropped() }
        if count > 0 { write("log.dropped", .warning, [("count", LogValue(count))]) }
    }

    private func write(_ name: String, _ level: LogLevel, _ members: [(key: String, value: LogValue)]) {
        let time = Clock.wallTime().description
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
        say(line)
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

/// A value that several threads use in turn.
///
/// Its lock is held while `body` runs and nowhere else reaches the value: that makes it `Sendable`.
private final class Locked<Value>: @unchecked Sendable {
    private var value: Value
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)

    init(_ value: Value) {
        self.value = value
        pthread_mutex_init(mutex, nil)
    }

    deinit {
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
    }

    func withLock<Result>(_ body: (inout Value) -> Result) -> Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return body(&value)
    }
}
