import CoherentMemory
import Glibc
import LinuxSupport
import SystemPackage

/// A mapping of a process (`struct vm_area_struct`): a line of /proc/PID/maps.
struct MemoryArea: Sendable, Equatable {
    /// What is mapped.
    enum Kind: Sendable, Equatable {
        case anonymous
        /// Huge pages of hugetlbfs without a name, which cannot migrate.
        case hugetlb
        /// Memory of the kernel, such as [vvar], which devices may not touch.
        case special
        case file
        /// A file of this mount, by its inode.
        case own(UInt64)
    }

    var addresses: Range<UInt64>
    var isReadable: Bool
    var isWritable: Bool
    var isShared: Bool
    var kind: Kind

    init(addresses: Range<UInt64>, isReadable: Bool, isWritable: Bool, isShared: Bool, kind: Kind) {
        self.addresses = addresses
        self.isReadable = isReadable
        self.isWritable = isWritable
        self.isShared = isShared
        self.kind = kind
    }

    /// Whether a page comes from a file.
    var isOfFile: Bool {
        switch kind {
        case .file, .own: true
        case .anonymous, .hugetlb, .special: false
        }
    }

    /// Whether a device may write there. Not to a file of this mount: such a store would wait for the own mount where nothing
    /// ends the wait.
    var takesStores: Bool {
        if case .own = kind, isShared { return false }
        return isWritable
    }

    /// A mapping of a process, whose files on `mount` are this mount's.
    init(_ mapping: ProcMapping, mount: DeviceNumber?) {
        addresses = mapping.addresses
        isReadable = mapping.isReadable
        isWritable = mapping.isWritable
        isShared = mapping.isShared
        if let mount, mapping.device == mount {
            kind = .own(mapping.inode)
        } else if mapping.path.hasPrefix("/anon_hugepage") {
            kind = .hugetlb
        } else if mapping.inode != 0 {
            kind = .file
        } else {
            kind = mapping.path.hasPrefix("[v") ? .special : .anonymous
        }
    }
}

/// The mappings of a process, ascending.
struct MemoryAreas: Sendable {
    private let areas: [MemoryArea]

    init(_ areas: [MemoryArea]) { self.areas = areas }

    /// Whether the process has no memory any more: it has ended, or runs another program.
    var isEmpty: Bool { areas.isEmpty }

    /// The mapping that an address is in.
    subscript(address: UInt64) -> MemoryArea? {
        var (low, high) = (0, areas.count)
        while low < high {
            let middle = (low + high) / 2
            if areas[middle].addresses.upperBound <= address { low = middle + 1 } else { high = middle }
        }
        return low < areas.count && areas[low].addresses.contains(address) ? areas[low] : nil
    }

    /// Calls `body` with each mapping in a range and the addresses it covers there, nil for a hole.
    func walk(_ addresses: Range<UInt64>, _ body: (MemoryArea?, Range<UInt64>) throws(Errno) -> Void) throws(Errno) {
        var address = addresses.lowerBound
        for area in areas where area.addresses.overlaps(addresses) {
            if address < area.addresses.lowerBound { try body(nil, address..<area.addresses.lowerBound) }
            let end = min(area.addresses.upperBound, addresses.upperBound)
            try body(area, max(address, area.addresses.lowerBound)..<end)
            address = end
        }
        if address < addresses.upperBound { try body(nil, address..<addresses.upperBound) }
    }

    /// What hmm_range_fault() asks before a device touches memory.
    ///
    /// - Throws: EFAULT where nothing is mapped, or nothing that can be read; EPERM for a write to what can only be read; EFAULT
    ///   for a write to a file of this mount.
    func check(_ addresses: Range<UInt64>, isWrite: Bool) throws(Errno) {
        try walk(addresses) { area, _ throws(Errno) in
            guard let area, area.isReadable, area.kind != .special else { throw .badAddress }
            guard isWrite else { return }
            guard area.isWritable else { throw .notPermitted }
            guard area.takesStores else { throw .badAddress }
        }
    }

    /// Whether data may be copied to or from the caller's buffer.
    ///
    /// - Throws: EFAULT where it may not; for memory of this mount, too.
    func checkBuffer(_ addresses: Range<UInt64>, isWrite: Bool) throws(Errno) {
        try walk(addresses) { area, _ throws(Errno) in
            guard let area, isWrite ? area.isWritable : area.isReadable, area.kind != .special else {
                throw .badAddress
            }
            if case .own = area.kind { throw .badAddress }
        }
    }

    /// Every page of a range with the mapping it is in.
    func forEachPage(_ pages: Range<UInt64>, _ body: (UInt64, MemoryArea?) -> Void) {
        let shift = Page.shift
        // Nothing in it throws.
        try? walk(pages.lowerBound << shift..<pages.upperBound << shift) { area, addresses throws(Errno) in
            for page in addresses.lowerBound >> shift..<addresses.upperBound >> shift { body(page, area) }
        }
    }
}
