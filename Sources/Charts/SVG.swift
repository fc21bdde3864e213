/// A drawing, as text.
public struct SVG: Sendable {
    /// Where words are hung up.
    public enum Anchor: String, Sendable {
        /// They begin there.
        case start
        /// Their middle is there.
        case middle
        /// They end there.
        case end
    }

    private var body = ""
    var content: String { body }
    /// The fills in use, which the page or the file has to define.
    private(set) var fills: Set<Fill> = []

    /// An empty drawing.
    public init() {}

    /// Adds a rectangle; its title is what a pointer shows.
    public mutating func rectangle(
        x: Double, y: Double, width: Double, height: Double, fill: Fill, title: String? = nil
    ) {
        fills.insert(fill)
        add(
            "rect",
            "x=\"\(n(x))\" y=\"\(n(y))\" width=\"\(n(max(width, 0)))\" height=\"\(n(height))\" class=\"f-\(fill.name)\"",
            title)
    }

    /// Adds a line.
    public mutating func line(from: (x: Double, y: Double), to: (x: Double, y: Double), class style: String) {
        add("line", "x1=\"\(n(from.x))\" y1=\"\(n(from.y))\" x2=\"\(n(to.x))\" y2=\"\(n(to.y))\" class=\"\(style)\"")
    }

    /// Adds a filled area of path data.
    public mutating func area(_ path: String, fill: Fill, title: String? = nil) {
        fills.insert(fill)
        add("path", "d=\"\(path)\" class=\"f-\(fill.name)\"", title)
    }

    /// Adds path data with a style.
    public mutating func path(_ path: String, class style: String, title: String? = nil) {
        add("path", "d=\"\(path)\" class=\"\(style)\"", title)
    }

    /// Adds words.
    public mutating func text(
        _ words: String, x: Double, y: Double, anchor: Anchor = .start, class style: String = "", title: String? = nil
    ) {
        let named = style.isEmpty ? "" : " class=\"\(style)\""
        let title = title.map { "<title>\(Markup.escaped($0))</title>" } ?? ""
        body +=
            "<text x=\"\(n(x))\" y=\"\(n(y))\" text-anchor=\"\(anchor.rawValue)\"\(named)>"
            + "\(title)\(Markup.escaped(words))</text>\n"
    }

    /// Adds what `draw` adds as a group of its own.
    public mutating func group(class style: String, _ draw: (inout SVG) -> Void) {
        body += "<g class=\"\(style)\">\n"
        draw(&self)
        body += "</g>\n"
    }

    /// As many characters of words as about fit into a width at the usual size, with an ellipsis for the rest.
    public static func fitting(_ words: String, into width: Double) -> String {
        var left = width
        var end = words.startIndex
        var endWithEllipsis = words.startIndex
        for index in words.indices {
            left -= Self.width(of: words[index])
            guard left >= 0 else { return words[..<endWithEllipsis] + "…" }
            end = words.index(after: index)
            if left >= 12 { endWithEllipsis = end }
        }
        return words
    }

    /// About the width of a character at the usual size, rather too much than too little.
    private static func width(of character: Character) -> Double {
        // Letters of the far East and small pictures are twice as wide.
        if character.unicodeScalars.contains(where: { $0.value >= 0x1100 && $0.value != 0x2068 && $0.value != 0x2069 })
        {
            return 13
        }
        if "mwMW@%".contains(character) { return 12 }
        return character.isUppercase ? 9.5 : 7
    }

    /// The drawing as a part of a page, which defines the fills.
    ///
    /// - Parameter id: of the page's own, another for each drawing: letters, digits and `-`.
    func inline(_ id: String, width: Double, height: Double, title: String, description: String, attributes: String)
        -> String
    {
        "<svg viewBox=\"0 0 \(n(width)) \(n(height))\" role=\"img\" aria-labelledby=\"\(id)-t \(id)-d\" \(attributes)>"
            + "<title id=\"\(id)-t\">\(Markup.escaped(title))</title><desc id=\"\(id)-d\">\(Markup.escaped(description))</desc>\n"
            + "\(body)</svg>\n"
    }

    /// The whole file. It has no ground: that of the page shows through, and its colours are those that the reader prefers.
    public func document(width: Double, height: Double, title: String) -> String {
        """
        <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \(n(width)) \(n(height))" width="\(n(width))" \
        height="\(n(height))" role="img">
        <title>\(Markup.escaped(title))</title>
        <style>\(Style.colours)\(Style.drawing)\(Style.rules(of: fills))</style>
        <defs>\(Style.definitions(of: fills))</defs>
        \(body)</svg>

        """
    }

    /// Adds an element as it is.
    mutating func raw(_ element: String) { body += element }

    private mutating func add(_ element: String, _ attributes: String, _ title: String? = nil) {
        if let title {
            body += "<\(element) \(attributes)><title>\(Markup.escaped(title))</title></\(element)>\n"
        } else {
            body += "<\(element) \(attributes)/>\n"
        }
    }

    private func n(_ value: Double) -> String { Markup.number(value) }
}
