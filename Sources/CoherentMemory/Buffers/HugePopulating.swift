import SystemPackage

extension Buffer.State {
    /// Gives the missing pages of a range huge pages, as far as the buffer's mode has it: whole units of 512 pages that
    /// have no page yet. The caller holds the buffer's lock.
    ///
    /// - Returns: the end of what is there under ``HugeMode/pool``, whose buffers have no other pages; nil under the
    ///   other modes, where base pages serve the rest.
    /// - Throws: ENOMEM where the pools did not suffice under the request's shortage.
    mutating func populateHuge(
        _ pages: Range<UInt64>, in memory: Memory, for context: borrowing AllocationContext,
        origin: Origin, _ request: inout TouchRequest
    ) throws(Errno) -> UInt64? {
        let placer = memory.placer
        let units = HugePage.pages(around: pages.lowerBound).lowerBound..<pages.upperBound
        if huge == .pool {
            return try populatePooled(units, pages, in: memory, for: context, origin: origin, &request)
        }
        for first in stride(from: units.lowerBound, to: units.upperBound, by: HugePage.frames) {
            let unit = HugePage.pages(around: first)
            let end = max(Page.count(of: size), pages.upperBound)
            guard huge == .always || unit.upperBound <= end, self.pages.isEmpty(unit),
                let choice = placer.intendedNode(for: unit, context),
                context.hasRoom(HugePage.frames, on: choice.node),
                placer.hostBudget.take(HugePage.frames, of: placer.nodes),
                let run = choice.node.allocateHuge()
            else { continue }
            try insert(run, at: unit)
            // One event an allocation, whatever its order, as zone_statistics() counts.
            placer.account(1, on: choice.node, intended: choice.node, isLocal: choice.node.index == context.local)
            if choice.isInterleaved { choice.node.counters.interleaveHit.add(1) }
            counters.count(HugePage.frames, byDevice: context.isDeviceTouch)
            memory.trace.notePlaced(
                unit, of: self.pages.table.owner, on: choice.node, intended: choice.node, context, origin,
                &request)
        }
        return nil
    }

    private mutating func populatePooled(
        _ units: Range<UInt64>, _ pages: Range<UInt64>, in memory: Memory,
        for context: borrowing AllocationContext, origin: Origin, _ request: inout TouchRequest
    ) throws(Errno) -> UInt64 {
        let shortage = request.shortage
        let owner = self.pages.table.owner
        var taken: [(run: FrameRun, unit: Range<UInt64>)] = []
        var promised = RangeSet<UInt64>()
        var refused = NodeMask()
        var isOverShare = false
        var end = pages.upperBound
        for first in stride(from: units.lowerBound, to: units.upperBound, by: HugePage.frames) {
            let unit = HugePage.pages(around: first)
            guard self.pages.isEmpty(unit) else { continue }
            let number = first >> UInt64(HugePage.order)
            let isPromised = reserved.contains(number)
            guard
                let run = memory.placer.takePooled(
                    for: unit, context, isPromised: isPromised, refused: &refused, &isOverShare)
            else {
                end = max(pages.lowerBound, first)
                break
            }
            if isPromised { promised.insert(contentsOf: number..<number + 1) }
            taken.append((run, unit))
        }
        let isComplete = end == pages.upperBound
        // The kernel asks for each page of a failed read-ahead again: only that is counted.
        if isComplete || pages.count == 1 || shortage != .all {
            refused.forEach {
                memory.nodes[$0].counters.refusedHugePages.add(1)
                memory.trace.noteIsolated(.hugePages, by: memory.nodes[$0], pages, of: owner, origin)
            }
            if !isComplete {
                counters.refused += 1
                memory.trace.noteRefused(&request, of: owner, isOverShare ? .diskQuotaExceeded : .noMemory, origin)
            }
        } else {
            memory.trace.noteRetried(request, of: owner, origin)
        }
        guard isComplete || shortage == .prefix && end > pages.lowerBound else {
            for (run, _) in taken { memory.release(run) }
            // Those that nobody has taken meanwhile are promised as before.
            for number in promised.ranges.joined() where !memory.nodes.hugeReserve.reserve(1) {
                reserved.remove(contentsOf: number..<number + 1)
            }
            throw isOverShare ? .diskQuotaExceeded : .noMemory
        }
        reserved.subtract(promised)
        for index in taken.indices {
            do throws(Errno) {
                try insert(taken[index].run, at: taken[index].unit)
            } catch {
                for later in taken[(index + 1)...] { memory.release(later.run) }
                throw error
            }
            counters.count(HugePage.frames, byDevice: context.isDeviceTouch)
            let node = memory.nodes.node(of: taken[index].run.start)
            memory.trace.notePlaced(taken[index].unit, of: owner, on: node, intended: node, context, origin, &request)
        }
        return end
    }

    /// Puts a huge page into the page table where there is nothing. ENOMEM frees it when tables run out.
    private mutating func insert(_ run: FrameRun, at unit: Range<UInt64>) throws(Errno) {
        let node = pages.nodes.node(of: run.start)
        var entry = PageTableEntry(pfn: run.start)
        entry.isHuge = true
        entry.isPooled = huge == .pool
        var tally = PageTally(pages.nodes)
        do throws(Errno) {
            try pages.mapFrames(HugePage.frames, from: entry, at: unit.lowerBound, of: node, in: &tally)
        } catch {
            node.release(run)
            throw error
        }
        tally.flush(in: &pages)
        settleFresh(unit)
    }
}
