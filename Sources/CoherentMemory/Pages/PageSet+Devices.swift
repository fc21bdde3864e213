/// Pages that devices map. The caller holds the owner's lock.
extension PageSet {
    /// What a device knows of the owner, if anything.
    func context(of mmu: DeviceMMU) -> DeviceContext? { contexts.first { $0.mmu === mmu } }

    /// Whether a device is at work on any of some pages.
    func isInFlight(_ pages: Range<UInt64>) -> Bool {
        contexts.contains { context in context.pinned.contains { $0.overlaps(pages) } }
    }

    /// Whether a device uses a page, which is then looked at for each.
    func ageDevices(_ page: UInt64) -> Bool {
        var isInUse = isInFlight(page..<page + 1)
        for context in contexts where context.age(page) { isInUse = true }
        return isInUse
    }

    /// Keeps pages where they are while a device works on them.
    mutating func pin(_ pages: Range<UInt64>, for mmu: DeviceMMU) {
        let known = context(of: mmu)
        let context = known ?? DeviceContext(mmu, pool, owner: table.owner)
        if known == nil {
            contexts.append(context)
            mmu.add(DeviceTally(contexts: 1))
        }
        context.pinned.append(pages)
    }

    /// Ends that.
    ///
    /// - Returns: the pages that are to move to the device.
    mutating func unpin(_ pages: Range<UInt64>, for mmu: DeviceMMU) -> [UInt64] {
        guard let context = context(of: mmu) else { return [] }
        defer { context.misplaced = [] }
        if let index = context.pinned.firstIndex(of: pages) { context.pinned.remove(at: index) }
        dropContext(context)
        return context.misplaced
    }

    /// Forgets a device that maps no page and is at work on none.
    mutating func dropContext(_ context: DeviceContext) {
        guard context.table.isEmpty, context.pinned.isEmpty else { return }
        let before = contexts.count
        contexts.removeAll { $0 === context }
        if contexts.count < before { context.mmu.add(DeviceTally(contexts: -1)) }
    }

    /// Empties a device's page table of pages; what it knows of them comes back.
    mutating func unmap(
        _ pages: Range<UInt64>, from mmu: DeviceMMU,
        where isWanted: (UInt64, PageTableEntry, DeviceTableEntry) -> Bool = { _, _, _ in true }
    ) {
        guard let context = context(of: mmu) else { return }
        var tally = DeviceTally()
        var page = pages.lowerBound
        while page < pages.upperBound, let (leaf, base) = context.table.nextLeaf(from: page), base < pages.upperBound {
            let part = max(page, base)..<min(pages.upperBound, base + UInt64(TablePool.entries))
            page = part.upperBound
            guard let own = table.leaf(of: part.lowerBound) else {
                preconditionFailure("a device maps pages that are not there")
            }
            let entries = unsafe table.entries(of: own)
            context.table.remove(part, leaf: leaf) { page, mapping in
                let slot = unsafe entries + TablePool.slot(of: page)
                var entry = PageTableEntry(rawValue: unsafe slot.pointee)
                let mapping = DeviceTableEntry(rawValue: mapping.rawValue)
                guard isWanted(page, entry, mapping) else { return false }
                tally.change(mapping, to: DeviceTableEntry(rawValue: 0))
                tally.invalidations += 1
                entry.isDeviceMapped = contexts.contains { $0 !== context && $0[page].isPresent }
                // The accessed bit; the dirty one has no news: who may store was noted when he was let.
                if mapping.isAccessed { entry.isReferenced = true }
                unsafe slot.pointee = entry.rawValue
                return true
            }
        }
        mmu.add(tally)
        dropContext(context)
    }

    /// Takes a page away from all devices at once: for a write that may not wait for them, as it is about other pages, too, or
    /// because its memory failed. The caller says so in the page's entry.
    mutating func seize(_ page: UInt64) {
        for context in contexts where context[page].isPresent {
            context.unmap(page)
            dropContext(context)
        }
    }

    /// Takes pages that have left the page table out of those of the devices, and sees to it that their frames are freed when
    /// the invalidations have had their turns.
    mutating func drop(_ pages: [UInt64], frames: consuming FreedFrames) {
        var concerned: [DeviceMMU] = []
        for context in contexts {
            var isConcerned = false
            for page in pages where context[page].isPresent {
                context.unmap(page)
                isConcerned = true
            }
            if isConcerned { concerned.append(context.mmu) }
            dropContext(context)
        }
        assert(!concerned.isEmpty, "pages are marked as mapped by devices, and no device maps them")
        // As Linux frees pages only when the TLBs are flushed (mmu_gather).
        let (nodes, runs) = (nodes, frames.runs)
        let countdown = Countdown(concerned.count) {
            for run in runs { nodes.node(of: run.start).release(run) }
        }
        for mmu in concerned { mmu.invalidateInTurn { countdown.step() } }
    }
}
