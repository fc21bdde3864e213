import Glibc
import LinuxSupport
import SystemPackage

/// How a command touches pages.
enum DeviceTouch {
    case read, write, exclusive
}

/// Who touches pages for a command.
struct DeviceActor {
    let device: Device
    /// Of the device's node, when the command began.
    let incarnation: UInt32
    let origin: Origin
    let touch: DeviceTouch

    /// Whether the device has been there since then.
    var isPresent: Bool { incarnation & 1 == 0 && device.node.incarnation == incarnation }
}

/// Bytes of a buffer where they are, as pieces that follow each other: valid while the buffer's lock is held.
@safe
struct DevicePieces {
    /// Bytes resolved under one hold of the buffer's lock.
    static let maximumBytes: UInt64 = 128 << 10
    /// A page that is cut at both ends, and one at each end.
    static let capacity = Int(maximumBytes / Page.size) + 1

    private let pieces: UnsafeMutablePointer<iovec>
    private(set) var count = 0
    /// Bytes in all pieces.
    private(set) var length = 0
    /// Nothing but zeros, and nowhere stored.
    let zeros: UnsafeMutableRawPointer

    init(_ pieces: UnsafeMutablePointer<iovec>, zeros: UnsafeMutableRawPointer) {
        unsafe self.pieces = pieces
        unsafe self.zeros = zeros
    }

    subscript(index: Int) -> UnsafeMutableRawBufferPointer {
        let piece = unsafe pieces[index]
        return unsafe UnsafeMutableRawBufferPointer(start: piece.iov_base, count: piece.iov_len)
    }

    mutating func append(_ address: UnsafeMutableRawPointer, _ bytes: Int) {
        length += bytes
        if count > 0 {
            let last = unsafe pieces[count - 1]
            if unsafe last.iov_base + last.iov_len == address {
                unsafe pieces[count - 1].iov_len += bytes
                return
            }
        }
        unsafe pieces[count] = iovec(iov_base: address, iov_len: bytes)
        count += 1
    }
}

extension Machine {
    /// Finds bytes of a buffer for a device: gives their pages frames where they have none, and the device entries in its
    /// page table where the page cache does not have the page (hmm_range_fault()). The caller holds the buffer's lock.
    ///
    /// - Parameter pieces: gets the bytes, up to the first page that the page cache may have, or that another device has to
    ///   let go of.
    /// - Throws: EFAULT behind the end of the buffer; EIO where the memory of the first page failed; ENOMEM where a page can get
    ///   no frame; EPERM where the task may not use those there are; EOPNOTSUPP for exclusive access to a direct buffer, which
    ///   programs map past everybody.
    func resolve(
        _ bytes: Range<UInt64>, in state: inout Buffer.State, for actor: DeviceActor, into pieces: inout DevicePieces
    ) throws(Errno) {
        // Under the lock, or a device might be given pages after all were taken from it.
        guard actor.isPresent else { throw .operationNotSupportedByDevice }
        guard bytes.upperBound <= state.size else { throw .badAddress }
        guard state.backing == nil || actor.touch != .exclusive else { throw .notSupported }
        guard let context = state.context(of: actor.device) else {
            preconditionFailure("a command is at work on a buffer that its device does not know")
        }
        var pages = bytes.lowerBound >> Page.shift..<Page.count(of: bytes.upperBound)
        if let withheld = state.backing?.firstWithheld(from: bytes.lowerBound), withheld < bytes.upperBound {
            // Touching it is SIGBUS for everybody.
            guard withheld >> Page.shift > pages.lowerBound else { throw .ioError }
            pages = pages.lowerBound..<withheld >> Page.shift
        }
        try state.backing?.claim(pages.lowerBound << Page.shift..<pages.upperBound << Page.shift)
        var end = try populate(pages, of: &state, origin: actor.origin, policy: .prefix)
        if let failed = firstMarker(in: pages, of: state) {
            guard failed > pages.lowerBound else { throw .ioError }
            end = min(end, failed)
        }
        var tally = DeviceTally()
        var newlyWritten = PageTally()
        defer {
            actor.device.mmu.add(tally)
            newlyWritten.flush { $0.counters.written.add($1) }
        }
        let isShared = state.contexts.count > 1
        var page = pages.lowerBound
        while page < end {
            guard let leaf = state.table.leaf(of: page) else { preconditionFailure("a populated page has no leaf") }
            let entries = unsafe state.table.entries(of: leaf)
            var mapping = context.table.leaf(of: page)
            let stop = min(end, (page | UInt64(TablePool.entries - 1)) + 1)
            while page < stop {
                let slot = Int(page) & (TablePool.entries - 1)
                var entry = PageTableEntry(rawValue: unsafe entries[slot])
                if isShared, isTaken(page, from: context, actor.touch, in: state) { return }
                var old = DeviceTableEntry(rawValue: 0)
                if let mapping { old.rawValue = unsafe context.table.entries(of: mapping)[slot] }
                var new = old
                if !old.isPresent {
                    // What the page cache has may have been stored to, and what is leaving it is not out yet.
                    if entry.isCached || entry.isUnmapping || entry.isMigrating { return }
                    new = DeviceTableEntry(pfn: entry.pfn)
                    if mapping == nil { mapping = try context.table.makeLeaf(of: page) }
                    context.table.insert(
                        PageTableEntry(rawValue: new.rawValue), at: page, leaf: mapping!)
                    entry.isDeviceMapped = true
                }
                new.isWritable = old.isWritable || actor.touch != .read
                if !old.isPresent || new.isWritable && !old.isWritable { tally.faults += 1 }
                if !old.isPresent { noteFaults(CollectionOfOne(page), in: &state, by: context) }
                if actor.touch == .exclusive { new.isExclusive = true }
                new.use(isStore: actor.touch == .write)
                if new != old {
                    tally.change(old, to: new)
                    unsafe context.table.entries(of: mapping!)[slot] = new.rawValue
                }
                if actor.touch == .write, !entry.isWritten, state.backing == nil {
                    newlyWritten.add(entry.pfn, in: self) { $0.counters.written.add($1) }
                    entry.isWritten = true
                }
                unsafe entries[slot] = entry.rawValue
                let from = max(bytes.lowerBound, page << Page.shift)
                let to = min(bytes.upperBound, (page + 1) << Page.shift)
                unsafe append(entries + slot, from..<to, of: state, to: &pieces)
                page += 1
            }
        }
    }

    /// Adds the bytes of a page, all in one place: here is where a device finds them.
    private func append(
        _ slot: UnsafeMutablePointer<UInt64>, _ bytes: Range<UInt64>, of state: borrowing Buffer.State,
        to pieces: inout DevicePieces
    ) {
        if let backing = state.backing {
            unsafe pieces.append(backing.address(of: bytes.lowerBound), bytes.count)
            return
        }
        guard PageTableEntry(rawValue: unsafe slot.pointee).isWritten else {
            // Looking into a hole would fill it.
            unsafe pieces.append(pieces.zeros, bytes.count)
            return
        }
        unsafe pieces.append(tables.address(of: slot) + Int(bytes.lowerBound & (Page.size - 1)), bytes.count)
    }

    /// Takes pages that the page cache may have out of it, which brings what was stored to them, and maps for the device
    /// those that no program was faster to read.
    ///
    /// Called without locks by the device's own thread. What this waits for no request waits for that is held back: those
    /// are for pages that a device maps, and the page cache does not have these.
    ///
    /// - Throws: ENOMEM where there is no room for the device's page table.
    func takeFromPageCache(_ buffer: Buffer, pages: Range<UInt64>, for actor: DeviceActor) throws(Errno) {
        try buffer.unmapTurn.withLock { _ throws(Errno) in
            let runs = buffer.state.withLock { uncache(pages, of: &$0) }
            for run in runs.runs { invalidate(buffer, pages: run) }
            try buffer.state.withLock { state throws(Errno) in try mapUncached(pages, in: &state, for: actor) }
        }
    }

    /// Maps those pages of a range for a device that have frames and are not cached. The caller holds the buffer's unmap turn
    /// and lock.
    private func mapUncached(
        _ pages: Range<UInt64>, in state: inout Buffer.State, for actor: DeviceActor
    ) throws(Errno) {
        unsafe forEachMatch(pages, filter: .unmapping, in: state) { _, slot in
            var entry = PageTableEntry(rawValue: unsafe slot.pointee)
            entry.isUnmapping = false
            unsafe slot.pointee = entry.rawValue
        }
        try map(pages, in: &state, for: actor)
    }

    /// Maps those pages of a range for a device that neither the page cache nor another device has in a way that forbids it.
    /// The caller holds the buffer's lock.
    func map(_ pages: Range<UInt64>, in state: inout Buffer.State, for actor: DeviceActor) throws(Errno) {
        guard actor.isPresent, let context = state.context(of: actor.device), !context.pinned.isEmpty else { return }
        var tally = DeviceTally()
        var faulted: [UInt64] = []
        var failure: Errno?
        unsafe forEachMatch(pages, filter: .all, in: state) { page, slot in
            var entry = PageTableEntry(rawValue: unsafe slot.pointee)
            guard !entry.isCached, !entry.isUnmapping, !isTaken(page, from: context, actor.touch, in: state) else {
                return
            }
            var mapping = context[page]
            guard !mapping.isPresent || actor.touch == .exclusive else { return }
            do throws(Errno) {
                let leaf = try context.table.makeLeaf(of: page)
                if !mapping.isPresent {
                    mapping = DeviceTableEntry(pfn: entry.pfn)
                    mapping.isWritable = actor.touch != .read
                    context.table.insert(PageTableEntry(rawValue: mapping.rawValue), at: page, leaf: leaf)
                    tally.mapped += 1
                    tally.faults += 1
                    faulted.append(page)
                    entry.isDeviceMapped = true
                    unsafe slot.pointee = entry.rawValue
                }
                if actor.touch == .exclusive {
                    // At once, or another device could be there before the command goes on.
                    mapping.isExclusive = true
                    unsafe context.table.entries(of: leaf)[Int(page) & (TablePool.entries - 1)] = mapping.rawValue
                }
            } catch {
                failure = error
            }
        }
        actor.device.mmu.add(tally)
        noteFaults(faulted, in: &state, by: context)
        if let failure { throw failure }
    }
}

extension DeviceContext {
    /// Takes the entry of a page away at once, without a turn in the device's queue.
    func unmap(_ page: UInt64) {
        guard let leaf = table.leaf(of: page) else { return }
        var tally = DeviceTally()
        table.remove(page..<page + 1, leaf: leaf) { _, entry in
            tally.change(DeviceTableEntry(rawValue: entry.rawValue), to: DeviceTableEntry(rawValue: 0))
            tally.invalidations += 1
            return true
        }
        device.mmu.add(tally)
    }
}
