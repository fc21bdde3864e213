/// One entry of a device's page table: the pfn from bit 12, flags below.
struct DeviceTableEntry: BitwiseCopyable, Equatable {
    var rawValue: UInt64

    private static let present: UInt64 = 1 << 0
    private static let writable: UInt64 = 1 << 1
    private static let accessed: UInt64 = 1 << 2
    private static let dirty: UInt64 = 1 << 3
    private static let exclusive: UInt64 = 1 << 4
    private static let active: UInt64 = 1 << 5
    private static let referenced: UInt64 = 1 << 6

    init(rawValue: UInt64) { self.rawValue = rawValue }

    init(pfn: PFN) { rawValue = pfn << Page.shift | Self.present }

    var isPresent: Bool { rawValue & Self.present != 0 }

    var pfn: PFN { rawValue >> Page.shift }

    /// The device may store to the page; without, its next store is a write fault.
    var isWritable: Bool {
        get { rawValue & Self.writable != 0 }
        set { set(Self.writable, newValue) }
    }

    /// The device has used the page through this entry.
    var isAccessed: Bool {
        get { rawValue & Self.accessed != 0 }
        set { set(Self.accessed, newValue) }
    }

    /// The device has stored to the page through this entry.
    var isDirty: Bool {
        get { rawValue & Self.dirty != 0 }
        set { set(Self.dirty, newValue) }
    }

    /// No other device maps the page either.
    var isExclusive: Bool {
        get { rawValue & Self.exclusive != 0 }
        set { set(Self.exclusive, newValue) }
    }

    /// The page is on the device's active list; without, on the inactive one.
    var isActive: Bool {
        get { rawValue & Self.active != 0 }
        set { set(Self.active, newValue) }
    }

    /// The device has used the page since the list it is on was last looked at.
    var isReferenced: Bool {
        get { rawValue & Self.referenced != 0 }
        set { set(Self.referenced, newValue) }
    }

    /// A command uses the page (folio_mark_accessed()): the second use of an inactive page makes it active.
    mutating func use(isStore: Bool) {
        isAccessed = true
        if isStore { isDirty = true }
        if isReferenced, !isActive {
            isActive = true
            isReferenced = false
        } else {
            isReferenced = true
        }
    }

    private mutating func set(_ bit: UInt64, _ value: Bool) {
        rawValue = value ? rawValue | bit : rawValue & ~bit
    }
}
