/// The colours of pictures. They are those that people with any kind of colour vision tell apart (after Okabe and Ito), a little darker on
/// white and lighter on black, so that each has a contrast of 3 : 1 at least with the ground.
public enum Colour: String, Sendable, Hashable, CaseIterable {
    case blue
    case orange
    case green
    case purple
    case amber
    case cyan
    /// For what is a limit or nothing in particular.
    case grey
    /// The same once more.
    case silver

    var light: String {
        switch self {
        case .blue: "#0072b2"
        case .orange: "#d55e00"
        case .green: "#00805e"
        case .purple: "#a8559b"
        case .amber: "#a87b00"
        case .cyan: "#2990c4"
        case .grey: "#5f6871"
        case .silver: "#858e98"
        }
    }

    var dark: String {
        switch self {
        case .blue: "#4b9fe0"
        case .orange: "#f0803c"
        case .green: "#2fb890"
        case .purple: "#d58fcb"
        case .amber: "#e0b040"
        case .cyan: "#8fd3f7"
        case .grey: "#8b949e"
        case .silver: "#b4bcc5"
        }
    }
}

/// The patterns of areas: no picture is read by its colours alone.
public enum Pattern: String, Sendable, Hashable, CaseIterable {
    case solid
    case rising
    case dotted
    case falling
    case level
    case crossed

    /// What lies on the colour, within 8 × 8.
    var lines: String? {
        switch self {
        case .solid: nil
        case .rising: "M-2 2l4-4M0 8l8-8M6 10l4-4"
        case .dotted: "M1 2h2M5 6h2"
        case .falling: "M-2 6l4 4M0 0l8 8M6-2l4 4"
        case .level: "M0 2h8M0 6h8"
        case .crossed: "M0 4h8M4 0v8"
        }
    }
}

/// How an area is filled: a colour and a pattern.
public struct Fill: Sendable, Hashable {
    /// The colour.
    public var colour: Colour
    /// The pattern on it.
    public var pattern: Pattern

    /// A colour, with a pattern on it.
    public init(_ colour: Colour, _ pattern: Pattern = .solid) {
        self.colour = colour
        self.pattern = pattern
    }

    /// The fill of one of several series: neither the colour nor the pattern is that of a series beside it.
    public init(series number: Int) {
        let colours: [Colour] = [.blue, .orange, .green, .purple, .amber, .cyan]
        let number = max(0, number)
        let patterns = Pattern.allCases
        self.init(colours[number % colours.count], patterns[(number + number / colours.count) % patterns.count])
    }

    var name: String { "\(colour.rawValue)-\(pattern.rawValue)" }

    /// The definition of its pattern; nil for a plain colour.
    var definition: String? {
        guard let lines = pattern.lines else { return nil }
        return "<pattern id=\"p-\(name)\" width=\"8\" height=\"8\" patternUnits=\"userSpaceOnUse\">"
            + "<rect width=\"8\" height=\"8\" class=\"f-\(colour.rawValue)-solid\"/><path d=\"\(lines)\" class=\"on\"/></pattern>"
    }

    var rule: String {
        ".f-\(name){fill:" + (pattern == .solid ? "var(--\(colour.rawValue))" : "url(#p-\(name))") + "}"
    }
}

/// Rules of CSS that drawings and pages share.
enum Style {
    private static func variables(
        _ ground: String, _ ink: String, _ quiet: String, _ faint: String, _ shade: String, _ on: String
    )
        -> String
    {
        "--ground:\(ground);--ink:\(ink);--quiet:\(quiet);--faint:\(faint);--shade:\(shade);--on:\(on);"
    }

    /// The colours on white, and those on black for who prefers that.
    static let colours: String = {
        func list(_ colour: KeyPath<Colour, String>) -> String {
            Colour.allCases.map { "--\($0.rawValue):\($0[keyPath: colour])" }.joined(separator: ";")
        }
        let light = variables("#fff", "#1c2128", "#57606a", "#d0d7de", "#f3f5f7", "#ffffffb0") + list(\.light)
        let dark = variables("#0d1117", "#e6edf3", "#9da7b1", "#30363d", "#161b22", "#0d1117a8") + list(\.dark)
        return ":root{\(light)}@media(prefers-color-scheme:dark){:root{\(dark)}}"
    }()

    /// What is in a drawing.
    static let drawing =
        "svg text{font:12px system-ui,sans-serif;fill:var(--quiet)}svg .title{font-weight:600;font-size:14px;fill:var(--ink)}"
        + "svg .row{font-weight:600;fill:var(--ink)}svg .grid{stroke:var(--faint);fill:none}svg .axis{stroke:var(--quiet);fill:none}"
        + "svg .spread{stroke:var(--ink);stroke-width:1.5;fill:none}svg .seam{stroke:var(--ground);stroke-width:1}"
        + "svg .on{stroke:var(--on);stroke-width:1.6;fill:none}"
        + "svg .edge{stroke:var(--ground);stroke-width:1.5;fill:none}svg .moment{stroke:var(--ink);stroke-width:1.5;stroke-dasharray:4 3}"
        + "svg .mark{stroke:var(--ink);stroke-width:2;fill:none}svg .halo{stroke:var(--ground);stroke-width:4;fill:none}"
        + "svg .dots{fill:var(--ink);stroke:var(--ground);stroke-width:.7}svg .shade{fill:var(--shade)}"
        + "svg .crisp{shape-rendering:crispEdges}"

    static func rules(of fills: Set<Fill>) -> String {
        let all = fills.union(fills.map { Fill($0.colour) })
        return all.map(\.rule).sorted().joined()
    }

    static func definitions(of fills: Set<Fill>) -> String { fills.compactMap(\.definition).sorted().joined() }
}
