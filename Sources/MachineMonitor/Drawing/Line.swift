/// How a piece of a line looks. No fact is told by it alone.
package enum Style: Hashable, Sendable {
    /// As the terminal writes.
    case plain
    /// A heading.
    case heading
    /// The heading of the panel that the keys go to.
    case focused
    /// What is there for completeness.
    case faint
    /// What is worth a look.
    case strong
    /// A line that is selected.
    case selected
    /// All is well.
    case good
    /// Not yet bad.
    case caution
    /// Bad.
    case alarm
    /// Of a node, by its place among the nodes.
    case node(Int)
}

/// A line of a frame: pieces of text, each in a style.
package struct Line: Sendable, Hashable {
    /// A piece.
    package struct Piece: Sendable, Hashable {
        /// The text, which is shown as it is.
        package var text: String
        /// Its style.
        package var style: Style
    }

    /// The pieces, from the left.
    package private(set) var pieces: [Piece] = []

    /// An empty line.
    package init() {}

    /// A line of one piece.
    package init(_ text: String, _ style: Style = .plain) { add(text, style) }

    /// Appends a piece.
    package mutating func add(_ text: String, _ style: Style = .plain) {
        guard !text.isEmpty else { return }
        if let last = pieces.indices.last, pieces[last].style == style {
            pieces[last].text += text
        } else {
            pieces.append(Piece(text: text, style: style))
        }
    }

    /// Appends the pieces of another line.
    package mutating func add(_ line: Line) { for piece in line.pieces { add(piece.text, piece.style) } }

    /// The same text in one style.
    package func inStyle(_ style: Style) -> Line { Line(text, style) }

    /// The text without styles.
    package var text: String { pieces.map(\.text).joined() }

    /// The text without styles, and without blanks at its end.
    package var trimmed: String {
        var text = text
        while text.last == " " { text.removeLast() }
        return text
    }

    /// The line in exactly `width` cells.
    package func fitted(to width: Int, _ cells: CellText) -> Line {
        var line = Line()
        var left = width
        for piece in pieces {
            let wanted = cells.width(piece.text)
            guard wanted > left else {
                line.add(piece.text, piece.style)
                left -= wanted
                continue
            }
            line.add(cells.fitted(piece.text, to: left), piece.style)
            return line
        }
        line.add(String(repeating: " ", count: left), pieces.last?.style == .selected ? .selected : .plain)
        return line
    }
}
