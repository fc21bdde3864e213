/// One entry of a buffer's page table, laid out as x86-64 does: the pfn from bit 12, flags below.
struct PageTableEntry: BitwiseCopyable, Equatable {
    var rawValue: UInt64

    static let none = PageTableEntry(rawValue: 0)

    private static let present: UInt64 = 1 << 0
    private static let cached: UInt64 = 1 << 1
    private static let written: UInt64 = 1 << 2
    private static let migrating: UInt64 = 1 << 3
    private static let huge: UInt64 = 1 << 4

    init(rawValue: UInt64) { self.rawValue = rawValue }

    init(pfn: PFN) { rawValue = pfn << Page.shift | Self.present }

    var isPresent: Bool { rawValue != 0 }

    var pfn: PFN {
        get { rawValue >> Page.shift }
        set { rawValue = newValue << Page.shift | rawValue & (Page.size - 1) }
    }

    /// The page was handed out and may be in the kernel's page cache, and so mapped.
    var isCached: Bool {
        get { rawValue & Self.cached != 0 }
        set { set(Self.cached, newValue) }
    }

    /// Bytes were stored into the frame; until then it is a hole of the arena.
    var isWritten: Bool {
        get { rawValue & Self.written != 0 }
        set { set(Self.written, newValue) }
    }

    /// A migration has asked the page cache for the page and is about to copy it.
    var isMigrating: Bool {
        get { rawValue & Self.migrating != 0 }
        set { set(Self.migrating, newValue) }
    }

    /// The page is one of 512 that share a huge page: they follow each other in aligned frames.
    var isHuge: Bool {
        get { rawValue & Self.huge != 0 }
        set { set(Self.huge, newValue) }
    }

    private mutating func set(_ bit: UInt64, _ value: Bool) {
        rawValue = value ? rawValue | bit : rawValue & ~bit
    }
}
