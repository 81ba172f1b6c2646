internal import CLinux
internal import Glibc
public import Model

/// One option of a program: `--name VALUE`, or a flag.
public struct OptionSpecification: Sendable {
    public let name: String
    /// What stands for the value in the help; `nil` for a flag, in brackets when a duration may follow or not.
    public let value: String?
    public let help: String
    /// The environment variable that gives the value when the option is absent.
    public let environment: String?
    public let isRepeatable: Bool

    var isValueOptional: Bool { value?.hasPrefix("[") ?? false }

    public init(
        _ name: String, value: String? = nil, environment: String? = nil, isRepeatable: Bool = false, help: String
    ) {
        self.name = name
        self.value = value
        self.help = help
        self.environment = environment
        self.isRepeatable = isRepeatable
    }
}

/// Bad usage: the program says why and ends with status 2.
public struct UsageError: Error, Hashable, Sendable, CustomStringConvertible {
    public let reason: String

    public init(_ reason: String) {
        self.reason = reason
    }

    public var description: String { reason }
}

/// The arguments of a program, parsed by `getopt_long` (GNU C library): long options with `--name VALUE` or `--name=VALUE`,
/// unambiguous abbreviations, `--` before arguments that begin with a dash.
public struct ParsedArguments: Sendable {
    private var values: [String: [String]] = [:]
    public private(set) var positional: [String] = []
    private let environment: [String: String]
    private let specifications: [String: OptionSpecification]

    /// - Throws: `UsageError` that names the option.
    public init(
        _ arguments: [String], options: [OptionSpecification],
        environment: [String: String] = ParsedArguments.processEnvironment()
    )
        throws(UsageError)
    {
        self.environment = environment
        specifications = Dictionary(options.map { ($0.name, $0) }) { first, _ in first }
        var names: [UnsafeMutablePointer<CChar>?] = options.map { strdup($0.name) }
        let arguments = ParsedArguments.joined(arguments, options)
        var list: [UnsafeMutablePointer<CChar>?] = (["rollcall"] + arguments).map { strdup($0) } + [nil]
        defer { for pointer in names + list { free(pointer) } }
        var table = zip(options, names).map { specification, name in
            let kind = specification.value == nil ? no_argument : required_argument
            return option(
                name: name, has_arg: specification.isValueOptional ? optional_argument : kind, flag: nil, val: 0)
        }
        table.append(option(name: nil, has_arg: 0, flag: nil, val: 0))
        rollcall_lock_options()
        defer { rollcall_unlock_options() }
        var restart: Int32 = 1
        var position: Int32 = 1
        names.reserveCapacity(names.count)
        while true {
            var value: UnsafePointer<CChar>?
            let given = Int(position)
            let index = rollcall_next_option(Int32(list.count - 1), &list, table, &value, &position, restart)
            restart = 0
            let text = value.map { String(cString: $0) }
            switch index {
            case -1:
                for pointer in list[Int(position)...] { if let pointer { positional.append(String(cString: pointer)) } }
                return
            case -2:
                let word = ParsedArguments.argument(list, given, position)
                throw UsageError("unknown option \(word)" + meant(by: word, among: options.map { "--" + $0.name }))
            case -3: throw UsageError("option \(ParsedArguments.argument(list, given, position)) needs a value")
            case -4:
                throw UsageError(
                    "option \(ParsedArguments.argument(list, given, position)) is unknown or takes no value")
            case -5: positional.append(text ?? "")
            default:
                let specification = options[Int(index)]
                if !specification.isRepeatable, values[specification.name] != nil {
                    throw UsageError("option --\(specification.name) is given twice")
                }
                values[specification.name, default: []].append(text ?? "")
            }
        }
    }

    /// `--wait 2s` as `--wait=2s`: of a value that may be absent the C library takes no other form.
    private static func joined(_ arguments: [String], _ options: [OptionSpecification]) -> [String] {
        let names = Set(options.filter(\.isValueOptional).map { "--" + $0.name })
        guard !names.isEmpty else { return arguments }
        var result: [String] = []
        for argument in arguments {
            // What is no duration is an argument of its own.
            if let last = result.last, names.contains(last), (try? DurationText(parsing: argument)) != nil {
                result[result.count - 1] += "=" + argument
            } else {
                result.append(argument)
            }
        }
        return result
    }

    private static func argument(_ list: [UnsafeMutablePointer<CChar>?], _ given: Int, _ position: Int32) -> String {
        let index = max(1, min(Int(position) - 1, list.count - 2))
        return list[index].map { String(cString: $0) } ?? (list[given].map { String(cString: $0) } ?? "")
    }

    /// The value of an option, or of its environment variable.
    public func value(_ name: String) -> String? {
        if let value = values[name]?.last { return value }
        guard let variable = specifications[name]?.environment, let value = environment[variable], !value.isEmpty else {
            return nil
        }
        return value
    }

    public func values(_ name: String) -> [String] { values[name] ?? [] }
    /// Whether a flag is set.
    public func has(_ name: String) -> Bool { values[name] != nil }
    public func environmentValue(_ name: String) -> String? { environment[name] }

    public func integer(_ name: String, in bounds: ClosedRange<Int>) throws(UsageError) -> Int? {
        guard let text = value(name) else { return nil }
        guard let number = Int(text), bounds.contains(number) else {
            throw UsageError("--\(name): '\(text)' is not an integer from \(bounds.lowerBound) to \(bounds.upperBound)")
        }
        return number
    }

    public func duration(_ name: String) throws(UsageError) -> TimeSpan? {
        guard let text = value(name) else { return nil }
        if text.isEmpty, specifications[name]?.isValueOptional ?? false { return nil }
        do {
            return try DurationText(parsing: text).span
        } catch {
            throw UsageError("--\(name): \(error.reason)")
        }
    }

    /// The environment of this process.
    public static func processEnvironment() -> [String: String] {
        var result: [String: String] = [:]
        var pointer = rollcall_environment()
        while let entry = pointer?.pointee {
            let text = String(cString: entry)
            if let equals = text.firstIndex(of: "=") {
                result[String(text[..<equals])] = String(text[text.index(after: equals)...])
            }
            pointer = pointer?.advanced(by: 1)
        }
        return result
    }
}

/// `: is 'status' meant?` for the known word that is nearest to a misspelt one; empty when none is near.
public func meant(by word: String, among known: [String]) -> String {
    let name = String(word.prefix { $0 != "=" })
    let distances = known.map { (word: $0, edits: edits(from: name, to: $0)) }
    guard let nearest = distances.min(by: { $0.edits < $1.edits }), nearest.edits <= min(3, name.count / 2) else {
        return ""
    }
    return ": is '\(nearest.word)' meant?"
}

/// How many letters must be changed, added or removed (Levenshtein's distance).
private func edits(from word: String, to other: String) -> Int {
    var row = Array(0...other.count)
    for (index, letter) in word.enumerated() {
        var diagonal = row[0]
        row[0] = index + 1
        for (column, otherLetter) in other.enumerated() {
            let replaced = diagonal + (letter == otherLetter ? 0 : 1)
            diagonal = row[column + 1]
            row[column + 1] = min(replaced, diagonal + 1, row[column] + 1)
        }
    }
    return row[other.count]
}

/// The help of a program: usage, description, options.
public func helpText(usage: String, description: String, options: [OptionSpecification]) -> String {
    var text = "Usage: \(usage)\n\n\(description)\n"
    guard !options.isEmpty else { return text }
    text += "\nOptions:\n"
    for specification in options {
        let left = "  --\(specification.name)" + (specification.value.map { " \($0)" } ?? "")
        let padding = String(repeating: " ", count: max(1, 34 - left.count))
        let environment = specification.environment.map { " [\($0)]" } ?? ""
        text +=
            (left.count > 33 ? left + "\n" + String(repeating: " ", count: 34) : left + padding) + specification.help
            + environment + "\n"
    }
    return text
}
