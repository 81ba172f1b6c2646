/// One template, parsed: text with placeholders.
///
/// - `{{name}}` stands for a variable's value; blanks around the name do not count. It ends on the line it began on.
/// - `{{{{` is a literal `{{`. A `}}` outside a placeholder is text.
/// - `{{!preserve}}` alone on the first line marks a file that its agent fills in: the line itself is not rendered.
///
/// A value is inserted as it is and never searched for placeholders.
struct TemplateText: Hashable, Sendable {
    enum Segment: Hashable, Sendable {
        case text(String)
        case variable(String, line: Int)
    }

    /// The template as errors name it.
    let file: String
    let preserve: Bool
    let segments: [Segment]

    init(file: String, source: String) throws(TemplateError) {
        var parser = TemplateParser(file: file, source: source)
        try parser.parse()
        self.file = file
        preserve = parser.preserve
        segments = parser.segments
    }
}

private struct TemplateParser {
    let file: String
    let bytes: [UInt8]
    var position = 0
    var line = 1
    var text: [UInt8] = []
    var segments: [TemplateText.Segment] = []
    var preserve = false

    init(file: String, source: String) {
        self.file = file
        bytes = Array(source.utf8)
    }

    mutating func parse() throws(TemplateError) {
        while position < bytes.count {
            if starts(with: "{{{{") {
                text += "{{".utf8
                position += 4
            } else if starts(with: "{{") {
                try parsePlaceholder()
            } else {
                if bytes[position] == UInt8(ascii: "\n") { line += 1 }
                text.append(bytes[position])
                position += 1
            }
        }
        endText()
    }

    private mutating func parsePlaceholder() throws(TemplateError) {
        let start = position
        position += 2
        while !starts(with: "}}") {
            guard position < bytes.count, bytes[position] != UInt8(ascii: "\n") else {
                throw TemplateError(.unclosedPlaceholder, file: file, line: line)
            }
            position += 1
        }
        let name = trimmed(bytes[(start + 2)..<position])
        position += 2

        if name.first == UInt8(ascii: "!") {
            try parseDirective(String(decoding: name, as: UTF8.self), start: start)
            return
        }
        let variable = String(decoding: name, as: UTF8.self)
        guard !name.isEmpty else { throw TemplateError(.emptyName, file: file, line: line, variable: "") }
        guard TemplateVariables.isValidName(variable) else {
            throw TemplateError(.invalidName, file: file, line: line, variable: variable)
        }
        endText()
        segments.append(.variable(variable, line: line))
    }

    private mutating func parseDirective(_ directive: String, start: Int) throws(TemplateError) {
        guard directive == "!preserve" else {
            throw TemplateError(.unknownDirective, file: file, line: line, variable: directive)
        }
        let isLineEnd = position == bytes.count || starts(with: "\n") || starts(with: "\r\n")
        guard start == 0, isLineEnd else {
            throw TemplateError(.misplacedDirective, file: file, line: line, variable: directive)
        }
        preserve = true
        if starts(with: "\r") { position += 1 }
        if starts(with: "\n") {
            position += 1
            line += 1
        }
    }

    private mutating func endText() {
        guard !text.isEmpty else { return }
        segments.append(.text(String(decoding: text, as: UTF8.self)))
        text.removeAll()
    }

    private func starts(with mark: StaticString) -> Bool {
        mark.withUTF8Buffer { bytes[position...].starts(with: $0) }
    }

    private func trimmed(_ name: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        let isBlank = { (byte: UInt8) in byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }
        var rest = name.drop(while: isBlank)
        while let last = rest.last, isBlank(last) { rest.removeLast() }
        return rest
    }
}
