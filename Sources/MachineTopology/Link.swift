/// The performance of the CPUs' access to a node's memory, over the link of a device or by a memory bus, as in
/// `nodeN/access0/initiators`.
public struct Link: Sendable, Hashable {
    /// The valid values of each figure.
    public static let figures: ClosedRange<UInt64> = 1...1_000_000_000

    /// The latency of a read of one cache line, in nanoseconds.
    public var readLatency: UInt64
    /// The latency of a write of one cache line, in nanoseconds.
    public var writeLatency: UInt64
    /// The read bandwidth, in MB/s (10^6 bytes).
    public var readBandwidth: UInt64
    /// The write bandwidth, in MB/s (10^6 bytes).
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

    /// The default for memory at a distance without given figures: the latency grows with the distance and the
    /// bandwidth falls with it, because the distances of ACPI's SLIT are relative latencies.
    ///
    /// 40, the default distance of a device, is 350 ns and 60 GB/s, about the performance of a GPU's memory for the
    /// CPUs of a POWER9 over NVLink 2. 10, a CPU's own memory, is then 87 ns and 240 GB/s: within the results of
    /// Intel's Memory Latency Checker on sockets with eight channels of DDR4 or DDR5 (80 to 110 ns, 140 to 250 GB/s).
    public init(distance: Int) {
        let distance = UInt64(Swift.min(Swift.max(distance, 1), 255))
        let latency = 350 * distance / 40
        let bandwidth = 60_000 * 40 / distance
        self.init(
            readLatency: latency, writeLatency: latency, readBandwidth: bandwidth, writeBandwidth: bandwidth)
    }

    /// The figures by the names they have in files, in the order of a topology file.
    public static let names: [(name: String, figure: any WritableKeyPath<Link, UInt64> & Sendable)] = [
        ("read_latency", \.readLatency), ("write_latency", \.writeLatency),
        ("read_bandwidth", \.readBandwidth), ("write_bandwidth", \.writeBandwidth),
    ]

    /// Whether every figure is within ``figures``.
    public var isValid: Bool {
        [readLatency, writeLatency, readBandwidth, writeBandwidth].allSatisfy(Self.figures.contains)
    }
}
