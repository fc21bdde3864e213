import LinuxSupport

/// What is known of a device's page tables as a whole. There is one for each buffer that the device uses, filled page by
/// page as commands touch it, and emptied as the CPU touches pages, or pages move or go.
public final class DeviceMMU: Sendable {
    /// The node of the device's memory.
    let node: Node
    /// Has what is to happen to the device's page tables wait its turn among the device's commands.
    let invalidateInTurn: @Sendable (_ body: @escaping @Sendable () -> Void) -> Void

    init(of node: Node, invalidateInTurn: @escaping @Sendable (@escaping @Sendable () -> Void) -> Void) {
        self.node = node
        self.invalidateInTurn = invalidateInTurn
    }

    /// Figures of a device's page tables, in pages but for the first.
    public struct Figures: Sendable, Hashable {
        /// Page tables: buffers of which pages are mapped, or which a command is at work on.
        public var contexts = 0
        /// Pages mapped.
        public var mapped = 0
        /// Mapped pages that the device has stored to.
        public var dirty = 0
        /// Mapped pages that the device has used.
        public var accessed = 0
        /// Mapped pages on the active list: neither reclaimed nor demoted.
        public var active = 0
        /// Mapped pages used since the list that they are on was last looked at.
        public var referenced = 0
        /// Touches of the device that found no entry, or one that did not let it store, since the machine was made.
        public var faults = 0
        /// Entries that were taken away, since the machine was made.
        public var invalidations = 0

        /// Mapped pages on the inactive list.
        public var inactive: Int { mapped - active }
    }

    private let totals = Mutex(Figures())

    /// The figures of now.
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
