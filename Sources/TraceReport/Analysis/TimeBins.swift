/// Equal parts of the time of a trace, at most ``limit``: when the trace goes on, they become twice as long.
struct TimeBins: Sendable {
    /// Twice as many as there are at least, once a trace is longer than a fifth of a second.
    static let limit = 192
    /// The time at which the first one begins.
    private(set) var origin: UInt64?
    /// Nanoseconds.
    private(set) var width: UInt64 = 1 << 20
    /// The latest time that there was.
    private(set) var last: UInt64 = 0

    /// Begins at a time, if nothing was before.
    mutating func begin(at time: UInt64) {
        if origin == nil { (origin, last) = (time, time) }
    }

    /// The bin of a time. Times before the first one count as that.
    ///
    /// - Parameter halve: called whenever two bins become one: the number of each is half of what it was.
    mutating func place(_ time: UInt64, halve: () -> Void) -> Int {
        begin(at: time)
        last = max(last, time)
        let offset = offset(of: time)
        while offset / width >= UInt64(Self.limit) {
            width *= 2
            halve()
        }
        return Int(offset / width)
    }

    /// Nanoseconds since the beginning.
    func offset(of time: UInt64) -> UInt64 { time - min(time, origin ?? time) }

    /// Seconds since the beginning.
    func seconds(of time: UInt64) -> Double { Double(offset(of: time)) / 1e9 }

    /// The seconds of the whole trace.
    var duration: Double { seconds(of: last) }

    /// The number of bins until the latest time.
    var count: Int { origin == nil ? 0 : Int(offset(of: last) / width) + 1 }

    /// The seconds of a bin.
    var binDuration: Double { Double(width) / 1e9 }
}
