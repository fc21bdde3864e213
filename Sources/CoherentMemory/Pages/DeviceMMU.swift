import LinuxSupport

/// Counters of a device's page tables as a whole. There is one page table for each buffer that the device uses.
/// Commands add entries when they touch pages; entries are removed when the CPU touches pages, and when pages move or
/// are freed.
public final class DeviceMMU: Sendable {
    /// The node of the device's memory.
    let node: Node
    /// Has what is to happen to the device's page tables wait its turn among the device's commands.
    let invalidateInTurn: @Sendable (_ body: @escaping @Sendable () -> Void) -> Void

    init(of node: Node, invalidateInTurn: @escaping @Sendable (@escaping @Sendable () -> Void) -> Void) {
        self.node = node
        self.invalidateInTurn = invalidateInTurn
    }

    /// Figures of a device's page tables, in pages except for the first.
    public struct Figures: Sendable, Hashable {
        /// The number of page tables: buffers with mapped pages, or in use by a command.
        public var contexts = 0
        /// The number of mapped pages.
        public var mapped = 0
        /// Mapped pages that the device has written.
        public var dirty = 0
        /// Mapped pages that the device has accessed.
        public var accessed = 0
        /// Mapped pages on the active list, which reclaim and demotion skip.
        public var active = 0
        /// Mapped pages that were used since the last scan of their list.
        public var referenced = 0
        /// Device faults, by a missing entry or a write to a read-only one, since the machine was made.
        public var faults = 0
        /// Entries that were invalidated since the machine was made.
        public var invalidations = 0

        /// Mapped pages on the inactive list.
        public var inactive: Int { mapped - active }
    }

    private let totals = Mutex(Figures())

    /// The present figures.
    public var figures: Figures { totals.withLock { $0 } }

    /// Adds changes, gathered over many entries.
    func add(_ tally: DeviceTally) {
        totals.withLock { totals in
            totals.contexts += tally.contexts
            totals.mapped += tally.mapped
            totals.dirty += tally.dirty
            totals.accessed += tally.accessed
            totals.active += tally.active
            totals.referenced += tally.referenced
            totals.faults += tally.faults
            totals.invalidations += tally.invalidations
        }
    }
}

/// What became of entries of a device's page table.
typealias DeviceTally = DeviceMMU.Figures

extension DeviceTally {
    /// Notes that an entry was changed, made or taken away.
    mutating func change(_ old: DeviceTableEntry, to new: DeviceTableEntry) {
        mapped += (new.isPresent ? 1 : 0) - (old.isPresent ? 1 : 0)
        dirty += (new.isDirty ? 1 : 0) - (old.isDirty ? 1 : 0)
        accessed += (new.isAccessed ? 1 : 0) - (old.isAccessed ? 1 : 0)
        active += (new.isActive ? 1 : 0) - (old.isActive ? 1 : 0)
        referenced += (new.isReferenced ? 1 : 0) - (old.isReferenced ? 1 : 0)
    }
}
