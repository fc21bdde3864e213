import Glibc

/// What turns a figure into a place on an axis.
public struct Scale: Sendable {
    /// Whether equal distances are equal ratios.
    public let isLogarithmic: Bool
    private let low: Double
    private let high: Double
    /// Figures that the axis names.
    public let ticks: [Double]

    /// An axis from 0, or a logarithmic one where the least and the greatest are far apart.
    public init(_ values: [Double]) {
        let values = values.filter(\.isFinite)
        let greatest = values.max() ?? 1
        let least = values.filter { $0 > 0 }.min() ?? 1
        guard greatest / least > 20 else {
            self.init(upTo: greatest)
            return
        }
        let decades = Int(log10(least).rounded(.down))...Int(log10(greatest).rounded(.down))
        self.init(
            isLogarithmic: true, low: pow(10, Double(decades.lowerBound)), high: Self.niceStep(greatest),
            ticks: decades.map { pow(10, Double($0)) })
    }

    /// An axis from 0 to the first tick that is not less than a figure.
    ///
    /// - Parameters:
    ///   - greatest: the figure.
    ///   - count: about how many ticks.
    public init(upTo greatest: Double, count: Double = 5) {
        let greatest = greatest.isFinite ? greatest : 1
        let step = Self.niceStep(greatest / count)
        let high = max((greatest / step).rounded(.up), 1) * step
        self.init(
            isLogarithmic: false, low: 0, high: high, ticks: stride(from: 0, through: high * 1.001, by: step).map { $0 }
        )
    }

    private init(isLogarithmic: Bool, low: Double, high: Double, ticks: [Double]) {
        self.isLogarithmic = isLogarithmic
        self.low = low
        self.high = high
        self.ticks = ticks
    }

    /// An axis from 0 to exactly a figure, such as the end of a time; the ticks are in powers of a base, such as 1024 for bytes.
    public init(exactlyTo end: Double, count: Double, base: Double = 10) {
        let high = end > 0 && end.isFinite ? end : 1
        var unit = 1.0
        while base > 10, unit * base <= high { unit *= base }
        let step = Self.niceStep(high / unit / count, isBinary: base > 10) * unit
        self.init(
            isLogarithmic: false, low: 0, high: high,
            ticks: stride(from: 0, through: high * 1.0001, by: step).map { $0 })
    }

    /// The figure at the end of the axis.
    var end: Double { high }

    /// From 0 to 1.
    public func place(_ value: Double) -> Double {
        let share = isLogarithmic ? log(max(value, low) / low) / log(high / low) : value / high
        return share.isFinite ? min(max(share, 0), 1) : 0
    }

    /// 1, 2 or 5 times a power of ten, or a power of two, not less than the value.
    private static func niceStep(_ value: Double, isBinary: Bool = false) -> Double {
        guard value > 0, value.isFinite else { return 1 }
        if isBinary { return exp2(log2(value).rounded(.up)) }
        let power = pow(10, log10(value).rounded(.down))
        return [1, 2, 5, 10].map { $0 * power }.first { $0 >= value * 0.999 } ?? value
    }
}
