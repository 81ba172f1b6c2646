/// Text from elsewhere made safe for a terminal.
enum Printable {
    /// Control characters and those that turn the direction of writing are shown by their number: what an agent says cannot
    /// drive the terminal of who reads it.
    static func text(_ text: String) -> String {
        guard text.unicodeScalars.contains(where: isUnsafe) else { return text }
        return text.unicodeScalars.reduce(into: "") { result, scalar in
            if isUnsafe(scalar) {
                result += "\\u{" + String(scalar.value, radix: 16) + "}"
            } else {
                result.unicodeScalars.append(scalar)
            }
        }
    }

    private static func isUnsafe(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0..<0x20, 0x7f..<0xa0, 0x2028...0x202e, 0x2066...0x2069: true
        default: false
        }
    }
}

/// Colours of a terminal (ECMA-48 §8.3.117), or none.
struct Style: Hashable, Sendable {
    enum Colour: String, Sendable {
        case green = "32"
        case yellow = "33"
        case red = "31"
        case dim = "2"
        case bold = "1"
    }

    let isColoured: Bool

    static let plain = Style(isColoured: false)

    func paint(_ text: String, _ colour: Colour?) -> String {
        guard isColoured, let colour, !text.isEmpty else { return text }
        return "\u{1b}[\(colour.rawValue)m\(text)\u{1b}[0m"
    }
}

/// Rows in columns that line up.
struct Table {
    struct Cell: ExpressibleByStringLiteral {
        let text: String
        let colour: Style.Colour?

        init(_ text: String, _ colour: Style.Colour? = nil) {
            self.text = Printable.text(text)
            self.colour = colour
        }

        init(stringLiteral value: String) {
            self.init(value)
        }
    }

    let header: [String]
    var rows: [[Cell]] = []

    init(_ header: [String]) {
        self.header = header
    }

    /// One line for the header and one a row; the last column is not filled up.
    func text(_ style: Style) -> String {
        let lines = [header.map { Cell($0, .bold) }] + rows
        let widths = header.indices.map { column in lines.map { $0[column].text.count }.max() ?? 0 }
        return lines.map { line in
            var text = ""
            for (column, cell) in line.enumerated() {
                let isLast = line[(column + 1)...].allSatisfy(\.text.isEmpty)
                text += style.paint(cell.text, cell.colour)
                if isLast { break }
                text += String(repeating: " ", count: widths[column] - cell.text.count + 2)
            }
            return text + "\n"
        }.joined()
    }
}
