import LinuxSupport
import SystemPackage

/// Memory of programs in huge pages of the pools: what mmap(2) with MAP_HUGETLB makes (a file of fs/hugetlbfs).
extension Machine {
    /// Memory whose offsets are those of a mapping, in ``HugeMode/pool``. As of an address space the bytes are the program's.
    ///
    /// - Parameters:
    ///   - pages: how many huge pages are promised to its first offsets; 0 for none (MAP_NORESERVE).
    ///   - share: the user's share of the nodes that its frames count in; nil for none.
    ///   - origin: who maps it.
    /// - Throws: ENOMEM where the pools have not that many free that are promised to nobody, or not on nodes that the task may use
    ///   (hugetlb_acct_memory()).
    public func makeHugeMapping(
        reserving pages: Int, share: FrameShare? = nil, origin: Origin
    ) throws(Errno) -> Buffer {
        let context = memory.placer.context(for: .default, isDevice: false, origin: origin)
        guard pages == 0 || memory.placer.pooledPages(for: context) >= pages else { throw .noMemory }
        let mapping = memory.makeAddressSpace(size: Self.addressLimit, isShared: true)
        mapping.setShare(share)
        mapping.state.withLock { $0.huge = .pool }
        do throws(Errno) {
            try reserve(0..<UInt64(pages) * UInt64(HugePage.frames), of: mapping) {
                trace.noteMade(mapping)
                trace.note(.hugeMode, of: mapping, HugeMode.pool.place)
            }
        } catch {
            memory.forget(mapping)
            throw error
        }
        return mapping
    }

    /// Promises huge pages to pages of a mapping that have none.
    ///
    /// - Parameter range: whole huge pages.
    /// - Throws: ENOMEM where the pools have not that many.
    package func reserve(_ range: Range<UInt64>, of mapping: Buffer) throws(Errno) {
        try reserve(range, of: mapping) {}
    }

    private func reserve(_ range: Range<UInt64>, of mapping: Buffer, _ made: () -> Void) throws(Errno) {
        try mapping.state.withLock { state throws(Errno) in
            guard state.huge == .pool, state.size > 0 else { return }
            let units = HugePage.units(in: range)
            var new = RangeSet(units).subtracting(state.reserved)
            // No more than there are is looked at.
            let most = nodes.reduce(0) { $0 + $1.usage.hugePool.total }
            guard new.ranges.reduce(0, { $0 + $1.count }) <= most else { throw .noMemory }
            for unit in new.ranges.joined() where !state.pages.isEmpty(HugePage.pages(of: unit)) {
                new.remove(contentsOf: unit..<unit + 1)
            }
            guard nodeMap.hugeReserve.reserve(new.ranges.reduce(0) { $0 + $1.count }) else { throw .noMemory }
            state.reserved.formUnion(new)
            if !units.isEmpty { state.reservesAgain = true }
        }
        made()
        if !range.isEmpty { trace.note(.reserve, of: mapping, pages: range) }
    }

    /// Whether an address space has huge pages of the pools.
    func isHugeMapping(_ space: Buffer) -> Bool { space.isAnonymous && space.hugeMode == .pool }

    /// Takes promises back that pages of a mapping had, and gives up pages that the pools have above their targets
    /// (return_unused_surplus_pages()).
    ///
    /// - Parameter pages: whole huge pages count.
    func cancelReservation(of mapping: Buffer, pages: Range<UInt64>) {
        let count = mapping.state.withLock { state -> Int in
            let gone = state.reserved.intersection(RangeSet(HugePage.units(in: pages)))
            state.reserved.subtract(gone)
            let count = gone.ranges.reduce(0) { $0 + $1.count }
            nodeMap.hugeReserve.cancel(count)
            return count
        }
        var left = count
        for node in nodes where left > 0 {
            node.zone.withLock { zone in
                while left > 0, zone.dissolveSurplus(table: node.frames) { left -= 1 }
            }
        }
    }

    /// Promises pages once more that were freed and may be touched again (the restored reservation of __unmap_hugepage_range()).
    func restoreReservation(of mapping: Buffer, pages: Range<UInt64>) {
        guard mapping.state.withLock({ $0.reservesAgain }), nodes.allSatisfy({ $0.usage.hugePool.surplus == 0 }) else {
            return
        }
        for unit in HugePage.units(in: pages) { try? reserve(HugePage.pages(of: unit), of: mapping) }
    }

    /// Huge pages of the pools that are promised to mappings and not taken yet (HugePages_Rsvd).
    public var reservedHugePages: Int { nodeMap.hugeReserve.reserved }
}

extension HugePage {
    /// The huge pages that lie in a range of pages as a whole, by their numbers.
    static func units(in pages: Range<UInt64>) -> Range<UInt64> {
        let start = (pages.lowerBound + UInt64(frames - 1)) >> UInt64(order)
        return start..<max(start, pages.upperBound >> UInt64(order))
    }

    /// The pages of a huge page.
    static func pages(of unit: UInt64) -> Range<UInt64> { unit << UInt64(order)..<(unit + 1) << UInt64(order) }
}
