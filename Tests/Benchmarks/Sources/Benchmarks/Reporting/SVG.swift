import Foundation

/// A drawing, as text: rectangles, lines and words are all that a plot takes.
struct SVG {
    private var body = ""

    /// Where words are hung up.
    enum Anchor: String { case start, middle, end }

    mutating func rectangle(x: Double, y: Double, width: Double, height: Double, fill: String) {
        add(
            "rect",
            "x=\"\(n(x))\" y=\"\(n(y))\" width=\"\(n(max(width, 0)))\" height=\"\(n(height))\" rx=\"2\" fill=\"\(fill)\""
        )
    }

    mutating func line(from: (x: Double, y: Double), to: (x: Double, y: Double), class style: String) {
        add("line", "x1=\"\(n(from.x))\" y1=\"\(n(from.y))\" x2=\"\(n(to.x))\" y2=\"\(n(to.y))\" class=\"\(style)\"")
    }

    mutating func text(_ words: String, x: Double, y: Double, anchor: Anchor = .start, class style: String = "") {
        let named = style.isEmpty ? "" : " class=\"\(style)\""
        body +=
            "  <text x=\"\(n(x))\" y=\"\(n(y))\" text-anchor=\"\(anchor.rawValue)\"\(named)>\(Self.escaped(words))</text>\n"
    }

    /// The whole file. No background: the page's shows through, and the greys stand out on white and on black.
    func document(width: Double, height: Double, title: String) -> String {
        """
        <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \(n(width)) \(n(height))" width="\(n(width))" \
        height="\(n(height))" role="img">
          <title>\(Self.escaped(title))</title>
          <style>
            text { font: 12px system-ui, sans-serif; fill: #7d8590 }
            .title { font-weight: 600; font-size: 14px }
            .row { font-weight: 600 }
            .grid { stroke: #7d8590; stroke-opacity: .25 }
            .spread { stroke: #57606a; stroke-width: 1.5 }
          </style>
        \(body)</svg>

        """
    }

    private mutating func add(_ element: String, _ attributes: String) { body += "  <\(element) \(attributes)/>\n" }

    private static func escaped(_ words: String) -> String {
        words.replacingOccurrences(of: "&", with: "&amp;").replacingOccurrences(of: "<", with: "&lt;")
            .replacingOccurrences(of: "`", with: "")
    }

    private func n(_ value: Double) -> String {
        let text = String(format: "%.1f", value)
        return text.hasSuffix(".0") ? String(text.dropLast(2)) : text
    }
}
