/// Text as a part of HTML or SVG.
public enum Markup {
    /// Text that means nothing but itself, between tags and within quoted attributes. What XML has no characters for becomes U+FFFD.
    public static func escaped(_ text: some StringProtocol) -> String {
        var escaped = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": escaped += "&amp;"
            case "<": escaped += "&lt;"
            case ">": escaped += "&gt;"
            case "\"": escaped += "&quot;"
            case "'": escaped += "&#39;"
            case "\t", "\n", "\r": escaped.unicodeScalars.append(scalar)
            case _ where scalar.value < 0x20 || (0x7f...0x9f).contains(scalar.value) || scalar.value & 0xfffe == 0xfffe:
                escaped.unicodeScalars.append("\u{fffd}")
            default: escaped.unicodeScalars.append(scalar)
            }
        }
        return escaped
    }

    /// A coordinate, with at most one digit behind the point.
    static func number(_ value: Double) -> String { Figure.fixed(value, digits: 1) }
}

/// Figures as people read them.
public enum Figure {
    /// A number with at most so many digits behind the point, without zeros at its end. What is no number is 0.
    public static func fixed(_ value: Double, digits: Int) -> String {
        var factor = 1.0
        for _ in 0..<digits { factor *= 10 }
        let scaled = (value * factor).rounded()
        guard scaled.isFinite, scaled.magnitude < 9e18 else { return scaled.isFinite ? "\(value)" : "0" }
        let (whole, rest) = Int64(scaled).magnitude.quotientAndRemainder(dividingBy: UInt64(factor))
        var text = (scaled < 0 ? "-" : "") + "\(whole)"
        guard rest > 0 else { return text }
        var fraction = String(rest)
        fraction = String(repeating: "0", count: digits - fraction.count) + fraction
        while fraction.last == "0" { fraction.removeLast() }
        text += "." + fraction
        return text
    }

    /// A number with three digits that count.
    public static func short(_ value: Double) -> String {
        switch value.magnitude {
        case 1e15...: "\(value)"
        case 100...: fixed(value, digits: 0)
        case 10...: fixed(value, digits: 1)
        case 1...: fixed(value, digits: 2)
        case 0.01...: fixed(value, digits: 3)
        case 0.00001...: fixed(value, digits: 6)
        case 0: "0"
        default: "\(value)"
        }
    }

    /// A whole number, its digits in groups of three by narrow spaces.
    public static func grouped(_ value: UInt64) -> String {
        let digits = String(value)
        var text = ""
        for (place, digit) in digits.enumerated() {
            if place > 0, (digits.count - place) % 3 == 0 { text += "\u{202f}" }
            text.append(digit)
        }
        return text
    }

    /// Bytes in powers of 1024.
    public static func bytes(_ value: Double) -> String {
        let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
        var (value, unit) = (value, 0)
        while value.magnitude >= 1024, unit < units.count - 1 {
            value /= 1024
            unit += 1
        }
        return "\(short(value)) \(units[unit])"
    }

    /// A time of seconds, in the unit that suits it.
    public static func duration(_ seconds: Double) -> String {
        let seconds = min(max(seconds, -1e15), 1e15)
        return switch seconds.magnitude {
        case 3600...: "\(Int64(seconds) / 3600) h \(Int64(seconds) / 60 % 60) min"
        case 120...: "\(Int64(seconds) / 60) min \(Int64(seconds) % 60) s"
        case 1...: "\(short(seconds)) s"
        case 0.001...: "\(short(seconds * 1e3)) ms"
        case 0.000001...: "\(short(seconds * 1e6)) µs"
        case 0: "0 s"
        default: "\(short(seconds * 1e9)) ns"
        }
    }

    /// A share of a whole, in percent; a dash for a share of nothing.
    public static func percent(_ part: Double, of whole: Double) -> String {
        whole > 0 ? "\(fixed(part / whole * 100, digits: 1)) %" : "–"
    }
}
