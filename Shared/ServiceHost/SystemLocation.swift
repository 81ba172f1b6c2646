internal import Glibc

/// `DIR/operator.env`: where the system that `rollcall up` runs in DIR is reached, and as whom.
///
/// It is a file for a shell (`. DIR/operator.env`); this reads it as a shell would, without running anything.
public enum SystemLocation {
    public static let defaultDirectory = ".rollcall"
    public static let fileName = "operator.env"
    // What else lies in the directory and is changed by hand or by `rollcall identity` and `rollcall token`.
    public static let identities = "identities"
    public static let secrets = "secrets"
    public static let httpTokens = "http-tokens"
    public static let database = "rollcall.db"
    /// A larger file is not one of ours.
    static let fileBytesMax = 65_536

    public static let option = OptionSpecification(
        "data", value: "DIR", environment: "ROLLCALL_DATA",
        help: "directory of 'rollcall up', whose operator.env names the broker (default .rollcall)")

    /// The file of an identity's secret: `svc:reconciler/1` is kept as `svc-reconciler-1`.
    public static func secretFileName(of username: String) -> String {
        String(username.map { $0 == ":" || $0 == "/" ? "-" : $0 })
    }

    /// The variables of the lines `[export ]NAME=VALUE`; a value is a row of `'…'`, `"…"`, `\c` and plain characters.
    public static func values(in text: String) -> [String: String] {
        var result: [String: String] = [:]
        for line in text.split(whereSeparator: \.isNewline) {
            var rest = line.drop { $0 == " " || $0 == "\t" }
            if rest.hasPrefix("export ") { rest = rest.dropFirst(7).drop { $0 == " " } }
            guard !rest.hasPrefix("#"), let equals = rest.firstIndex(of: "=") else { continue }
            result[String(rest[..<equals])] = unquoted(rest[rest.index(after: equals)...])
        }
        return result
    }

    private static func unquoted(_ text: Substring) -> String {
        var result = ""
        var quote: Character?
        var rest = text
        while let character = rest.popFirst() {
            switch (quote, character) {
            case ("'", "'"), ("\"", "\""): quote = nil
            case ("'", _): result.append(character)
            case (_, "\\"): if let next = rest.popFirst() { result.append(next) }
            case ("\"", _): result.append(character)
            case (nil, "'"), (nil, "\""): quote = character
            case (nil, " "), (nil, "\t"), (nil, ";"): return result
            default: result.append(character)
            }
        }
        return result
    }

    /// The text of `DIR/operator.env`; `nil` when it cannot be read.
    static func text(in directory: String) -> String? {
        guard let file = fopen("\(directory)/\(fileName)", "re") else { return nil }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: fileBytesMax)
        let count = fread(&bytes, 1, bytes.count, file)
        return String(validating: bytes.prefix(count), as: UTF8.self)
    }
}

extension ParsedArguments {
    /// Arguments whose environment says where the system is: `--broker`, `--data`, `ROLLCALL_BROKER`, then `operator.env` of
    /// `ROLLCALL_DATA` or of `.rollcall`.
    ///
    /// - Throws: `UsageError` for bad options, and for a directory that was named and has no readable `operator.env`.
    public static func locatingSystem(
        _ arguments: [String], options: [OptionSpecification],
        environment: [String: String] = ParsedArguments.processEnvironment()
    ) throws(UsageError) -> ParsedArguments {
        let parsed = try ParsedArguments(arguments, options: options, environment: environment)
        guard parsed.values("broker").isEmpty, !parsed.has("help") else { return parsed }
        let isNamed = !parsed.values("data").isEmpty
        if !isNamed, parsed.value("broker") != nil { return parsed }
        let directory = parsed.value("data") ?? SystemLocation.defaultDirectory
        guard let text = SystemLocation.text(in: directory) else {
            guard !isNamed else {
                throw UsageError("--data: \(directory)/\(SystemLocation.fileName) cannot be read")
            }
            return parsed
        }
        let merged = environment.merging(SystemLocation.values(in: text)) { _, fromFile in fromFile }
        return try ParsedArguments(arguments, options: options, environment: merged)
    }
}
