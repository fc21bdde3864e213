extension Zone {
    private static func frames(of unit: Int) -> Range<Int> {
        unit * HugePage.frames..<(unit + 1) * HugePage.frames
    }

    /// Takes a huge page from the free lists for a buffer.
    mutating func allocateHuge() -> Range<Int>? {
        guard let start = allocator.allocate(order: HugePage.order) else { return nil }
        allocated += HugePage.frames
        return start..<start + HugePage.frames
    }

    /// Takes a free huge page of the pool for a buffer.
    mutating func takePooled() -> Range<Int>? { pool.take().map(Self.frames) }

    /// Takes a huge page from the free lists into the pool, at once in use (alloc_migrate_hugetlb_folio()).
    mutating func growPool() -> Range<Int>? {
        guard let start = allocator.allocate(order: HugePage.order) else { return nil }
        pool.add(start / HugePage.frames, isFree: false)
        return start..<start + HugePage.frames
    }

    /// Brings the pool nearer to `count` huge pages (set_max_huge_pages()): at most `limit` are taken or given back.
    ///
    /// - Returns: how many were taken from the free lists, and whether nothing is left to do.
    mutating func resizePool(to count: Int, limit: Int, table: FrameTable) -> (taken: Int, isDone: Bool) {
        if count > pool.usage.persistent { keepSurplus(count - pool.usage.persistent) }
        var taken = 0
        while count > pool.usage.persistent {
            guard taken < limit else { return (taken, false) }
            guard let start = allocator.allocate(order: HugePage.order) else { return (taken, true) }
            table.setOwner(of: start..<start + HugePage.frames, to: FrameTable.pooled)
            pool.add(start / HugePage.frames, isFree: true)
            taken += 1
        }
        if count < pool.usage.persistent {
            guard dissolvePool(min(limit, pool.usage.persistent - count), table: table) < limit else {
                return (taken, false)
            }
            addSurplus(pool.usage.persistent - count)
        }
        return (taken, true)
    }

    /// Has pages above the target stay, at most so many (adjust_pool_surplus()). How many.
    @discardableResult
    mutating func keepSurplus(_ count: Int) -> Int {
        let count = min(count, pool.usage.surplus)
        pool.usage.surplus -= count
        return count
    }

    /// Has pages go when they are given back, at most so many. How many.
    @discardableResult
    mutating func addSurplus(_ count: Int) -> Int {
        let count = min(count, pool.usage.persistent)
        pool.usage.surplus += count
        return count
    }

    /// Gives up free huge pages that are promised to nobody and not above the target already, at most so many. How many.
    mutating func dissolvePool(_ count: Int, table: FrameTable) -> Int {
        var given = 0
        while given < count, pool.usage.persistent > 0, let unit = pool.dissolve() {
            freeHugePage(unit, table: table)
            given += 1
        }
        return given
    }

    /// Gives up the free huge pages of a block that goes offline (dissolve_free_hugetlb_folios()); false where a mapping has the promise of one.
    mutating func dissolvePool(in block: Int, table: FrameTable) -> Bool {
        guard pool.usage.free > 0 else { return true }
        let frames = frames(of: block)
        for unit in frames.lowerBound / HugePage.frames..<frames.upperBound / HugePage.frames where pool.isFree(unit) {
            guard pool.dissolve(unit) != nil else { return false }
            freeHugePage(unit, table: table)
        }
        return true
    }

    /// Gives up a free huge page above the target (return_unused_surplus_pages()); false where there is none.
    mutating func dissolveSurplus(table: FrameTable) -> Bool {
        guard pool.usage.surplus > 0, let unit = pool.dissolve() else { return false }
        pool.usage.surplus -= 1
        freeHugePage(unit, table: table)
        return true
    }

    mutating func freeHugePage(_ unit: Int, table: FrameTable) {
        table.setOwner(of: Self.frames(of: unit), to: FrameTable.free)
        putBack(Self.frames(of: unit), table: table)
    }

    /// Takes frames back from their owner, to the free lists or to the pool that they are of.
    mutating func release(_ frames: Range<Int>, table: FrameTable) {
        guard pool.usage.total > 0 else { return free(frames, table: table) }
        var start = frames.lowerBound
        while start < frames.upperBound {
            let unit = start / HugePage.frames
            let part = start..<min(frames.upperBound, (unit + 1) * HugePage.frames)
            if !pool.contains(unit) {
                free(part, table: table)
            } else {
                let hasFailed = !failed.pending(in: Self.frames(of: unit)).isEmpty
                switch pool.takeBack(part.count, of: unit, stays: !hasFailed) {
                case .incomplete: break
                case .pooled: table.setOwner(of: Self.frames(of: unit), to: FrameTable.pooled)
                case .released: freeHugePage(unit, table: table)
                }
            }
            start = part.upperBound
        }
    }

    private mutating func free(_ frames: Range<Int>, table: FrameTable) {
        allocated -= frames.count
        table.setOwner(of: frames, to: FrameTable.free)
        putBack(frames, table: table)
    }

    /// The free frames of each unit of 512 that has some and could have all (the work of a compaction).
    func partialUnits(_ units: Range<Int>, table: FrameTable) -> [(unit: Int, free: Int)] {
        units.compactMap { unit in
            let frames = Self.frames(of: unit)
            guard state(of: frames.lowerBound / framesPerBlock) == .online, !pool.contains(unit),
                !share.frames.contains(frames.lowerBound), failed.retired(in: frames) == 0
            else { return nil }
            let free = frames.count { table.owner(of: $0) == FrameTable.free }
            return free == 0 || free == HugePage.frames ? nil : (unit, free)
        }
    }
}
