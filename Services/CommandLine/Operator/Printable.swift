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

    /// What the last column keeps at least.
    private static let lastWidthMin = 24

    let header: [String]
    var rows: [[Cell]] = []
    /// Columns that are left out, the first one first, where the whole is too wide.
    var expendable: [String] = []

    init(_ header: [String]) {
        self.header = header
    }

    /// One line for the header and one a row; the last column is not filled up.
    ///
    /// - Parameter columns: of the terminal: what is left out so that a line fits, then the last column is cut.
    func text(_ style: Style, columns: Int? = nil) -> String {
        let all = [header.map { Cell($0, .bold) }] + rows
        let allWidths = header.indices.map { column in all.map { $0[column].text.count }.max() ?? 0 }
        let shown = columns.map { shownColumns(allWidths, within: $0) } ?? Array(header.indices)
        let widths = shown.map { allWidths[$0] }
        let rest = columns.map { max(1, $0 - widths.dropLast().reduce(0) { $0 + $1 + 2 }) }
        return all.map { row in
            var line = shown.map { row[$0] }
            if let rest, let last = line.last, last.text.count > rest {
                line[line.count - 1] = Cell(last.text.prefix(rest - 1) + "…", last.colour)
            }
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

    private func shownColumns(_ widths: [Int], within columns: Int) -> [Int] {
        var shown = Array(header.indices)
        for name in expendable {
            let whole = shown.dropLast().reduce(0) { $0 + widths[$1] + 2 }
            if whole + min(shown.last.map { widths[$0] } ?? 0, Table.lastWidthMin) <= columns { break }
            shown.removeAll { header[$0] == name }
        }
        return shown
    }
}
