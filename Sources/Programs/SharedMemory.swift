import CoherentMemory
import LinuxSupport
import Synchronization

/// Memory without a name that forks share: what mmap(2) with MAP_SHARED and MAP_ANONYMOUS makes (a file of mm/shmem.c).
final class SharedMemory: Sendable {
    let memory: Buffer
    private let machine: Machine
    /// The address spaces that map it.
    private let users = Atomic(0)

    init(_ machine: Machine, share: FrameShare?) {
        self.machine = machine
        memory = machine.makeAddressSpace(share: share, isShared: true)
    }

    deinit { machine.remove(memory) }

    /// Whether several address spaces map it.
    var isMappedTwice: Bool { users.load(ordering: .relaxed) > 1 }

    /// The use by one address space.
    final class Attachment: Sendable {
        let object: SharedMemory

        init(_ object: SharedMemory) {
            self.object = object
            object.users.wrappingAdd(1, ordering: .relaxed)
        }

        deinit { object.users.wrappingSubtract(1, ordering: .relaxed) }
    }
}

/// Where an address space has shared memory.
struct SharedArea: Sendable {
    var addresses: Range<UInt64>
    var attachment: SharedMemory.Attachment
    /// The offset in the memory of the first address.
    var offset: UInt64

    /// The same for some of the addresses; nil for none.
    func clamped(to range: Range<UInt64>) -> SharedArea? {
        let part = addresses.clamped(to: range)
        guard !part.isEmpty else { return nil }
        return SharedArea(
            addresses: part, attachment: attachment, offset: offset + (part.lowerBound - addresses.lowerBound))
    }
}

/// The shared memory of an address space, by its addresses.
struct SharedAreas: Sendable {
    private(set) var areas: [SharedArea] = []

    subscript(address: UInt64) -> SharedArea? { areas.first { $0.addresses.contains(address) } }

    /// The addresses.
    var addresses: RangeSet<UInt64> { RangeSet(areas.map(\.addresses)) }

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

    /// What a fork hands down.
    var inherited: SharedAreas {
        var attachments: [ObjectIdentifier: SharedMemory.Attachment] = [:]
        var copy = self
        for index in copy.areas.indices {
            let object = copy.areas[index].attachment.object
            let attachment = attachments[ObjectIdentifier(object)] ?? SharedMemory.Attachment(object)
            attachments[ObjectIdentifier(object)] = attachment
            copy.areas[index].attachment = attachment
        }
        return copy
    }
}
