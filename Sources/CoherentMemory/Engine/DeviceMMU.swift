import Synchronization

/// Counters of a device's page tables as a whole. There is one page table for each buffer that the device uses.
/// Commands add entries when they touch pages; entries are removed when the CPU touches pages, and when pages move or
/// are freed.
public final class DeviceMMU: Sendable {
    let contexts = Atomic(0)
    let mapped = Atomic(0)
    let dirty = Atomic(0)
    let accessed = Atomic(0)
    let active = Atomic(0)
    let referenced = Atomic(0)
    let faults = Atomic(0)
    let invalidations = Atomic(0)

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

    /// The present figures.
    public var figures: Figures {
        func value(_ figure: borrowing Atomic<Int>) -> Int { figure.load(ordering: .relaxed) }
        return Figures(
            contexts: value(contexts), mapped: value(mapped), dirty: value(dirty), accessed: value(accessed),
            active: value(active), referenced: value(referenced), faults: value(faults),
            invalidations: value(invalidations))
    }

    /// Adds changes, gathered over many entries.
    func add(_ tally: DeviceTally) {
        func add(_ count: Int, to figure: borrowing Atomic<Int>) {
            if count != 0 { figure.add(count, ordering: .relaxed) }
        }
        add(tally.mapped, to: mapped)
        add(tally.dirty, to: dirty)
        add(tally.accessed, to: accessed)
        add(tally.active, to: active)
        add(tally.referenced, to: referenced)
        add(tally.faults, to: faults)
        add(tally.invalidations, to: invalidations)
    }
}

/// What became of entries of a device's page table.
struct DeviceTally {
    var mapped = 0
    var dirty = 0
    var accessed = 0
    var active = 0
    var referenced = 0
    var faults = 0
    var invalidations = 0

    /// Notes that an entry was changed, made or taken away.
    mutating func change(_ old: DeviceTableEntry, to new: DeviceTableEntry) {
        mapped += (new.isPresent ? 1 : 0) - (old.isPresent ? 1 : 0)
        dirty += (new.isDirty ? 1 : 0) - (old.isDirty ? 1 : 0)
        accessed += (new.isAccessed ? 1 : 0) - (old.isAccessed ? 1 : 0)
        active += (new.isActive ? 1 : 0) - (old.isActive ? 1 : 0)
        referenced += (new.isReferenced ? 1 : 0) - (old.isReferenced ? 1 : 0)
    }
}
