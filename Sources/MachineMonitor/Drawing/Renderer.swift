/// How many colours a terminal has.
package enum ColorDepth: Sendable, CaseIterable {
    /// None, or the user wants none.
    case none
    /// The sixteen of ECMA-48 and aixterm.
    case sixteen
    /// The 256 of xterm.
    case many

    /// What the environment says: NO_COLOR (no-color.org), COLORTERM and TERM.
    package init(_ environment: [String: String]) {
        let terminal = environment["TERM"] ?? ""
        if !(environment["NO_COLOR"] ?? "").isEmpty || terminal.isEmpty || terminal == "dumb"
            || terminal.hasPrefix("vt") || terminal.hasSuffix("-mono") || terminal.hasSuffix("-m")
        {
            self = .none
        } else if ["truecolor", "24bit"].contains(environment["COLORTERM"] ?? "") || terminal.contains("256color")
            || terminal.contains("direct")
        {
            self = .many
        } else {
            self = .sixteen
        }
    }
}

/// Frames as the bytes that draw them on a terminal (ECMA-48).
package struct Renderer: Sendable {
    private let depth: ColorDepth
    private let cells: CellText
    private var shown: [Line] = []
    private var size = (width: 0, height: 0)

    /// A renderer for a terminal, of whose screen nothing is known.
    package init(_ depth: ColorDepth, _ cells: CellText) { (self.depth, self.cells) = (depth, cells) }

    /// Forgets what the screen shows, so that the next frame is drawn from scratch.
    package mutating func forget() { shown = [] }

    /// What makes the screen show a frame: only the lines that differ from what it shows.
    package mutating func text(_ frame: [Line], width: Int, height: Int) -> String {
        var text = ""
        if size != (width, height) || shown.isEmpty {
            shown = []
            size = (width, height)
            text = "\u{1b}[0m\u{1b}[2J"
        }
        for (row, line) in frame.prefix(height).enumerated() where row >= shown.count || shown[row] != line {
            text += "\u{1b}[\(row + 1);1H" + self.text(line.fitted(to: width, cells))
        }
        shown = frame
        return text
    }

    private func text(_ line: Line) -> String {
        var text = ""
        var column = 1
        for piece in line.pieces {
            let code = code(piece.style)
            text += code.isEmpty ? piece.text : "\u{1b}[\(code)m" + piece.text + "\u{1b}[0m"
            column += cells.width(piece.text)
            // The terminal may take other characters for wider or narrower: what follows is put where it belongs.
            if piece.text.utf8.contains(where: { $0 >= 0x7f }) { text += "\u{1b}[\(column)G" }
        }
        return text
    }

    /// The parameters of SGR.
    private func code(_ style: Style) -> String {
        switch style {
        case .plain: ""
        case .heading: "1;4"
        case .focused: "1;7"
        case .faint: "2"
        case .strong: "1"
        case .selected: "7"
        case .good: depth == .none ? "" : depth == .many ? "38;5;34" : "32"
        case .caution: depth == .none ? "1" : depth == .many ? "1;38;5;172" : "1;33"
        case .alarm: depth == .none ? "1" : depth == .many ? "1;38;5;196" : "1;31"
        case .node(let node):
            switch depth {
            case .none: ""
            case .sixteen: "30;4\(Self.sixteen[node % Self.sixteen.count])"
            case .many: "38;5;16;48;5;\(Self.many[node % Self.many.count])"
            }
        }
    }

    // Backgrounds on which black text is easy to read.
    private static let sixteen = [2, 3, 6, 5, 7]
    private static let many = [114, 215, 117, 182, 186, 151, 174, 153, 180, 146, 209, 80]
}
