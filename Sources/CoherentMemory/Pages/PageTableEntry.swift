/// One entry of a buffer's page table, laid out as x86-64 does: the pfn from bit 12, flags below it and above bit 59.
struct PageTableEntry: BitwiseCopyable, Equatable {
    var rawValue: UInt64

    static let none = PageTableEntry(rawValue: 0)

    private static let present: UInt64 = 1 << 0
    private static let cached: UInt64 = 1 << 1
    private static let written: UInt64 = 1 << 2
    private static let migrating: UInt64 = 1 << 3
    private static let huge: UInt64 = 1 << 4
    private static let unmapping: UInt64 = 1 << 5
    private static let active: UInt64 = 1 << 6
    private static let referenced: UInt64 = 1 << 7
    private static let hinting: UInt64 = 1 << 8
    private static let hint: UInt64 = 1 << 9
    private static let poisoned: UInt64 = 1 << 10
    private static let lost: UInt64 = 1 << 11
    private static let pooled: UInt64 = 1 << 60
    private static let accessed: UInt64 = 1 << 62
    private static let deviceMapped: UInt64 = 1 << 63
    /// The bits above the pfn.
    private static let highFlags: UInt64 = 0xf << 60

    init(rawValue: UInt64) { self.rawValue = rawValue }

    init(pfn: PFN) { rawValue = pfn << Page.shift | Self.present }

    /// An entry in the place of a page whose memory failed: it has no frame, and a touch of it fails
    /// (make_hwpoison_entry()). The pfn tells only which frame it was.
    ///
    /// - Parameter keepsBytes: whether its place in the storage is no hole yet.
    init(marking kind: Marker, of page: PageTableEntry, keepsBytes: Bool) {
        rawValue = page.pfn << Page.shift | (kind == .poisoned ? Self.poisoned : Self.lost)
        // A reserved huge page stays one in the page table, for it goes as a whole.
        isHuge = page.isHuge
        isPooled = page.isPooled
        isWritten = keepsBytes
    }

    /// Why a page has no frame and must not get one.
    enum Marker {
        /// Its frame failed.
        case poisoned
        /// Its node was removed with its device.
        case lost
    }

    /// Nothing: the page may get a frame.
    var isNone: Bool { rawValue == 0 }

    /// The page has a frame.
    var isPresent: Bool { rawValue & Self.present != 0 }

    /// What stands in the place of the page; nil where it has a frame, or may get one.
    var marker: Marker? {
        if isPresent || isNone { return nil }
        return rawValue & Self.lost != 0 ? .lost : .poisoned
    }

    var pfn: PFN {
        get { (rawValue & ~Self.highFlags) >> Page.shift }
        set { rawValue = newValue << Page.shift | rawValue & (Page.size - 1 | Self.highFlags) }
    }

    /// The page was handed out and may be in the kernel's page cache, and so mapped.
    var isCached: Bool {
        get { rawValue & Self.cached != 0 }
        set { set(Self.cached, newValue) }
    }

    /// Bytes were stored to the page; until then its place in the storage is a hole. In the place of a page whose memory failed:
    /// its bytes are still there, for a reply reads them.
    var isWritten: Bool {
        get { rawValue & Self.written != 0 }
        set { set(Self.written, newValue) }
    }

    /// The page is chosen to move, or on its way over a link that takes its time.
    var isMigrating: Bool {
        get { rawValue & Self.migrating != 0 }
        set { set(Self.migrating, newValue) }
    }

    /// The page is one of 512 that share a huge page: they follow each other in aligned frames.
    var isHuge: Bool {
        get { rawValue & Self.huge != 0 }
        set { set(Self.huge, newValue) }
    }

    /// The huge page is a reserved one (PG_hugetlb).
    var isPooled: Bool {
        get { rawValue & Self.pooled != 0 }
        set { set(Self.pooled, newValue) }
    }

    /// The page is just being taken out of the page cache, so that the next touch shows. What is written back
    /// meanwhile does not mean that the cache has it.
    var isUnmapping: Bool {
        get { rawValue & Self.unmapping != 0 }
        set { set(Self.unmapping, newValue) }
    }

    /// The page is on its node's active list (PG_active); without, on the inactive one.
    var isActive: Bool {
        get { rawValue & Self.active != 0 }
        set { set(Self.active, newValue) }
    }

    /// The page was found in use when the scanner last came by (PG_referenced).
    var isReferenced: Bool {
        get { rawValue & Self.referenced != 0 }
        set { set(Self.referenced, newValue) }
    }

    /// The page was read past the page cache since the scanner last came by.
    var isAccessed: Bool {
        get { rawValue & Self.accessed != 0 }
        set { set(Self.accessed, newValue) }
    }

    /// The next read of the page is a hinting fault (PAGE_NONE).
    var isHinting: Bool {
        get { rawValue & Self.hinting != 0 }
        set { set(Self.hinting, newValue) }
    }

    /// What the frame table remembers of hinting faults is of this page.
    var hasHint: Bool {
        get { rawValue & Self.hint != 0 }
        set { set(Self.hint, newValue) }
    }

    /// The MMU of some device maps the page: then the kernel's page cache has it not, and must not get it before the
    /// device has let go of it.
    var isDeviceMapped: Bool {
        get { rawValue & Self.deviceMapped != 0 }
        set { set(Self.deviceMapped, newValue) }
    }

    /// Whether one of two entries counts where the other does not: as a page of a node, or among those in a state that nodes
    /// count.
    @inline(__always)
    static func differ(_ old: PageTableEntry, _ new: PageTableEntry) -> Bool {
        // The marker of frame 0 has no bit of a pfn.
        let marker = poisoned | lost
        let counted = present | cached | written | huge | active | marker | ~(Page.size - 1) & ~highFlags
        return (old.rawValue ^ new.rawValue) & counted != 0
    }

    private mutating func set(_ bit: UInt64, _ value: Bool) {
        rawValue = value ? rawValue | bit : rawValue & ~bit
    }
}
