internal import Bus
internal import Glibc
internal import Model
internal import ServiceHost

/// Where a subcommand writes, how, and what time it is there.
struct Console {
    let style: Style
    /// Problems go to standard error as JSON.
    let isJSON: Bool

    init(_ arguments: ParsedArguments) {
        isJSON = arguments.has("json")
        let isTerminal = isatty(1) == 1 && arguments.environmentValue("TERM") != "dumb"
        style = Style(isColoured: isTerminal && (arguments.environmentValue("NO_COLOR") ?? "").isEmpty)
    }

    /// How wide the terminal is; `nil` without one.
    var columns: Int? { Terminal.columns(1) }

    var now: Timestamp { Clock.wallTime() }

    /// Writes to standard output; when nobody reads any more the program ends.
    func write(_ text: String) {
        write(Array(text.utf8))
    }

    func write(_ bytes: [UInt8]) {
        guard !Console.write(bytes, to: 1) else { return }
        exit(errno == EPIPE ? ExitStatus.done : ExitStatus.failed)
    }

    /// One line on standard error.
    func complain(_ text: String) {
        _ = Console.write(Array("\(text)\n".utf8), to: 2)
    }

    /// A document of one line.
    func writeDocument(_ bytes: [UInt8]) {
        write(bytes + [UInt8(ascii: "\n")])
    }

    private static func write(_ bytes: [UInt8], to descriptor: Int32) -> Bool {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR || errno == EAGAIN { continue }
            guard count > 0 else { return false }
            rest = rest.dropFirst(count)
        }
        return true
    }
}
