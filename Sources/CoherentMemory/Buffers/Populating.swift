import SystemPackage

extension Buffer.State {
    /// Gives every page of a range its frame (handle_mm_fault() for a range). The caller holds the buffer's lock.
    ///
    /// - Parameter pages: at most some hundreds of pages; longer ranges go piece by piece.
    /// - Returns: the end of the pages that have frames now.
    /// - Throws: under `shortage`, ENOMEM where there were no frames, EPERM where the task may not use those there are, EDQUOT where the
    ///   buffer's user has had its share of them.
    @discardableResult
    mutating func populate(
        _ pages: Range<UInt64>, in memory: Memory, origin: Origin, policy shortage: TouchRequest.Shortage,
        followsRequest: Bool = false
    ) throws(Errno) -> UInt64 {
        if pages.count == 1, huge == .never, !followsRequest {
            try populate(page: pages.lowerBound, in: memory, origin: origin)
            return pages.upperBound
        }
        guard !ranges.isEmpty else {
            return try fill(
                pages, in: memory, origin: origin, policy: shortage, followsRequest: followsRequest)
        }
        var position = pages.lowerBound
        while position < pages.upperBound {
            let stretch = position..<ranges.end(ofFirstStretchIn: position..<pages.upperBound)
            do throws(Errno) {
                position = try fill(
                    stretch, in: memory, origin: origin, policy: shortage, followsRequest: followsRequest)
            } catch  where shortage == .prefix && position > pages.lowerBound {
                return position
            }
            if position < stretch.upperBound { break }
        }
        return position
    }

    /// The same for pages that are all under one policy.
    private mutating func fill(
        _ pages: Range<UInt64>, in memory: Memory, origin: Origin, policy shortage: TouchRequest.Shortage,
        followsRequest: Bool
    ) throws(Errno) -> UInt64 {
        guard self.pages.missing(of: pages) > 0 else { return pages.upperBound }
        let context = memory.placer.context(for: self, at: pages.lowerBound, origin: origin)
        return try fill(
            pages, in: memory, for: context, origin: origin, policy: shortage, followsRequest: followsRequest)
    }

    /// The same where it is known what is in force.
    ///
    /// - Parameter followsRequest: whether a request of which this is a part is recorded itself.
    mutating func fill(
        _ pages: Range<UInt64>, in memory: Memory, for context: AllocationContext, origin: Origin,
        policy shortage: TouchRequest.Shortage, followsRequest: Bool = false
    ) throws(Errno) -> UInt64 {
        var request = TouchRequest(pages, shortage, followsRequest: followsRequest)
        let placer = memory.placer
        var missing = self.pages.missing(of: pages)
        guard missing > 0 else { return pages.upperBound }
        let local = context.local
        if huge != .never {
            if let end = try populateHuge(pages, in: memory, for: context, origin: origin, &request) {
                return end
            }
            missing = self.pages.missing(of: pages)
            guard missing > 0 else { return pages.upperBound }
        }
        let result: Result<UInt64, Errno> = unsafe withUnsafeTemporaryAllocation(of: TakenRun.self, capacity: missing) {
            runs in
            let buffer = runs.baseAddress!
            var count = 0
            var got = AllocationResult()
            self.pages.forEachMissingStretch(of: pages) { stretch in
                let part = placer.allocate(stretch.count, at: stretch.lowerBound, for: context) { run in
                    unsafe buffer[count] = run
                    count += 1
                }
                got.formUnion(part)
                return part.allocated == stretch.count
            }
            let isComplete = got.allocated == missing
            let owner = self.pages.table.owner
            if isComplete || missing == 1 || shortage != .all {
                memory.countRefusals(got, pages, of: owner, origin)
            }
            let list = unsafe UnsafeBufferPointer(start: buffer, count: count)
            if !isComplete {
                if missing == 1 || shortage != .all {
                    counters.refused += 1
                    memory.trace.noteRefused(&request, of: owner, got.shortage, origin)
                } else {
                    memory.trace.noteRetried(request, of: owner, origin)
                }
                guard shortage == .prefix, got.allocated > 0 else {
                    for index in 0..<count {
                        if shortage == .whole { unsafe placer.account(list[index], local: local) }
                        unsafe memory.release(list[index].frames)
                    }
                    if shortage == .whole { counters.count(got.allocated, byDevice: isDevice) }
                    // Pages before the first missing one are there all the same.
                    let end = self.pages.firstMissing(of: pages)
                    return shortage == .prefix && end > pages.lowerBound ? .success(end) : .failure(got.shortage)
                }
            }
            // Frames come in as many runs as the node has them in.
            var placed: PlacedRun?
            defer {
                if let placed {
                    memory.trace.notePlaced(placed, of: owner, context, origin, &request, placer.nodes)
                }
            }
            do throws(Errno) {
                try unsafe insert(list, into: pages) { stretch, node, intended in
                    let run = PlacedRun(pages: stretch, node: node.index, intended: intended)
                    if placed?.append(run) != true {
                        if let placed {
                            memory.trace.notePlaced(placed, of: owner, context, origin, &request, placer.nodes)
                        }
                        placed = run
                    }
                }
            } catch {
                return .failure(error)
            }
            settleFresh(pages)
            for index in 0..<count { unsafe placer.account(list[index], local: local) }
            counters.count(got.allocated, byDevice: origin.isDevice)
            return .success(isComplete ? pages.upperBound : self.pages.firstMissing(of: pages))
        }
        return try result.get()
    }

    /// The same for one page, which is all that most faults are about.
    private mutating func populate(page: UInt64, in memory: Memory, origin: Origin) throws(Errno) {
        guard pages.table[page].isNone else { return }
        let placer = memory.placer
        var request = TouchRequest(page..<page + 1, .all)
        let context = placer.context(for: self, at: page, origin: origin)
        var taken: TakenRun?
        let got = placer.allocate(1, at: page, for: context) { taken = $0 }
        memory.countRefusals(got, page..<page + 1, of: pages.table.owner, origin)
        guard let taken else {
            counters.refused += 1
            memory.trace.noteRefused(&request, of: pages.table.owner, got.shortage, origin)
            throw got.shortage
        }
        let frame = taken.frames.start
        let node = memory.nodes.node(of: frame)
        var tally = PageTally(memory.nodes)
        do throws(Errno) {
            try pages.mapFrames(1, from: PageTableEntry(pfn: frame), at: page, of: node, in: &tally)
        } catch {
            memory.release(taken.frames)
            throw error
        }
        tally.flush(in: &pages)
        settleFresh(page..<page + 1)
        placer.account(taken, local: context.local)
        counters.count(1, byDevice: origin.isDevice)
        memory.trace.notePlaced(
            page..<page + 1, of: pages.table.owner, on: node, intended: placer.nodes[Int(taken.intended)], context,
            origin, &request)
    }

    /// Puts frames into the page table where there are none, in order. ENOMEM frees those that found no table.
    ///
    /// - Parameter body: gets pages that are there now, their node, and the place of the node that was meant.
    private mutating func insert(
        _ runs: UnsafeBufferPointer<TakenRun>, into range: Range<UInt64>,
        _ body: (Range<UInt64>, Node, UInt16) -> Void
    ) throws(Errno) {
        var tally = PageTally(pages.nodes)
        defer { tally.flush(in: &pages) }
        var page = range.lowerBound
        for index in 0..<runs.count {
            var run = unsafe runs[index].frames
            let node = pages.nodes.node(of: run.start)
            while run.count > 0 {
                let part = page..<min(range.upperBound, page + UInt64(run.count))
                guard let stretch = pages.missingStretch(of: part) else {
                    page = part.upperBound
                    continue
                }
                do throws(Errno) {
                    try pages.mapFrames(
                        stretch.count, from: PageTableEntry(pfn: run.start), at: stretch.lowerBound, of: node,
                        in: &tally)
                } catch {
                    node.release(run)
                    for later in index + 1..<runs.count {
                        let run = unsafe runs[later].frames
                        pages.nodes.node(of: run.start).release(run)
                    }
                    throw error
                }
                body(stretch, node, unsafe runs[index].intended)
                run.start += UInt64(stretch.count)
                run.count -= stretch.count
                page = stretch.upperBound
            }
        }
    }
}
