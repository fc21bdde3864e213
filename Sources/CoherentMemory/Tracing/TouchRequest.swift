/// Pages for which a touch wanted frames, as an event tells it: the low bit, two bits of how many had to be there, 21 bits
/// for the pages before the event's, and their number if it is not that of the event's. 0 is the event's own pages, all or none.
public struct TouchRequest: Sendable, Hashable {
    /// What becomes of the others when not every page can get a frame.
    public enum Shortage: UInt8, Sendable, Hashable {
        /// No page gets one: the kernel asks again, page by page, and only the touched page must fail.
        case all
        /// No page gets one, and there is no further request for less: what was refused counts now, and so does what was taken before
        /// (shmem_fallocate() undoes it when it has been counted).
        case whole
        /// The pages before the first that cannot get one keep theirs.
        case prefix
    }

    /// The pages.
    public var pages: Range<UInt64>
    /// How many of them must get frames.
    public var shortage: TouchRequest.Shortage
    /// Whether there is an event of it.
    var hasEvent = false
    /// Whether it is a part of a request that has an event of its own.
    var followsRequest = false

    package init(_ pages: Range<UInt64>, _ shortage: TouchRequest.Shortage, followsRequest: Bool = false) {
        self.pages = pages
        self.shortage = shortage
        self.followsRequest = followsRequest
    }

    /// The request of an event of a touch.
    public init(of event: TraceEvent) {
        let word = event.other
        let start = event.start &- (word >> 3 & 0x1f_ffff)
        let count = word >> 24 == 0 ? event.count : word >> 24
        let (end, overflow) = start.addingReportingOverflow(count)
        pages = start..<(overflow ? start : end)
        shortage = TouchRequest.Shortage(rawValue: UInt8(word >> 1 & 3)) ?? .all
    }

    /// The word of an event of some of the pages.
    func word(for part: Range<UInt64>) -> UInt64 {
        if part == pages { return shortage == .all ? 0 : 1 | UInt64(shortage.rawValue) << 1 }
        return 1 | UInt64(shortage.rawValue) << 1 | (part.lowerBound - pages.lowerBound) << 3 | UInt64(pages.count)
            << 24
    }

    /// The flags of the next event of it.
    mutating func nextFlags(_ origin: Origin) -> TraceEvent.Flags {
        defer { hasEvent = true }
        var flags: TraceEvent.Flags = origin.isDevice ? .byDevice : []
        if hasEvent { flags.insert(.continues) }
        if followsRequest { flags.insert(.followsRequest) }
        return flags
    }
}
