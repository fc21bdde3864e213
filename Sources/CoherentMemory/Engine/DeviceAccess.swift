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

extension Pieces {
    /// Bytes that a device finds under one hold of the buffer's lock.
    static let maximumBytes: UInt64 = 128 << 10
    /// A page that is cut at both ends, and one at each end.
    static let deviceCapacity = Int(maximumBytes / Page.size) + 1
}

extension Buffer.State {
    /// Finds bytes of a buffer for a device: gives their pages frames where they have none, and the device entries in its
    /// page table where the page cache does not have the page (hmm_range_fault()). The caller holds the buffer's lock.
    ///
    /// - Parameter pieces: gets the bytes, up to the first page that the page cache may have, or that another device has to
    ///   let go of.
    /// - Throws: EFAULT behind the end of the buffer; EIO where the memory of the first page failed; ENOMEM where a page can get
    ///   no frame; EPERM where the task may not use those there are; EOPNOTSUPP for exclusive access to a direct buffer, which
    ///   programs map past the page cache.
    mutating func resolve(
        _ bytes: Range<UInt64>, in memory: Memory, for actor: DeviceActor, into pieces: inout Pieces
    ) throws(Errno) {
        // Under the lock, or a device might be given pages after all were taken from it.
        guard actor.isPresent else { throw .operationNotSupportedByDevice }
        guard bytes.upperBound <= size else { throw .badAddress }
        guard backing == nil || actor.touch != .exclusive else { throw .notSupported }
        guard let context = pages.context(of: actor.device.mmu) else {
            preconditionFailure("a command is at work on a buffer that its device does not know")
        }
        var range = bytes.lowerBound >> Page.shift..<Page.count(of: bytes.upperBound)
        if let withheld = backing?.firstWithheld(from: bytes.lowerBound), withheld < bytes.upperBound {
            // Touching it is SIGBUS in every process.
            guard withheld >> Page.shift > range.lowerBound else { throw .ioError }
            range = range.lowerBound..<withheld >> Page.shift
        }
        try backing?.claim(range.lowerBound << Page.shift..<range.upperBound << Page.shift)
        var end = try populate(range, in: memory, origin: actor.origin, policy: .prefix)
        if let failed = pages.firstMarker(in: range) {
            guard failed > range.lowerBound else { throw .ioError }
            end = min(end, failed)
        }
        var tally = DeviceTally()
        var written = PageTally(pages.nodes)
        defer {
            actor.device.mmu.add(tally)
            written.flush(in: &pages)
        }
        let isShared = pages.contexts.count > 1
        var page = range.lowerBound
        while page < end {
            guard let leaf = pages.table.leaf(of: page) else { preconditionFailure("a populated page has no leaf") }
            let entries = unsafe pages.table.entries(of: leaf)
            var mapping = context.table.leaf(of: page)
            let stop = min(end, TablePool.leafEnd(of: page))
            while page < stop {
                let slot = TablePool.slot(of: page)
                var entry = PageTableEntry(rawValue: unsafe entries[slot])
                if isShared, isTaken(page, from: context, actor.touch) { return }
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
                if !old.isPresent { noteFaults(CollectionOfOne(page), by: context, of: actor.device) }
                if actor.touch == .exclusive { new.isExclusive = true }
                new.use(isStore: actor.touch == .write)
                if new != old {
                    tally.change(old, to: new)
                    unsafe context.table.entries(of: mapping!)[slot] = new.rawValue
                }
                if actor.touch == .write, backing == nil { entry.isWritten = true }
                unsafe written.set(entries + slot, to: entry)
                let from = max(bytes.lowerBound, page << Page.shift)
                let to = min(bytes.upperBound, (page + 1) << Page.shift)
                unsafe append(entries + slot, from..<to, to: &pieces)
                page += 1
            }
        }
    }

    /// Adds the bytes of a page, all in one place: here is where a device finds them.
    private func append(
        _ slot: UnsafeMutablePointer<UInt64>, _ bytes: Range<UInt64>, to pieces: inout Pieces
    ) {
        if let backing {
            unsafe pieces.append(backing.address(of: bytes.lowerBound), bytes.count)
            return
        }
        guard PageTableEntry(rawValue: unsafe slot.pointee).isWritten else {
            // Looking into a hole would fill it.
            pieces.appendZeros(bytes.count)
            return
        }
        unsafe pieces.append(pages.pool.address(of: slot) + Int(bytes.lowerBound & (Page.size - 1)), bytes.count)
    }

    /// Maps those pages of a range for a device that neither the page cache nor another device has in a way that forbids it.
    /// The caller holds the buffer's lock.
    mutating func map(_ range: Range<UInt64>, for actor: DeviceActor) throws(Errno) {
        guard actor.isPresent, let context = pages.context(of: actor.device.mmu), !context.pinned.isEmpty else {
            return
        }
        var tally = DeviceTally()
        var faulted: [UInt64] = []
        var failure: Errno?
        unsafe pages.forEachMatch(range) { page, slot in
            var entry = PageTableEntry(rawValue: unsafe slot.pointee)
            guard !entry.isCached, !entry.isUnmapping, !isTaken(page, from: context, actor.touch) else {
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
                    unsafe context.table.entries(of: leaf)[TablePool.slot(of: page)] = mapping.rawValue
                }
            } catch {
                failure = error
            }
        }
        actor.device.mmu.add(tally)
        noteFaults(faulted, by: context, of: actor.device)
        if let failure { throw failure }
    }

    /// Whether another device has to let go of a page first: what one has for itself alone no other one maps. The caller holds
    /// the buffer's lock.
    func isTaken(
        _ page: UInt64, from context: DeviceContext, _ touch: DeviceTouch
    ) -> Bool {
        for other in pages.contexts where other !== context {
            let mapping = other[page]
            if mapping.isPresent, touch == .exclusive || mapping.isExclusive { return true }
        }
        return false
    }
}
