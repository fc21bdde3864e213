/// A drawing that is as wide as it is asked to be.
public protocol Chart: Sendable {
    /// The drawing and its height.
    ///
    /// - Parameter width: in pixels, from 320 on; text has 12 of them.
    func draw(width: Double) -> (drawing: SVG, height: Double)
}

/// A key of a legend.
public struct LegendKey: Sendable {
    /// What it stands for.
    public let name: String
    /// How it looks.
    public let sample: Sample

    /// A sample of a key.
    public enum Sample: Sendable {
        /// An area.
        case area(Fill)
        /// Path data within 16 × 16, with a style of drawings.
        case symbol(String, class: String)
    }

    /// A key.
    public init(_ name: String, _ sample: Sample) {
        self.name = name
        self.sample = sample
    }

    /// The key of an area.
    public init(_ name: String, _ fill: Fill) { self.init(name, .area(fill)) }

    func html(_ fills: inout Set<Fill>) -> String {
        var drawing = SVG()
        switch sample {
        case .area(let fill): drawing.rectangle(x: 0, y: 0, width: 16, height: 16, fill: fill)
        case .symbol(let path, let style): drawing.path(path, class: style)
        }
        fills.formUnion(drawing.fills)
        return "<li>" + drawing.sample + Markup.escaped(name) + "</li>"
    }
}

extension SVG {
    /// The drawing as a sample within a line of text.
    fileprivate var sample: String {
        "<svg class=\"sample\" viewBox=\"0 0 16 16\" width=\"16\" height=\"16\" aria-hidden=\"true\">\(content)</svg>"
    }
}

/// A chart with what explains it: a title, a description for who cannot see it, and a legend.
public struct Picture: Sendable {
    let title: String
    let description: String
    let chart: any Chart
    let legend: [LegendKey]
    /// Whether the marks of the class `marks` may be switched off, and what they are called.
    let marks: String?

    /// A picture.
    ///
    /// - Parameters:
    ///   - title: one line, for the top of the picture.
    ///   - description: what there is to see, for who cannot see it.
    ///   - chart: what is drawn.
    ///   - legend: the keys of the colours, in order.
    ///   - marks: the name of what is drawn in groups of class `marks`, which the reader may then switch off.
    public init(
        _ title: String, description: String, _ chart: some Chart, legend: [LegendKey] = [], marks: String? = nil
    ) {
        self.title = title
        self.description = description
        self.chart = chart
        self.legend = legend
        self.marks = marks
    }

    /// The widths for screens and for small screens, of which the page shows one.
    private static let widths = [("wide", 1060.0), ("narrow", 360.0)]

    func html(_ id: String, _ fills: inout Set<Fill>) -> String {
        var html = "<figure>\n<figcaption>\(Markup.escaped(title))</figcaption>\n"
        if let marks {
            html +=
                "<label class=\"switch\"><input type=\"checkbox\" checked=\"\" /> \(Markup.escaped(marks))</label>\n"
        }
        if !legend.isEmpty {
            html += "<ul class=\"legend\">" + legend.map { $0.html(&fills) }.joined() + "</ul>\n"
        }
        for (name, width) in Self.widths {
            let (drawing, height) = chart.draw(width: width)
            fills.formUnion(drawing.fills)
            html += drawing.inline(
                "\(id)-\(name)", width: width, height: height, title: title, description: description,
                attributes: "class=\"\(name)\"")
        }
        return html + "</figure>\n"
    }
}
