import Foundation

/// What a row's figures are in.
enum Unit: String {
    case gigabytesPerSecond = "GB/s"
    case perSecond = "per second"
    case nanoseconds = "ns"
    case microseconds = "µs"
    case milliseconds = "ms"
    case seconds = "s"
    case bytes = "bytes"

    /// Whether more is better: of a rate, not of a time or of memory.
    var isRate: Bool { self == .gigabytesPerSecond || self == .perSecond }

    /// What a time in seconds is in this unit.
    func figure(seconds: Double) -> Double {
        switch self {
        case .nanoseconds: seconds * 1e9
        case .microseconds: seconds * 1e6
        case .milliseconds: seconds * 1e3
        case .seconds, .perSecond, .gigabytesPerSecond, .bytes: seconds
        }
    }

    /// Three digits that count, whole numbers from 100 on.
    static func text(_ value: Double) -> String {
        switch abs(value) {
        case 1_000_000...: String(format: "%.2f M", value / 1_000_000)
        case 10_000...: String(format: "%.0f k", value / 1000)
        case 100...: String(format: "%.0f", value)
        case 10...: String(format: "%.1f", value)
        case ..<0.01: String(format: "%.2g", value)
        default: String(format: "%.2f", value)
        }
    }

    /// A figure with its unit.
    func text(_ value: Double) -> String { "\(Self.text(value)) \(rawValue)" }

    /// As a part of a file's name, another for each unit.
    var fileName: String {
        switch self {
        case .gigabytesPerSecond: "rate"
        case .perSecond: "operations"
        case .nanoseconds: "time-ns"
        case .microseconds: "time-us"
        case .milliseconds: "time-ms"
        case .seconds: "time-s"
        case .bytes: "bytes"
        }
    }
}
