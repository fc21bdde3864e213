import CListener
import CoherentMemory
import Glibc
import LinuxSupport
import Synchronization
import SystemPackage

/// Memory without a name that forks share: what mmap(2) with MAP_SHARED and MAP_ANONYMOUS makes (a file of mm/shmem.c). And memory in huge
/// pages, which is a file in Linux even where it is private.
final class SharedMemory: Sendable {
    let memory: Buffer
    /// What is so of memory that is one program's own; nil where forks share it.
    let own: PrivatePages?
    let machine: Machine
    private let directory: SpaceDirectory
    /// The address spaces that map it.
    private let users = Atomic(0)
    /// What each of them has locked, by its attachment.
    private let locks = Mutex<[ObjectIdentifier: RangeSet<UInt64>]>([:])
    /// Held while a page gets its frame and the program its memory, and while frames are freed whose memory has gone.
    let turn = Mutex<Void>(())

    convenience init(_ machine: Machine, share: FrameShare?, in directory: SpaceDirectory) {
        self.init(machine, machine.makeAddressSpace(share: share, isShared: true), own: nil, in: directory)
    }

    init(_ machine: Machine, _ memory: Buffer, own: PrivatePages?, in directory: SpaceDirectory) {
        self.machine = machine
        self.directory = directory
        self.memory = memory
        self.own = own
        directory.add(self)
    }

    deinit {
        directory.remove(memory.id)
        machine.remove(memory)
    }

    /// Whether several address spaces map it.
    var isMappedTwice: Bool { users.load(ordering: .relaxed) > 1 }

    /// Takes note of what one of its users has locked of it.
    ///
    /// - Parameter locked: tells that; it is called with a lock held, so that who comes last tells the last state.
    private func updateLocks(by attachment: ObjectIdentifier, _ locked: () -> RangeSet<UInt64>) {
        locks.withLock { locks in
            func union() -> RangeSet<UInt64> { locks.values.reduce(RangeSet()) { $0.union($1) } }
            let new = locked()
            guard new != locks[attachment, default: RangeSet()] else { return }
            let before = union()
            locks[attachment] = new.isEmpty ? nil : new
            let after = union()
            for range in before.subtracting(after).ranges { machine.setLocked(false, of: memory, bytes: range) }
            for range in after.subtracting(before).ranges { machine.setLocked(true, of: memory, bytes: range) }
        }
    }

    /// Frees the frames of pages that the memory has no more (MADV_REMOVE).
    ///
    /// - Parameters:
    ///   - file: the memory as a file.
    ///   - bytes: whole pages.
    func freeHoles(in bytes: Range<UInt64>, file: FileDescriptor) {
        turn.withLock { _ in
            var (start, end) = (bytes.lowerBound, bytes.upperBound)
            while start < bytes.upperBound, unsafe clistener_find_hole(file.rawValue, &start, &end) == 0 {
                let hole = (start..<end).clamped(to: bytes)
                if !hole.isEmpty { machine.discard(memory, bytes: hole) }
                start = end
            }
        }
    }

    /// The use by one address space.
    final class Attachment: Sendable {
        let object: SharedMemory

        init(_ object: SharedMemory) {
            self.object = object
            object.users.wrappingAdd(1, ordering: .relaxed)
        }

        deinit {
            object.users.wrappingSubtract(1, ordering: .relaxed)
            object.updateLocks(by: ObjectIdentifier(self)) { RangeSet() }
        }

        /// Takes note of what its user has locked: `locked` tells, with a lock held.
        func updateLocks(_ locked: () -> RangeSet<UInt64>) {
            object.updateLocks(by: ObjectIdentifier(self), locked)
        }
    }
}

/// Where an address space has shared memory.
struct SharedArea: Sendable {
    var addresses: Range<UInt64>
    var attachment: SharedMemory.Attachment
    /// The offset in the memory of the first address.
    var offset: UInt64
    /// The bytes of the memory that are locked here.
    var locked = RangeSet<UInt64>()

    var mapping: MappedBuffer {
        MappedBuffer(addresses: addresses, buffer: attachment.object.memory, offset: offset)
    }

    /// The same for some of the addresses; nil for none.
    func clamped(to range: Range<UInt64>) -> SharedArea? {
        guard let part = mapping.clamped(to: range) else { return nil }
        return SharedArea(
            addresses: part.addresses, attachment: attachment, offset: part.offset,
            locked: locked.isEmpty ? locked : locked.intersection(RangeSet(part.bytes)))
    }
}

/// The shared memory of an address space, by its addresses.
struct SharedAreas: Sendable {
    private(set) var areas: [SharedArea] = []

    subscript(address: UInt64) -> SharedArea? { areas.first { $0.addresses.contains(address) } }

    /// The addresses.
    var addresses: RangeSet<UInt64> { RangeSet(areas.map(\.addresses)) }

    /// The bytes of one memory that are locked.
    func locked(of attachment: SharedMemory.Attachment) -> RangeSet<UInt64> {
        areas.reduce(RangeSet()) { $1.attachment === attachment ? $0.union($1.locked) : $0 }
    }

    /// The addresses of a range that are locked.
    func locked(in range: Range<UInt64>) -> RangeSet<UInt64> {
        RangeSet(
            areas.compactMap { $0.clamped(to: range) }.flatMap { area in
                area.locked.ranges.compactMap { area.mapping.addresses(of: $0) }
            })
    }

    mutating func insert(_ area: SharedArea) { areas.append(area) }

    /// Takes addresses away. What it returns is to be released outside of locks: the last use of shared memory frees it.
    mutating func remove(_ range: Range<UInt64>) -> [SharedArea] {
        let gone = areas.filter { $0.addresses.overlaps(range) }
        guard !gone.isEmpty else { return [] }
        areas.removeAll { $0.addresses.overlaps(range) }
        for area in gone {
            if let before = area.clamped(to: 0..<range.lowerBound) { areas.append(before) }
            if let behind = area.clamped(to: range.upperBound..<UInt64.max) { areas.append(behind) }
        }
        return gone
    }

    /// Locks addresses, or unlocks them; the uses of memory of which that changes something.
    mutating func setLocked(_ isLocked: Bool, _ range: Range<UInt64>) -> [SharedMemory.Attachment] {
        var changed: [SharedMemory.Attachment] = []
        for index in areas.indices {
            // Huge pages are never locked.
            guard !areas[index].attachment.object.isHuge, let part = areas[index].mapping.clamped(to: range) else {
                continue
            }
            if isLocked {
                areas[index].locked.insert(contentsOf: part.bytes)
            } else {
                areas[index].locked.remove(contentsOf: part.bytes)
            }
            changed.append(areas[index].attachment)
        }
        return changed
    }

    /// What a fork hands down.
    func inherited(in directory: SpaceDirectory) -> SharedAreas {
        var attachments: [ObjectIdentifier: SharedMemory.Attachment] = [:]
        var copy = self
        for index in copy.areas.indices {
            let object = copy.areas[index].attachment.object
            let attachment =
                attachments[ObjectIdentifier(object)] ?? SharedMemory.Attachment(object.forked(in: directory))
            attachments[ObjectIdentifier(object)] = attachment
            copy.areas[index].attachment = attachment
            copy.areas[index].locked = RangeSet()
            attachment.object.own?.noteMapped(copy.areas[index].mapping.bytes)
        }
        return copy
    }
}
