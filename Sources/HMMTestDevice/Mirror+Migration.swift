import CoherentMemory
import SystemPackage

extension Mirror {
    /// HMM_DMIRROR_MIGRATE_TO_DEV: anonymous memory goes to the device, and is read there.
    ///
    /// - Throws: EINVAL where nothing is mapped, it cannot be read, or it is of hugetlbfs; ENOMEM where the device has not the
    ///   memory for all of it, and then nothing has gone there; ENOENT when some pages have not come
    ///   to the device: those of files, of shared memory, in swap, or on a device already. The others have.
    func migrateToDevice(_ pages: Range<UInt64>, _ copy: Copy) throws(Errno) -> MirrorOutcome {
        try copy.check(UInt64(pages.count) * Page.size, isWrite: true)
        let areas = try migratable(pages)
        let states = try refresh(pages, areas)
        var moving: [UInt64] = []
        var isWhole = true
        areas.forEachPage(pages) { page, area in
            let state = states[Int(page - pages.lowerBound)]
            if let area, canMove(page, state, area), process.placements.count + moving.count < Self.capacity {
                moving.append(page)
            } else if !isValid(page, state, in: area, isWrite: false) {
                isWhole = false
            }
        }
        // What has come back just now has its frames no more.
        process.placements.giveBack()
        var frames = try device.memory.take(moving.count)
        // Those that did not go after all go back.
        defer { device.memory.give(back: frames.slots, generation: frames.generation) }
        bringIn(pages, states, areas)
        // Before anything is noted: the copy maps what was never touched.
        if isWhole {
            try transfer(pages, copy, isWrite: false)
        } else {
            for page in moving where !states[Int(page - pages.lowerBound)].isPresent { try populate(page) }
        }
        try place(moving, in: &frames, of: pages, before: states, areas)
        rest(pages, areNew: true)
        guard isWhole else { throw .noSuchFileOrDirectory }
        return MirrorOutcome(pages: UInt64(pages.count))
    }

    private func canMove(_ page: UInt64, _ state: PageState, _ area: MemoryArea) -> Bool {
        guard !area.isShared, !state.isSwapped, process.placements[page]?.device == nil else { return false }
        return state.isPresent ? !state.isFile : area.kind == .anonymous
    }

    private func place(
        _ moving: [UInt64], in frames: inout MirrorFrames, of pages: Range<UInt64>, before: [PageState],
        _ areas: MemoryAreas
    ) throws(Errno) {
        let after = try pageMap.states(of: pages)
        for page in moving {
            let (old, new) = (before[Int(page - pages.lowerBound)], after[Int(page - pages.lowerBound)])
            // Gone or paged out meanwhile: then it has come back at once.
            guard new.isPresent, !new.isFile, let area = areas[page << Page.shift] else { continue }
            let isWritable = area.isWritable && (!old.isPresent || new.isZero || new.isExclusive)
            guard let slot = frames.slots.popLast() else { return }
            process.placements[page] = DevicePlacement(
                device: device, generation: frames.generation, slot: slot, isWritable: isWritable,
                identity: new.identity,
                isWatched: device.kind == .hidden && !new.isZero && new.isExclusive)
            entries[page] = Entry(
                identity: new.identity, device: device.number, access: isWritable ? .write : .read)
        }
    }

    /// HMM_DMIRROR_MIGRATE_TO_SYS: what the device has comes back.
    ///
    /// - Throws: EINVAL as for the way there.
    func migrateToSystem(_ pages: Range<UInt64>) throws(Errno) -> MirrorOutcome {
        let areas = try migratable(pages)
        _ = try refresh(pages, areas)
        var outcome = MirrorOutcome()
        if process.placements.isEmpty { return outcome }
        for page in pages where process.placements[page]?.device === device {
            process.placements[page] = nil
            entries[page] = nil
            outcome.pages += 1
        }
        return outcome
    }

    private func migratable(_ pages: Range<UInt64>) throws(Errno) -> MemoryAreas {
        let areas = try space.areas()
        try areas.walk(TouchDetector.addresses(of: pages)) { area, _ throws(Errno) in
            guard let area, area.isReadable, area.kind != .hugetlb, area.kind != .special else {
                throw .invalidArgument
            }
        }
        return areas
    }

    /// HMM_DMIRROR_EXCLUSIVE: the device has the pages to itself, for atomic operations, until the CPU touches them. They are
    /// read.
    ///
    /// - Throws: EFAULT where nothing can be written, EBUSY for pages of files and shared memory, EINVAL when the process has
    ///   ended.
    func makeExclusive(_ pages: Range<UInt64>, _ copy: Copy) throws(Errno) -> MirrorOutcome {
        try copy.check(UInt64(pages.count) * Page.size, isWrite: true)
        let areas = try space.areas()
        guard !areas.isEmpty else { throw .invalidArgument }
        let states = try refresh(pages, areas)
        try areas.walk(TouchDetector.addresses(of: pages)) { area, addresses throws(Errno) in
            guard let area, area.isReadable, area.isWritable, area.kind != .special else { throw .badAddress }
            guard !area.isShared else { throw .resourceBusy }
            for page in addresses.lowerBound >> Page.shift..<addresses.upperBound >> Page.shift {
                let state = states[Int(page - pages.lowerBound)]
                guard state.isPresent ? !state.isFile : area.kind == .anonymous || state.isSwapped else {
                    throw .resourceBusy
                }
            }
        }
        guard process.placements.count + pages.count <= Self.capacity else { throw .noMemory }
        bringIn(pages, states, areas)
        try transfer(pages, copy, isWrite: false)
        let after = try pageMap.states(of: pages)
        for page in pages {
            let state = after[Int(page - pages.lowerBound)]
            guard state.isPresent else { throw .resourceBusy }
            var placement = process.placements[page]
            // From memory that the CPU cannot reach it comes back first.
            if placement?.device?.kind != .coherent { placement = nil }
            process.placements[page] = DevicePlacement(
                device: placement?.device, generation: placement?.generation ?? 0, slot: placement?.slot ?? 0,
                exclusive: id, isWritable: true,
                identity: state.identity, isWatched: !state.isZero && state.isExclusive)
            entries[page] = Entry(
                identity: state.identity, device: placement?.device?.number, access: .exclusive)
        }
        rest(pages, areNew: true)
        return MirrorOutcome(pages: UInt64(pages.count))
    }

    /// HMM_DMIRROR_CHECK_EXCLUSIVE: asks that the device has none of the pages to itself any more.
    ///
    /// - Throws: EPERM where it has.
    func checkExclusive(_ pages: Range<UInt64>) throws(Errno) -> MirrorOutcome {
        let areas = try space.areas()
        _ = try refresh(pages, areas)
        if process.placements.isEmpty { return MirrorOutcome() }
        for page in pages where areas[page << Page.shift] != nil && process.placements[page]?.exclusive == id {
            throw .notPermitted
        }
        return MirrorOutcome()
    }
}
