import CoherentMemory

/// What a trace says of one buffer.
struct BufferTrack: Sendable {
    /// Events that name it.
    var events = 0
    /// Pages that got frames.
    var placed: UInt64 = 0
    /// Pages that moved.
    var moved: UInt64 = 0
    /// Refused touches.
    var refused = 0
    /// Pages that were lost.
    var lost: UInt64 = 0
    /// Pages that gave their frames back.
    var freed: UInt64 = 0
    /// The most pages that had frames at once.
    private(set) var mostResident: UInt64 = 0
    private var resident: UInt64 = 0
    private(set) var pages = PageHistory()
    private(set) var raster = BufferRaster()

    /// Whether it never had more than a thousandth of the pages that its offsets could have.
    var isSparse: Bool {
        (UInt64(raster.rowCount) << raster.shift) / 1000 > mostResident
    }

    /// The pages of an event, as far as offsets go.
    static func pages(of event: TraceEvent) -> Range<UInt64> {
        let limit = UInt64.max >> Page.shift
        let start = min(event.start, limit)
        return start..<start + min(event.count, limit - start)
    }

    /// Follows a change of pages, in a bin.
    ///
    /// - Parameter room: how many more chunks of pages may be kept page by page.
    /// - Returns: the number of pages that had frames and have none now.
    @discardableResult
    mutating func follow(
        _ range: Range<UInt64>, _ change: PageHistory.Change, in bin: Int, _ nodes: inout NodePlaces, room: Int
    ) -> UInt64 {
        raster.begin(bin)
        let before = resident
        resident = Self.follow(range, change, &pages, &raster, &nodes, resident, room)
        mostResident = max(mostResident, resident)
        if case .moved = change { raster.noteMove(range) }
        return before - min(before, resident)
    }

    private static func follow(
        _ range: Range<UInt64>, _ change: PageHistory.Change, _ pages: inout PageHistory, _ raster: inout BufferRaster,
        _ nodes: inout NodePlaces, _ resident: UInt64, _ room: Int
    ) -> UInt64 {
        var resident = resident
        pages.update(range, change, room: room) { part, from, to in
            raster.move(part, from: nodes.place(of: from), to: nodes.place(of: to))
            if from == TraceEvent.noNode { resident += UInt64(part.count) }
            if to == TraceEvent.noNode { resident -= min(resident, UInt64(part.count)) }
        }
        return resident
    }

    /// Notes a failure of pages, in a bin.
    mutating func noteFailure(_ range: Range<UInt64>, in bin: Int) {
        guard range.count <= PageHistory.longest else { return }
        raster.begin(bin)
        raster.noteFailure(range)
    }

    mutating func halve() { raster.halve() }
    mutating func finish() { raster.finish() }
}

/// The nodes of a trace, each with a place in tables.
struct NodePlaces: Sendable {
    /// The nodes by place.
    private(set) var nodes: [UInt16] = []
    private var places: [UInt16: Int] = [:]

    /// The place of a node, a new one for one that was not there; nil for no node.
    mutating func place(of node: UInt16) -> Int? {
        guard node != TraceEvent.noNode else { return nil }
        if let place = places[node] { return place }
        places[node] = nodes.count
        nodes.append(node)
        return nodes.count - 1
    }
}
