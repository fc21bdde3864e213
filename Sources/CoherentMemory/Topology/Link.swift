/// The model of the link between a coherent device and the CPUs: what `nodeN/access0/initiators` shows.
public struct Link: Sendable, Hashable {
    /// What each of the figures may be.
    public static let figures: ClosedRange<UInt64> = 1...1_000_000_000

    /// How long a read of one cache line takes, in nanoseconds.
    public var readLatency: UInt64
    /// How long a write of one cache line takes, in nanoseconds.
    public var writeLatency: UInt64
    /// How much can be read, in MB/s (10^6 bytes).
    public var readBandwidth: UInt64
    /// How much can be written, in MB/s (10^6 bytes).
    public var writeBandwidth: UInt64

    /// A link; latencies are in nanoseconds, bandwidths in MB/s.
    public init(
        readLatency: UInt64 = 350, writeLatency: UInt64 = 350,
        readBandwidth: UInt64 = 60_000, writeBandwidth: UInt64 = 60_000
    ) {
        self.readLatency = readLatency
        self.writeLatency = writeLatency
        self.readBandwidth = readBandwidth
        self.writeBandwidth = writeBandwidth
    }

    /// Whether every figure is within ``figures``.
    var isValid: Bool {
        [readLatency, writeLatency, readBandwidth, writeBandwidth].allSatisfy(Self.figures.contains)
    }
}
