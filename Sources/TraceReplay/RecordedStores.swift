import CoherentMemory
import MachineTopology

/// The pages that programs store to through a mapping when they touch them. The trace tells it when the page cache writes them back.
struct RecordedStores {
    /// By the place of the event of the touch.
    private var ranges: [Int: [Range<UInt64>]] = [:]

    /// From the end to the begin: what is written back was there since the touch, unless the page was freed in between.
    init(_ events: [TraceEvent]) {
        var awaited: [UInt64: RangeSet<UInt64>] = [:]
        for index in events.indices.reversed() {
            let event = events[index]
            switch event.kind {
            case .pagesStored where event.detail == 1:
                awaited[event.buffer, default: RangeSet()].insert(contentsOf: event.pageRange)
            case .pagesFreed: awaited[event.buffer]?.remove(contentsOf: event.freedPages)
            case .bufferRemoved: awaited[event.buffer] = nil
            case .touchPlaced, .touchRefused, .touchFound:
                guard let awaited = awaited[event.buffer], !event.flags.contains(.continues) else { continue }
                let pages = event.kind == .touchFound ? event.pageRange : TouchRequest(of: event).pages
                let stored = awaited.intersection(RangeSet(pages)).ranges
                if !stored.isEmpty { ranges[index] = Array(stored) }
            default: break
            }
        }
    }

    /// The pages that are stored to with the touch of the event at a place.
    subscript(place: Int) -> [Range<UInt64>] { ranges[place] ?? [] }
}

extension TraceEvent {
    /// The first page that no buffer has.
    static let pageLimit = UInt64(Int64.max) >> Page.shift

    /// Its pages; none where its numbers are no range of pages.
    var pageRange: Range<UInt64> {
        let (end, overflow) = start.addingReportingOverflow(count)
        return overflow || end > Self.pageLimit ? 0..<0 : start..<end
    }

    /// The same of pages that go, which may be all behind a size.
    var freedPages: Range<UInt64> {
        let (end, overflow) = start.addingReportingOverflow(count)
        return start..<(overflow ? start : min(end, max(start, UInt64.max >> Page.shift)))
    }
}

extension IDSet {
    /// The nodes on which events have pages.
    init(of events: [TraceEvent]) {
        var seen: Set<UInt16> = []
        for event in events where event.kind == .touchPlaced || event.moveReason != nil { seen.insert(event.to) }
        seen.remove(TraceEvent.noNode)
        self.init(seen.map(Int.init))
    }
}
