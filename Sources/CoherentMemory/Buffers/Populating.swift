import SystemPackage

/// What to do when not every page can get a frame.
enum Shortage {
    /// No page gets one: the kernel asks again, page by page, and only the touched page must fail.
    case all
    /// The pages before the first that cannot get one keep theirs.
    case prefix
}

extension Machine {
    /// Gives every page of a range its frame (handle_mm_fault() for a range). The caller holds the buffer's lock.
    ///
    /// - Parameter pages: at most some hundreds of pages; longer ranges go piece by piece.
    /// - Returns: the end of the pages that have frames now.
    /// - Throws: under `shortage`, ENOMEM where there were no frames, EPERM where the task may not use those there are, EDQUOT where the
    ///   buffer's user has had its share of them.
    @discardableResult
    func populate(
        _ pages: Range<UInt64>, of state: inout Buffer.State, origin: Origin, policy shortage: Shortage
    ) throws(Errno) -> UInt64 {
        if pages.count == 1, state.huge == .never {
            try populate(page: pages.lowerBound, of: &state, origin: origin)
            return pages.upperBound
        }
        var missing = missingPages(of: pages, in: state)
        guard missing > 0 else { return pages.upperBound }
        let context = context(for: state, origin: origin)
        let local = context.local
        if state.huge != .never {
            if let end = try populateHuge(pages, of: &state, for: context, policy: shortage) { return end }
            missing = missingPages(of: pages, in: state)
            guard missing > 0 else { return pages.upperBound }
        }
        let result: Result<UInt64, Errno> = unsafe withUnsafeTemporaryAllocation(of: TakenRun.self, capacity: missing) {
            runs in
            let buffer = runs.baseAddress!
            var count = 0
            var got = AllocationResult()
            forEachMissingStretch(of: pages, in: state) { stretch in
                let part = allocate(stretch.count, at: stretch.lowerBound, for: context) { run in
                    unsafe buffer[count] = run
                    count += 1
                }
                got.formUnion(part)
                return part.allocated == stretch.count
            }
            let isComplete = got.allocated == missing
            if isComplete || missing == 1 || shortage == .prefix { countRefusals(got) }
            let list = unsafe UnsafeBufferPointer(start: buffer, count: count)
            if !isComplete {
                if missing == 1 || shortage == .prefix { state.counters.refused += 1 }
                guard shortage == .prefix, got.allocated > 0 else {
                    for index in 0..<count { unsafe release(list[index].frames) }
                    // Pages before the first missing one are there all the same.
                    let end = firstMissing(of: pages, in: state)
                    return shortage == .prefix && end > pages.lowerBound ? .success(end) : .failure(got.shortage)
                }
            }
            do throws(Errno) {
                try unsafe insert(list, into: pages, of: &state)
            } catch {
                return .failure(error)
            }
            settleFresh(pages, in: state)
            for index in 0..<count { unsafe account(list[index], local: local) }
            state.counters.count(got.allocated, byDevice: origin.isDevice)
            return .success(isComplete ? pages.upperBound : firstMissing(of: pages, in: state))
        }
        return try result.get()
    }

    /// The same for one page, which is all that most faults are about.
    private func populate(page: UInt64, of state: inout Buffer.State, origin: Origin) throws(Errno) {
        guard state.table[page].isNone else { return }
        let context = context(for: state, origin: origin)
        var taken: TakenRun?
        let got = allocate(1, at: page, for: context) { taken = $0 }
        countRefusals(got)
        guard let taken else {
            state.counters.refused += 1
            throw got.shortage
        }
        let pfn = taken.frames.start
        let leaf: UInt32
        do throws(Errno) {
            leaf = try state.table.makeLeaf(of: page)
        } catch {
            release(taken.frames)
            throw error
        }
        let node = node(of: pfn)
        state.table.insert(PageTableEntry(pfn: pfn), at: page, leaf: leaf)
        settleFresh(page..<page + 1, in: state)
        node.frames.setOwner(of: node.index(of: pfn), to: leaf)
        state.addPages(1, node: node.index)
        account(taken, local: context.local)
        state.counters.count(1, byDevice: origin.isDevice)
    }

    private func release(_ run: FrameRun) { node(of: run.start).release(run) }

    func missingPages(of pages: Range<UInt64>, in state: borrowing Buffer.State) -> Int {
        var missing = 0
        forEachMissingStretch(of: pages, in: state) { stretch in
            missing += stretch.count
            return true
        }
        return missing
    }

    private func firstMissing(of pages: Range<UInt64>, in state: borrowing Buffer.State) -> UInt64 {
        var first = pages.upperBound
        forEachMissingStretch(of: pages, in: state) { stretch in
            first = stretch.lowerBound
            return false
        }
        return first
    }

    /// Calls `body` with the runs of pages that have no frame, until it returns false.
    private func forEachMissingStretch(
        of pages: Range<UInt64>, in state: borrowing Buffer.State, _ body: (Range<UInt64>) -> Bool
    ) {
        var start: UInt64?
        var page = pages.lowerBound
        while page < pages.upperBound {
            let stop = min(pages.upperBound, (page | UInt64(TablePool.entries - 1)) + 1)
            guard let leaf = state.table.leaf(of: page) else {
                start = start ?? page
                page = stop
                continue
            }
            let entries = unsafe state.table.entries(of: leaf)
            while page < stop {
                if unsafe entries[Int(page) & (TablePool.entries - 1)] == 0 {
                    start = start ?? page
                } else if let first = start {
                    start = nil
                    guard body(first..<page) else { return }
                }
                page += 1
            }
        }
        if let first = start { _ = body(first..<pages.upperBound) }
    }

    /// Puts frames into the page table where there are none, in order. ENOMEM frees those that found no table.
    private func insert(
        _ runs: UnsafeBufferPointer<TakenRun>, into pages: Range<UInt64>, of state: inout Buffer.State
    ) throws(Errno) {
        var page = pages.lowerBound
        for index in 0..<runs.count {
            var run = unsafe runs[index].frames
            let node = node(of: run.start)
            while run.count > 0 {
                while !state.table[page].isNone { page += 1 }
                let leaf: UInt32
                do throws(Errno) {
                    leaf = try state.table.makeLeaf(of: page)
                } catch {
                    release(run)
                    for later in index + 1..<runs.count { unsafe release(runs[later].frames) }
                    throw error
                }
                let entries = unsafe state.table.entries(of: leaf)
                let stop = (page | UInt64(TablePool.entries - 1)) + 1
                var inserted = 0
                while run.count > 0, page < stop {
                    if unsafe entries[Int(page) & (TablePool.entries - 1)] == 0 {
                        state.table.insert(PageTableEntry(pfn: run.start), at: page, leaf: leaf)
                        node.frames.setOwner(of: node.index(of: run.start), to: leaf)
                        run.start += 1
                        run.count -= 1
                        inserted += 1
                    }
                    page += 1
                }
                state.addPages(inserted, node: node.index)
            }
        }
    }
}
