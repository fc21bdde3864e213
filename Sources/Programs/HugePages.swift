import CListener
import CoherentMemory
import LinuxSupport
import SystemPackage

/// What is so of memory in huge pages of the pools that is one program's own (MAP_HUGETLB with MAP_PRIVATE).
///
/// A fork copies no page. What the child has of its parent it inherits: the page is in the parent's memory until a comparison of the page maps
/// tells that one of them has stored to it. Then the child takes a page of its own, for which it has no promise (hugetlb_wp()).
final class PrivatePages: Sendable {
    private struct Child {
        weak var object: SharedMemory?
    }

    private struct State {
        /// The bytes that its address space maps.
        var mapped = RangeSet<UInt64>()
        /// The bytes whose pages are the elder's.
        var inherited = RangeSet<UInt64>()
        var children: [Child] = []
    }

    /// The memory that the fork has made this one of.
    let elder: SharedMemory?
    private let state = Mutex(State())

    init(elder: SharedMemory? = nil) { self.elder = elder }

    var inherited: RangeSet<UInt64> { state.withLock { $0.inherited } }

    var mapped: RangeSet<UInt64> { state.withLock { $0.mapped } }

    private var children: [SharedMemory] { state.withLock { $0.children.compactMap(\.object) } }

    /// The bytes whose pages children have, too.
    var lent: RangeSet<UInt64> { children.reduce(RangeSet()) { $0.union($1.own?.inherited ?? RangeSet()) } }

    fileprivate func add(_ child: SharedMemory) {
        state.withLock { state in
            state.children.removeAll { $0.object == nil }
            state.children.append(Child(object: child))
        }
    }

    fileprivate func inherit(_ bytes: RangeSet<UInt64>) { state.withLock { $0.inherited = bytes } }

    fileprivate func remove(inherited bytes: RangeSet<UInt64>) { state.withLock { $0.inherited.subtract(bytes) } }

    func noteMapped(_ bytes: Range<UInt64>) { state.withLock { $0.mapped.insert(contentsOf: bytes) } }

    /// Takes note of what is left; the bytes that are mapped no more.
    fileprivate func keepMapped(_ bytes: RangeSet<UInt64>) -> RangeSet<UInt64> {
        state.withLock { state in
            defer { state.mapped = bytes }
            return state.mapped.subtracting(bytes)
        }
    }
}

extension SharedMemory {
    /// Memory in huge pages, of which a part is promised to who maps it.
    ///
    /// - Throws: ENOMEM as ``Machine/makeHugeMapping(reserving:share:origin:)``.
    static func huge(
        _ machine: Machine, reserving pages: Int, isPrivate: Bool, share: FrameShare?, origin: Origin,
        in directory: SpaceDirectory
    ) throws(Errno) -> SharedMemory {
        let memory = try machine.makeHugeMapping(reserving: pages, share: share, origin: origin)
        return SharedMemory(machine, memory, own: isPrivate ? PrivatePages() : nil, in: directory)
    }

    /// Whether it has huge pages of the pools.
    var isHuge: Bool { memory.hugeMode == .pool }

    /// What a fork hands down of it: the same memory where it is shared.
    func forked(in directory: SpaceDirectory) -> SharedMemory {
        guard let own else { return self }
        // No promise is handed down (hugetlb_dup_vma_private()).
        guard
            let memory = try? machine.makeHugeMapping(
                reserving: 0, share: memory.share, origin: Origin(pid: 0, node: 0))
        else { return self }
        for part in machine.policyRanges(of: self.memory) {
            try? machine.setPolicy(part.policy, of: memory, bytes: part.bytes)
        }
        let child = SharedMemory(machine, memory, own: PrivatePages(elder: self), in: directory)
        var bytes = own.inherited
        var position: UInt64 = 0
        while let run = machine.runs(of: self.memory, from: position, limit: 1).first {
            position = run.offset + run.length
            bytes.insert(contentsOf: run.offset..<position)
        }
        child.own?.inherit(bytes.intersection(own.mapped.hugePages))
        own.add(child)
        return child
    }

    /// The memory that has the page of an offset: its own, or that of an elder.
    func holder(of offset: UInt64) -> SharedMemory {
        guard let own, let elder = own.elder, own.inherited.contains(offset) else { return self }
        return elder.holder(of: offset)
    }

    /// Takes note of what its address space still maps: other pages go, unless a child has them.
    func keepMapped(_ bytes: RangeSet<UInt64>) {
        guard let own else { return }
        drop(own.keepMapped(bytes).hugePages)
    }

    /// Gives up huge pages that are not mapped and that no child has.
    private func drop(_ bytes: RangeSet<UInt64>) {
        guard let own else { return }
        var gone = bytes.subtracting(own.mapped.hugePages)
        gone.subtract(own.lent)
        giveBack(gone.intersection(own.inherited))
        for range in gone.ranges { machine.unmap(memory, bytes: range) }
    }

    /// Has pages of elders no more.
    private func giveBack(_ bytes: RangeSet<UInt64>) {
        guard let own, let elder = own.elder, !bytes.isEmpty else { return }
        own.remove(inherited: bytes)
        elder.drop(bytes)
    }

    /// Frees whole pages (madvise(2) with MADV_DONTNEED).
    func discard(_ bytes: Range<UInt64>) {
        guard let own else { return }
        let start = (bytes.lowerBound + HugePage.size - 1) / HugePage.size * HugePage.size
        let whole = RangeSet(start..<max(start, bytes.upperBound / HugePage.size * HugePage.size))
        let inherited = whole.intersection(own.inherited)
        giveBack(inherited)
        // What a child has stays the child's.
        for range in whole.subtracting(inherited).subtracting(own.lent).ranges { machine.discard(memory, bytes: range) }
    }

    /// Gives it a page of its own in place of an elder's, to which one of them has stored. Where the pools have none, both are counted once.
    func separate(_ unit: Range<UInt64>) {
        guard let own, let elder = own.elder, own.inherited.contains(unit.lowerBound) else { return }
        machine.copy(elder.holder(of: unit.lowerBound).memory, to: memory, bytes: unit)
        guard machine.nodeID(of: memory, at: unit.lowerBound) != nil else { return }
        giveBack(RangeSet(unit))
    }

    /// The huge pages of which a range has a part.
    static func units(around bytes: Range<UInt64>) -> some Sequence<Range<UInt64>> {
        let start = bytes.lowerBound / HugePage.size * HugePage.size
        return stride(from: start, to: bytes.upperBound, by: Int(HugePage.size)).lazy.map { $0..<$0 + HugePage.size }
    }
}

extension RangeSet<UInt64> {
    /// The huge pages of which it has a part.
    fileprivate var hugePages: RangeSet<UInt64> {
        RangeSet(
            ranges.map {
                $0.lowerBound / HugePage.size * HugePage.size..<($0.upperBound + HugePage.size - 1) / HugePage.size
                    * HugePage.size
            })
    }
}

extension SharedArea {
    /// What is mapped there, in stretches of which the pages are in one memory and are this program's alone or not.
    var pieces: [MemoryArea] {
        let shared = attachment.object.own.map { $0.inherited.union($0.lent) }
        return parts.map { part in
            MemoryArea(
                addresses: part.addresses, content: .buffer(part.buffer, offset: part.offset),
                isMappedTwice: shared?.contains(part.offset) ?? attachment.object.isMappedTwice,
                policies: shared == nil ? nil : attachment.object.memory)
        }
    }

    /// The same: the memory that has the pages of each stretch.
    var parts: [MappedBuffer] {
        let object = attachment.object
        guard let own = object.own else { return [mapping] }
        let bytes = mapping.bytes
        let bounds = Set(
            ([bytes] + own.inherited.ranges + own.lent.ranges).flatMap { [$0.lowerBound, $0.upperBound] }
                .filter { $0 >= bytes.lowerBound && $0 <= bytes.upperBound }
        ).sorted()
        return zip(bounds, bounds.dropFirst()).compactMap { start, end in
            mapping.addresses(of: start..<end).map { addresses in
                MappedBuffer(addresses: addresses, buffer: object.holder(of: start).memory, offset: start)
            }
        }
    }
}

extension AddressSpace {
    /// Its own memory in huge pages at some addresses, ascending.
    func ownHugeAreas(in range: Range<UInt64>) -> [SharedArea] {
        state.withLock { state in
            state.shared.areas.filter { $0.attachment.object.own != nil }.compactMap { $0.clamped(to: range) }
        }.sorted { $0.addresses.lowerBound < $1.addresses.lowerBound }
    }

    /// The huge page of an address, as far as it is mapped; nil where there is none.
    func hugeUnit(around address: UInt64) -> Range<UInt64>? {
        guard let area = shared(at: address), area.attachment.object.isHuge else { return nil }
        let start = address & ~(HugePage.size - 1)
        return (start..<start + HugePage.size).clamped(to: area.addresses)
    }

    /// Whether all of some addresses is memory in huge pages.
    func isHuge(_ range: Range<UInt64>) -> Bool {
        let areas = state.withLock { $0.shared.areas.filter { $0.attachment.object.isHuge } }
        return !areas.isEmpty && RangeSet(range).subtracting(RangeSet(areas.map(\.addresses))).isEmpty
    }

    /// A mapping as the kernel has it, cut where memory in huge pages begins and ends: the kernel has ordinary memory there, too.
    func parts(of mapping: ProcMapping) -> [(mapping: ProcMapping, huge: SharedArea?)] {
        guard mapping.isOwnMemory else {
            let shared = mapping.isShared ? shared(at: mapping.addresses.lowerBound) : nil
            return [(mapping, shared.flatMap { $0.attachment.object.isHuge ? $0.clamped(to: mapping.addresses) : nil })]
        }
        var parts: [(ProcMapping, SharedArea?)] = []
        var position = mapping.addresses.lowerBound
        func add(_ end: UInt64, _ area: SharedArea?) {
            guard position < end else { return }
            var part = mapping
            part.addresses = position..<end
            parts.append((part, area))
            position = end
        }
        for area in ownHugeAreas(in: mapping.addresses) {
            add(area.addresses.lowerBound, nil)
            add(area.addresses.upperBound, area)
        }
        add(mapping.addresses.upperBound, nil)
        return parts
    }

    /// Takes away what addresses of huge pages lose (madvise(2) with MADV_DONTNEED).
    func discardHuge(_ range: Range<UInt64>) {
        for area in ownHugeAreas(in: range) { area.attachment.object.discard(area.mapping.bytes) }
    }

    /// Gives a space that a fork has made pages of its own where it or an elder has stored since. It may wait for as long as one of
    /// them is locked.
    func separateHugePages(in directory: SpaceDirectory) {
        for area in ownHugeAreas(in: 0..<Machine.addressLimit) {
            let object = area.attachment.object
            for range in (object.own?.inherited ?? RangeSet()).intersection(RangeSet(area.mapping.bytes)).ranges {
                for unit in SharedMemory.units(around: range) { separate(unit, of: object, at: area, in: directory) }
            }
        }
    }

    private func separate(
        _ unit: Range<UInt64>, of object: SharedMemory, at area: SharedArea, in directory: SpaceDirectory
    ) {
        guard let addresses = area.mapping.addresses(of: unit), let own = pageMap() else { return }
        let holder = object.holder(of: unit.lowerBound)
        // Where the elder has moved its mapping, or has gone, there is nothing to compare.
        guard
            let elder = directory.mappers(of: holder.memory, bytes: unit).first(where: {
                $0.area.mapping.addresses(of: unit) == addresses
            }), let other = elder.space.pageMap()
        else { return }
        var alone = own.writable(in: addresses).intersection(other.writable(in: addresses))
        alone.subtract(own.shared(with: other, in: addresses))
        if !alone.isEmpty { object.separate(unit) }
    }
}
