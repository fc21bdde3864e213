import LinuxSupport
import Synchronization

/// Counters of a buffer since it was made.
public struct BufferCounters: Sendable, Hashable {
    /// Requests to read pages: faults of mappings, read-ahead, and read(2) that misses the page cache.
    public var read: UInt64 = 0
    /// Requests to store pages: write(2), and write-back of stores through mappings.
    public var write: UInt64 = 0
    /// Pages that got their frame by a touch of a CPU.
    public var cpu: UInt64 = 0
    /// Pages that got their frame by a touch of a device.
    public var device: UInt64 = 0
    /// Touches that were refused because no frame was available.
    public var refused: UInt64 = 0

    /// Counts pages that got their frame.
    mutating func count(_ pages: Int, byDevice isDevice: Bool) {
        if isDevice { device += UInt64(pages) } else { cpu += UInt64(pages) }
    }
}

/// Memory that programs map: a size, a policy, and a page table (an address_space with its inode).
///
/// Buffers are made and removed by a ``Machine``, which also reads, writes and moves them.
public final class Buffer: Sendable, Identifiable {
    /// Unique among all buffers that a machine ever had.
    public let id: UInt64
    /// The size in bytes of a device's memory, which cannot change; nil for a buffer.
    public let fixedSize: UInt64?

    struct State: ~Copyable {
        var size: UInt64
        var pages: PageSet
        var policy: MemoryPolicy
        /// The policy made ready, which is long and mostly the default: none then.
        private var boxed: Boxed<EffectivePolicy>?
        /// The parts that have a policy of their own.
        var ranges = RangePolicies()
        /// Whether it is a device's own memory.
        let isDevice: Bool
        /// What its pages are made of.
        var storage = BufferStorage.paged(.never)
        /// Whether a user chose how huge its pages are.
        var isHugeChosen = false
        var counters = BufferCounters()
        var migrations = Migrations()
        /// Whether its pages may not move.
        var isPinned = false
        /// Pages of a program's own memory that it has locked.
        var locked = RangeSet<UInt64>()
        /// Huge pages of the pools that are promised to it, by their numbers.
        var reserved = RangeSet<UInt64>()
        /// Whether pages that it frees are promised to it again (HPAGE_RESV_OWNER).
        var reservesAgain = false
        /// Touches of pages that may move to who touches them, while any device wants that.
        var touches: [UInt64: PageTouches] = [:]
        /// Pages that are on their way over a link that takes its time, if any are.
        var hold: PageHold?

        init(
            size: UInt64, pages: consuming PageSet, policy: MemoryPolicy, effective: EffectivePolicy, isDevice: Bool
        ) {
            self.size = size
            self.pages = pages
            self.policy = policy
            self.isDevice = isDevice
            self.effective = effective
        }

        var effective: EffectivePolicy {
            get { boxed?.value ?? .default }
            set { boxed = newValue.isDefault ? nil : Boxed(newValue) }
        }
    }

    /// A value that is too long to have a place of its own in every buffer.
    final class Boxed<Value: Sendable>: Sendable {
        let value: Value

        init(_ value: Value) { self.value = value }
    }

    let state: Mutex<State>
    /// Whether the state has a backing file, for those who do not have the lock.
    let directness = Atomic(false)
    /// Held by a migration while it moves a batch, so that two never wait for the same page;
    /// they take turns, so that a long one does not keep out a short one.
    let migrationTurn = FairSemaphore()
    /// Held from when pages are noted as no longer cached until the page cache has given them up, by devices and by threads that
    /// move or watch pages that stay; only the pages noted are asked for. No device maps them meanwhile, and only reads
    /// of pages that devices map are held back: so no thread that holds this waits for a device.
    let unmapTurn = FairSemaphore()

    init(id: UInt64, tables: TablePool, policy: MemoryPolicy, effective: EffectivePolicy, fixedSize: UInt64?) {
        self.id = id
        self.fixedSize = fixedSize
        isAnonymous = false
        state = Mutex(
            State(
                size: fixedSize ?? 0, pages: PageSet(tables, owner: id), policy: policy, effective: effective,
                isDevice: fixedSize != nil))
    }

    /// An address space, of which addresses are the offsets.
    init(addressSpace id: UInt64, tables: TablePool, size: UInt64, isShared: Bool) {
        self.id = id
        fixedSize = nil
        isAnonymous = true
        var initial = State(
            size: size, pages: PageSet(tables, owner: id), policy: .default, effective: .default, isDevice: false)
        initial.storage = .anonymous(isPooled: false)
        initial.pages.isAnonymous = !isShared
        state = Mutex(initial)
    }

    /// Bytes.
    public var size: UInt64 { state.withLock { $0.size } }

    /// The policy of page allocation, where no range has another.
    public var policy: MemoryPolicy { state.withLock { $0.policy } }

    /// Whether pages that are allocated later are huge.
    public var hugeMode: HugeMode { state.withLock { $0.huge } }

    /// Whether the pages are one run of a node's contiguous share.
    var isContiguous: Bool { state.withLock { $0.contiguous != nil } }

    /// Whether it is the address space of a program: see ``Machine/makeAddressSpace(share:isShared:)``.
    public let isAnonymous: Bool

    /// The counters of the buffer.
    public var counters: BufferCounters { state.withLock { $0.counters } }

    /// Whether pages within the size have no frame.
    public var hasHoles: Bool {
        state.withLock { UInt64($0.pages.count) < Page.count(of: $0.size) }
    }

    /// The number of pages that have a frame.
    public var residentPages: Int { state.withLock { $0.pages.count } }

    /// The result of the migration of pages of the buffer that was started last, or its progress.
    public var migration: MigrationResult { state.withLock { $0.migrations }.result }

    /// Whether its pages may not move (mlock(2) and the longterm pins of mm/gup.c): a migration fails for them with
    /// EBUSY, and reclaim skips them. ``Machine/setPinned(_:of:)`` sets it.
    public var isPinned: Bool { state.withLock { $0.isPinned } }

    /// Counts the pages in a user's share of the nodes from now on, or in none. Pages above the share stay.
    public func setShare(_ share: FrameShare?) { state.withLock { $0.pages.setShare(share) } }

    /// The user's share of the nodes that its pages count in; nil for none.
    public var share: FrameShare? { state.withLock { $0.pages.share } }

    func pages(onNode index: Int) -> Int { state.withLock { $0.pages.count(onNode: index) } }

    /// Cancels every running migration of the buffer.
    public func cancelMigrations() { for account in state.withLock({ $0.migrations.running }) { account.cancel() } }

    /// The first page at or behind `page` that may have a frame: skips what was never touched.
    func nextPage(from page: UInt64) -> UInt64? {
        state.withLock { state in state.pages.table.nextLeaf(from: page).map { max(page, $0.base) } }
    }
}

/// How often a page was touched from the side that it is not on.
struct PageTouches {
    var device: UInt16 = 0
    var cpu: UInt16 = 0
}
