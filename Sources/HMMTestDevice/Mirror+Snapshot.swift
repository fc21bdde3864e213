import CLinux
import CoherentMemory
import SystemPackage

/// What SNAPSHOT says of a page (`HMM_DMIRROR_PROT_…`).
struct MirrorProtection: OptionSet {
    let rawValue: UInt8

    static let read = MirrorProtection(rawValue: 0x01)
    static let write = MirrorProtection(rawValue: 0x02)
    /// Mapped by one entry for 2 MiB.
    static let pmd = MirrorProtection(rawValue: 0x04)
    /// Mapped by one entry for 1 GiB.
    static let pud = MirrorProtection(rawValue: 0x08)
    static let zero = MirrorProtection(rawValue: 0x10)
    // The places are numbers in the upper half, not bits of their own.
    static let privateLocal = MirrorProtection(rawValue: 0x20)
    static let coherentLocal = MirrorProtection(rawValue: 0x40)
    static let coherentRemote = MirrorProtection(rawValue: 0x50)
    /// Nothing is mapped there, or it cannot be read.
    static let error = MirrorProtection(rawValue: 0xff)
}

extension Mirror {
    /// HMM_DMIRROR_SNAPSHOT: what each page is, without a fault.
    ///
    /// - Throws: EINVAL when the process has ended.
    func snapshot(_ pages: Range<UInt64>, _ copy: Copy) throws(Errno) -> MirrorOutcome {
        try copy.check(UInt64(pages.count), isWrite: true)
        let areas = try space.areas()
        guard !areas.isEmpty else { throw .invalidArgument }
        fillOwnMappings(pages, areas)
        let states = try refresh(pages, areas)
        var protections: [UInt8] = []
        protections.reserveCapacity(pages.count)
        var huge: (area: MemoryArea, level: MirrorProtection)?
        areas.forEachPage(pages) { page, area in
            let state = states[Int(page - pages.lowerBound)]
            guard let area, area.isReadable, area.kind != .special else {
                protections.append(MirrorProtection.error.rawValue)
                return
            }
            var protection = self.protection(page, state, area)
            if !protection.isEmpty, state.isHuge, process.placements[page]?.device == nil {
                if huge?.area != area { huge = (area, level(of: area)) }
                protection.formUnion(huge?.level ?? .pmd)
            }
            protections.append(protection.rawValue)
        }
        try copy.caller.write(copy.pointer, protections)
        return MirrorOutcome(pages: UInt64(pages.count))
    }

    /// What a page is, its size aside (dmirror_mkentry()).
    private func protection(_ page: UInt64, _ state: PageState, _ area: MemoryArea) -> MirrorProtection {
        guard let placement = process.placements[page] else {
            guard state.isPresent else { return [] }
            if state.isZero { return [.zero, .read] }
            return state.isWritable(in: area) ? .write : .read
        }
        // What a device has to itself, or in memory of its own, is no page to others.
        guard placement.exclusive == 0, let holder = placement.device else { return [] }
        let access: MirrorProtection = placement.isWritable && area.isWritable ? .write : .read
        switch (holder.kind, holder === device) {
        case (.hidden, true): return [.privateLocal, access]
        case (.hidden, false): return []
        case (.coherent, true): return [.coherentLocal, access]
        case (.coherent, false): return [.coherentRemote, access]
        }
    }

    private func level(of area: MemoryArea) -> MirrorProtection {
        touches.usage(of: area)?.pageSize == 1 << 30 ? .pud : .pmd
    }

    /// The driver of Linux fills a mapping of its own files when that is made. This one does not see mmap(2), so it fills
    /// them when it looks.
    private func fillOwnMappings(_ pages: Range<UInt64>, _ areas: MemoryAreas) {
        try? areas.walk(TouchDetector.addresses(of: pages)) { area, addresses throws(Errno) in
            guard let area, case .own(let inode) = area.kind, files.contains(inode), area.isReadable else { return }
            let pages = addresses.lowerBound >> Page.shift..<addresses.upperBound >> Page.shift
            // Beyond the end of the file there is none.
            for page in pages.prefix(MirrorDevice.fileSize >> Int(Page.shift)) {
                clinux_touch_page(process.id, page << Page.shift)
            }
        }
    }
}
