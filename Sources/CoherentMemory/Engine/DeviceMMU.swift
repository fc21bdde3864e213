import Synchronization

/// What is known of a device's page tables as a whole. There is one for each buffer that the device uses, filled page by
/// page as commands touch it, and emptied as the CPU touches pages, or pages move or go.
public final class DeviceMMU: Sendable {
    let contexts = Atomic(0)
    let mapped = Atomic(0)
    let dirty = Atomic(0)
    let accessed = Atomic(0)
    let active = Atomic(0)
    let referenced = Atomic(0)
    let faults = Atomic(0)
    let invalidations = Atomic(0)

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

    /// The figures of now.
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
