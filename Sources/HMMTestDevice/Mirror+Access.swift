import CoherentMemory
import SystemPackage

extension Mirror {
    /// HMM_DMIRROR_READ: the device reads.
    ///
    /// - Throws: EFAULT where nothing can be read.
    func read(_ pages: Range<UInt64>, _ copy: Copy) throws(Errno) -> MirrorOutcome {
        try access(pages, copy, isWrite: false)
    }

    /// HMM_DMIRROR_WRITE: the device writes.
    ///
    /// - Throws: EFAULT where nothing is mapped that can be read, EPERM where it cannot be written.
    func write(_ pages: Range<UInt64>, _ copy: Copy) throws(Errno) -> MirrorOutcome {
        try access(pages, copy, isWrite: true)
    }

    private func access(_ pages: Range<UInt64>, _ copy: Copy, isWrite: Bool) throws(Errno) -> MirrorOutcome {
        try copy.check(UInt64(pages.count) * Page.size, isWrite: !isWrite)
        let areas = try space.areas()
        let states = try refresh(pages, areas)
        var invalid: UInt64?
        areas.forEachPage(pages) { page, area in
            let state = states[Int(page - pages.lowerBound)]
            if invalid == nil, !isValid(page, state, in: area, isWrite: isWrite) { invalid = page }
        }
        var outcome = MirrorOutcome(pages: UInt64(pages.count))
        if let invalid {
            try fault(invalid..<pages.upperBound, areas, isWrite: isWrite)
            outcome.faults = 1
        }
        bringIn(pages, states, areas)
        // Whatever of it was done, what is noted of the pages must be of now.
        defer { note(pages, areas, isWrite: isWrite) }
        try transfer(pages, copy, isWrite: isWrite)
        return outcome
    }

    /// What a device's page fault does (hmm_range_fault()): as a touch by the CPU it takes pages from other devices, and from
    /// the device that has them alone.
    private func fault(_ pages: Range<UInt64>, _ areas: MemoryAreas, isWrite: Bool) throws(Errno) {
        try areas.check(TouchDetector.addresses(of: pages), isWrite: isWrite)
        if process.placements.isEmpty { return }
        for page in pages {
            guard let placement = process.placements[page] else { continue }
            if placement.exclusive != 0 || placement.device !== device { comeBack(page) }
        }
    }

    /// Enters what was accessed into the page table.
    private func note(_ pages: Range<UInt64>, _ areas: MemoryAreas, isWrite: Bool) {
        guard let states = try? pageMap.states(of: pages) else { return }
        var areNew = false
        areas.forEachPage(pages) { page, area in
            let state = states[Int(page - pages.lowerBound)]
            guard let area, state.isPresent else { return }
            if var placement = process.placements[page], placement.identity != state.identity {
                // The device's own store has given the page its first frame.
                placement.identity = state.identity
                placement.isWatched = placement.endsWithTouch && !state.isZero && state.isExclusive
                process.placements[page] = placement
                areNew = true
            }
            let placement = process.placements[page]
            let access: PageAccess =
                placement?.exclusive == id
                ? .exclusive
                : isWrite || placement?.isWritable ?? state.isWritable(in: area) ? .write : .read
            entries[page] = Entry(identity: state.identity, device: placement?.device?.number, access: access)
        }
        rest(pages, areNew: areNew)
    }
}
