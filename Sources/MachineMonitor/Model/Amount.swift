/// Figures as short texts.
package enum Amount {
    /// Bytes in powers of 1024, at most five characters: `0`, `4K`, `1.5M`, `960M`, `16G`.
    package static func bytes(_ value: Double) -> String { scaled(value, 1024, ["", "K", "M", "G", "T", "P", "E"]) }

    /// A count in powers of 1000, at most five characters: `0`, `0.5`, `27`, `12.3k`, `4M`.
    package static func count(_ value: Double) -> String { scaled(value, 1000, ["", "k", "M", "G", "T", "P", "E"]) }

    /// Bytes a second in MB/s, powers of 1000, as bandwidths of links are: `0`, `0.02`, `3.4`, `12000`.
    package static func megabytes(_ value: Double) -> String {
        let value = value / 1e6
        guard value.isFinite, value > 0 else { return "0" }
        if value < 0.005 { return "<0.01" }
        return value < 0.1
            ? decimal(value, 100) : value < 100 ? decimal(value, 10) : "\(Int(min(value, 1e15).rounded()))"
    }

    /// A share in percent: `0%`, `0.4%`, `37%`.
    package static func percent(_ share: Double) -> String {
        guard share.isFinite, share > 0 else { return "0%" }
        let percent = share * 100
        if percent < 0.05 { return "<0.1%" }
        // What is not whole is not shown as whole.
        if percent > 99, percent < 100 { return decimal(min(percent, 99.9), 10) + "%" }
        return (percent < 9.95 ? decimal(percent, 10) : "\(Int(min(percent, 1e9).rounded()))") + "%"
    }

    /// Seconds of a day as `HH:MM:SS`.
    package static func time(_ seconds: Int) -> String {
        [seconds / 3600 % 24, seconds / 60 % 60, seconds % 60].map { ($0 < 10 ? "0" : "") + "\($0)" }.joined(
            separator: ":")
    }

    /// A number with the digits behind the point that `unit` has zeros; none for a whole one.
    static func decimal(_ value: Double, _ unit: Int) -> String {
        let units = Int((value * Double(unit)).rounded())
        let (whole, part) = units.quotientAndRemainder(dividingBy: unit)
        guard part != 0 else { return "\(whole)" }
        var digits = "\(part + unit)".dropFirst()
        while digits.last == "0" { digits.removeLast() }
        return "\(whole).\(digits)"
    }

    private static func scaled(_ value: Double, _ base: Double, _ suffixes: [String]) -> String {
        guard value.isFinite, value > 0 else { return "0" }
        if value < 0.05 { return "<0.1" }
        var (value, index) = (value, 0)
        // What would be rounded to four digits is of the next unit.
        while value >= base - 0.5, index < suffixes.count - 1 {
            value /= base
            index += 1
        }
        return (value < 99.95 ? decimal(value, 10) : "\(Int(min(value, 1e15).rounded()))") + suffixes[index]
    }
}
