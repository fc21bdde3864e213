import CListener
import CoherentMemory
import Glibc
import LinuxSupport
import SystemPackage

/// What programs do with shared memory, and what becomes of it: that concerns all who map it.
extension AddressSpace {
    /// Takes note of shared memory where there was none.
    func attach(_ area: SharedArea) {
        state.withLock { $0.shared.insert(area) }
        area.attachment.object.own?.noteMapped(area.mapping.bytes)
        updateLocks(of: [area.attachment])
    }

    /// Forgets shared memory.
    func detach(_ range: Range<UInt64>) {
        let gone = state.withLock { $0.shared.remove(range) }
        updateLocks(of: gone.map(\.attachment))
        for attachment in gone.map(\.attachment) where attachment.object.own != nil {
            let left = state.withLock { state in
                state.shared.areas.filter { $0.attachment === attachment }.map(\.mapping.bytes)
            }
            attachment.object.keepMapped(RangeSet(left))
        }
    }

    private func updateLocks(of attachments: [SharedMemory.Attachment]) {
        for attachment in attachments {
            attachment.updateLocks { state.withLock { $0.shared.locked(of: attachment) } }
        }
    }

    /// Locks what is registered of some addresses, the program's own and shared memory, or unlocks it.
    func setLocked(_ isLocked: Bool, _ range: Range<UInt64>, in machine: Machine) {
        if isLocked {
            for area in ownAreas(in: range).ranges { machine.setLocked(true, of: memory, bytes: area) }
        } else {
            machine.setLocked(false, of: memory, bytes: range)
        }
        updateLocks(of: state.withLock { $0.shared.setLocked(isLocked, range) })
    }

    /// The addresses of a range that are locked.
    func lockedAddresses(in range: Range<UInt64>, of machine: Machine) -> RangeSet<UInt64> {
        machine.lockedBytes(of: memory).intersection(RangeSet(range))
            .union(state.withLock { $0.shared.locked(in: range) })
    }

    /// What it maps of shared memory, and in huge pages.
    var sharedMappings: [MappedBuffer] { state.withLock { $0.shared.areas }.flatMap(\.parts) }

    /// Calls `body` with the memory of a shared area as a file, if a process is known that has it.
    ///
    /// The caller holds the calls' lock: as long as no call maps memory, nothing else that is shared and has no name comes there.
    ///
    /// - Returns: whether there was one.
    func withFile(of area: SharedArea, _ body: (FileDescriptor) -> Void) -> Bool {
        settle()
        guard shared(at: area.addresses.lowerBound)?.attachment === area.attachment, let process = process(),
            let mapping = try? MapsReader.mappings(of: process, at: area.addresses).first
        else { return false }
        let number = clistener_open_shared(process, mapping.addresses.lowerBound, mapping.addresses.upperBound)
        guard number >= 0 else { return false }
        let file = FileDescriptor(rawValue: number)
        defer { try? file.close() }
        body(file)
        return true
    }
}

extension SpaceDirectory {
    /// Where address spaces map some bytes of shared memory.
    func mappers(of memory: Buffer, bytes: Range<UInt64>) -> [(space: AddressSpace, area: SharedArea)] {
        guard let object = object(of: memory.id) else { return [] }
        return all.flatMap { space in
            space.state.withLock { state in
                state.shared.areas.filter { $0.attachment.object === object && $0.mapping.bytes.overlaps(bytes) }
            }.map { (space, $0) }
        }
    }

    /// Takes pages of shared memory away from all who map it whose frames failed: touches of them are reported from now on, and refused.
    ///
    /// - Parameter bytes: whole pages, of which those go that have failed.
    func takeFailed(_ memory: Buffer, bytes: Range<UInt64>, in machine: Machine) {
        for failed in machine.failedRanges(of: memory, in: bytes) {
            // What one of them gives back, the others have no more.
            var left = RangeSet(failed)
            for (space, area) in mappers(of: memory, bytes: failed) {
                let part = failed.clamped(to: area.mapping.bytes)
                guard !left.isDisjoint(RangeSet(part)) else { continue }
                let isTaken = space.calls.withLock { _ in
                    if area.attachment.object.own != nil, let addresses = area.mapping.addresses(of: part) {
                        space.empty(addresses)
                        return true
                    }
                    return space.withFile(of: area) { file in
                        clistener_punch(file.rawValue, part.lowerBound, UInt64(part.count))
                    }
                }
                if isTaken { left.remove(contentsOf: part) }
                if left.isEmpty { break }
            }
        }
    }

    /// The use of pages of shared memory by all who map it; nil where that of any of them is not known.
    ///
    /// - Parameters:
    ///   - pages: by their numbers.
    ///   - node: the id of the node on whose CPU a process runs.
    func use(of memory: Buffer, pages: [Range<UInt64>], node: (Int32) -> Int) -> ProgramUse? {
        guard let first = pages.first, let last = pages.last else { return ProgramUse([]) }
        var stores: [ProgramUse.Stores] = []
        let all = first.lowerBound << Page.shift..<last.upperBound << Page.shift
        for (space, area) in mappers(of: memory, bytes: all) {
            let ranges = pages.compactMap {
                area.mapping.addresses(of: $0.lowerBound << Page.shift..<$0.upperBound << Page.shift)
            }
            guard let stored = space.use.stored(ranges, of: space, areas: { space.areas(in: $0) }) else { return nil }
            let process = space.state.withLock { $0.process } ?? 0
            let found = stored.ranges.compactMap { range in
                area.mapping.clamped(to: range).map {
                    $0.bytes.lowerBound >> Page.shift..<$0.bytes.upperBound >> Page.shift
                }
            }
            stores.append(.init(pages: RangeSet(found), origin: Origin(pid: process, node: node(process))))
        }
        return ProgramUse(stores)
    }
}

extension Machine {
    /// The pages of a range whose frames failed, or are behind a link that was cut.
    ///
    /// - Parameter range: whole pages.
    func failedRanges(of memory: Buffer, in range: Range<UInt64>) -> [Range<UInt64>] {
        var failed: [Range<UInt64>] = []
        var position = range.lowerBound
        while position < range.upperBound, let run = runs(of: memory, from: position, limit: 1).first {
            let bytes = (run.offset..<run.offset + run.length).clamped(to: range)
            position = run.offset + run.length
            if run.isPoisoned || run.isLost, !bytes.isEmpty { failed.append(bytes) }
        }
        return failed
    }
}

extension CallingTask {
    /// madvise(2) with MADV_REMOVE: what it gives back has no frames any more in any program that maps it. The caller holds the calls' lock.
    func remove(_ space: AddressSpace, _ start: UInt64, _ length: UInt64, _ advice: UInt64) throws(Errno) -> CallOutcome
    {
        guard let range = pages(from: start, length: length) else { return .pass }
        let areas = space.state.withLock { state in
            state.shared.areas.filter { $0.attachment.object.own == nil }.compactMap { $0.clamped(to: range) }
        }
        guard !areas.isEmpty else { return .pass }
        defer {
            for area in areas {
                // Marks of touches that failed, which the kernel leaves.
                space.empty(area.addresses)
                _ = space.withFile(of: area) { file in
                    area.attachment.object.freeHoles(in: area.mapping.bytes, file: file)
                }
            }
        }
        let result = try space.execute(Int(CLISTENER_MADVISE), [start, length, advice])
        space.settle()
        return .value(Int64(bitPattern: result))
    }
}
