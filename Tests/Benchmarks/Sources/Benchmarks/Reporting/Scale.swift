import Foundation

/// What turns a figure into a place on an axis.
struct Scale {
    let isLogarithmic: Bool
    private let low: Double
    private let high: Double
    /// Figures that the axis names.
    let ticks: [Double]

    /// An axis from 0, or a logarithmic one where the least and the greatest are far apart.
    init(_ values: [Double]) {
        let greatest = values.max() ?? 1
        let least = values.filter { $0 > 0 }.min() ?? 1
        isLogarithmic = greatest / least > 20
        if isLogarithmic {
            let decades = Int(log10(least).rounded(.down))...Int(log10(greatest).rounded(.down))
            low = pow(10, Double(decades.lowerBound))
            high = Self.niceStep(greatest)
            ticks = decades.map { pow(10, Double($0)) }
        } else {
            let step = Self.niceStep(greatest / 5)
            low = 0
            high = (greatest / step).rounded(.up) * step
            ticks = stride(from: 0, through: high * 1.001, by: step).map { $0 }
        }
    }

    /// From 0 to 1.
    func place(_ value: Double) -> Double {
        let share = isLogarithmic ? log(max(value, low) / low) / log(high / low) : value / high
        return min(max(share, 0), 1)
    }

    /// 1, 2 or 5 times a power of ten, not less than the value.
    private static func niceStep(_ value: Double) -> Double {
        guard value > 0 else { return 1 }
        let power = pow(10, log10(value).rounded(.down))
        return [1, 2, 5, 10].map { $0 * power }.first { $0 >= value * 0.999 } ?? value
    }
}
