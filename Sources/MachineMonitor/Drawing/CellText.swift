import CLinux

/// Text as the cells of a terminal have it.
package struct CellText: Sendable {
    /// Whether the terminal shows Unicode; else only ASCII.
    package let isUnicode: Bool

    /// Text for a terminal that shows Unicode, or only ASCII.
    package init(isUnicode: Bool) { self.isUnicode = isUnicode }

    /// The marks that are put over a character at most: without a limit a name could fill the screen.
    private static let markLimit = 2

    /// The cells of a scalar; nil for one that must not be written as it is: what controls the terminal, changes the direction of
    /// the text, or is as wide as the terminal likes.
    private func width(of scalar: Unicode.Scalar) -> Int? {
        if scalar.value < 0x7f { return scalar.value < 0x20 ? nil : 1 }
        guard isUnicode else { return nil }
        switch scalar.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse, .unassigned: return nil
        default: break
        }
        if scalar.properties.isVariationSelector { return nil }
        let width = clinux_character_width(scalar.value)
        return width < 0 ? nil : Int(width)
    }

    /// A name in the cells of one line: what must not be written is escaped, as `\u{7}`.
    package func shown(_ text: String) -> String {
        guard text.utf8.contains(where: { $0 < 0x20 || $0 >= 0x7f }) else { return text }
        var shown = String.UnicodeScalarView()
        var marks = Self.markLimit
        for scalar in text.unicodeScalars {
            switch width(of: scalar) {
            case 0? where marks < Self.markLimit:
                marks += 1
                shown.append(scalar)
            case let width? where width > 0:
                marks = 0
                shown.append(scalar)
            default:
                // A mark over an escape would be over its brace.
                marks = Self.markLimit
                shown.append(contentsOf: scalar.escaped(asASCII: true).unicodeScalars)
            }
        }
        return String(shown)
    }

    /// The cells of a text that is ``shown(_:)``.
    package func width(_ text: String) -> Int {
        let bytes = text.utf8.count
        if !text.utf8.contains(where: { $0 >= 0x7f }) { return bytes }
        return text.unicodeScalars.reduce(0) { $0 + (width(of: $1) ?? 1) }
    }

    /// The mark of what was cut off.
    package var ellipsis: String { isUnicode ? "…" : "~" }

    /// A text that is ``shown(_:)``, in exactly `width` cells: cut off, or with blanks.
    package func fitted(_ text: String, to width: Int, isLeading: Bool = true) -> String {
        guard width > 0 else { return "" }
        let wanted = self.width(text)
        if wanted <= width {
            let blanks = String(repeating: " ", count: width - wanted)
            return isLeading ? text + blanks : blanks + text
        }
        var (cut, taken) = ("", 0)
        for character in text {
            let cells = self.width(String(character))
            if taken + cells > width - 1 { break }
            cut.append(character)
            taken += cells
        }
        return cut + ellipsis + String(repeating: " ", count: width - 1 - taken)
    }
}
