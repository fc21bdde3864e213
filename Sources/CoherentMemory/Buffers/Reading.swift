import Glibc
import LinuxSupport
import MachineTopology
import Synchronization
import SystemPackage

extension Machine {
    /// The maximum size of one ``read(_:at:length:origin:isTouch:_:)`` in bytes.
    public static var maximumRead: Int { 2 << 20 }

    /// Reads bytes of a buffer in place, as a touch that gives every page of the range its frame.
    ///
    /// - Parameters:
    ///   - offset: a byte offset; a range that is not page-aligned touches the pages at its ends.
    ///   - length: bytes, limited to the end of the buffer and to ``maximumRead``.
    ///   - isTouch: whether the pages enter the page cache, and so mappings. If false, pages without a frame read as
    ///     zeros and get none.
    ///   - body: gets the bytes as a list of pieces of the storage, valid until it returns. Concurrent stores may be
    ///     visible.
    /// - Throws: ENOMEM if a page cannot get a frame; then no page of the range got one. EIO if the memory of a page of
    ///   the range has failed. EAGAIN if a device maps a page, or a page is on its way over a paced link: see
    ///   ``recall(_:at:length:isLocked:isWrite:_:)``.
    public func read(
        _ buffer: Buffer, at offset: UInt64, length: Int, origin: Origin, isTouch: Bool = true,
        _ body: (UnsafeBufferPointer<iovec>) -> Void
    ) throws(Errno) {
        if buffer.isDirect, try unsafe readDirect(buffer, at: offset, length: length, body) { return }
        let capacity = Int(Page.count(of: UInt64(min(max(0, length), Self.maximumRead)))) + 1
        let origin = asked(origin, for: buffer, pages: touched(offset, min(length, Self.maximumRead)))
        let error: Errno? = unsafe withUnsafeTemporaryAllocation(of: iovec.self, capacity: capacity) { vectors in
            unsafe withUnsafeTemporaryAllocation(of: UInt32.self, capacity: capacity / TablePool.entries + 2) {
                leaves in
                var reading = unsafe Reading(vectors: vectors.baseAddress!, leaves: leaves.baseAddress!)
                do throws(Errno) {
                    try buffer.state.withLock { state throws(Errno) in
                        try gather(
                            &reading, from: &state, at: offset, length: min(length, Self.maximumRead), origin: origin,
                            isTouch: isTouch)
                    }
                } catch {
                    return error
                }
                unsafe body(UnsafeBufferPointer(start: reading.vectors, count: reading.vectorCount))
                for index in 0..<reading.leafCount { unsafe tables.endReading(reading.leaves[index]) }
                return nil
            }
        }
        if let error { throw error }
    }

    /// Allocates the frames that a read would, and returns the minimum duration of that read over paced links; nil if
    /// none is involved.
    ///
    /// - Throws: as ``read(_:at:length:origin:isTouch:_:)``.
    public func linkTime(
        ofReading buffer: Buffer, at offset: UInt64, length: Int, origin: Origin, isTouch: Bool = true
    ) throws(Errno) -> Duration? {
        let paced = devices.filter { $0.pace == .real || $0.stall != nil }
        let origin = asked(origin, for: buffer, pages: touched(offset, min(length, Self.maximumRead)))
        let bytes = try buffer.state.withLock { state throws(Errno) -> Range<UInt64>? in
            guard !paced.isEmpty, offset < state.size, length > 0 else { return nil }
            let end = offset + min(UInt64(min(length, Self.maximumRead)), state.size - offset)
            if isTouch {
                try populate(offset >> Page.shift..<Page.count(of: end), of: &state, origin: origin, policy: .all)
            }
            return offset..<end
        }
        guard let bytes else { return nil }
        let nodes = residentPages(of: buffer, bytes: bytes).nodes
        return paced.compactMap { device -> Duration? in
            guard let node = nodes.first(where: { $0.node == device.node.id }) else { return nil }
            let time = device.pace == .real ? device.link.readTime(of: UInt64(node.pages) << Page.shift) : 0
            return .nanoseconds(Int64(clamping: time)) + (device.stall ?? .zero)
        }.max()
    }

    /// The pages that bytes lie in.
    private func touched(_ offset: UInt64, _ length: Int) -> Range<UInt64> {
        guard offset <= UInt64(Int64.max) else { return 0..<0 }
        return offset >> Page.shift..<Page.count(of: offset + UInt64(max(0, length)))
    }

    /// Whether any link is paced, or recovers from an error.
    public var hasPacedLink: Bool { devices.contains { $0.pace == .real || $0.stall != nil } }

    /// A read under way: the pieces to send, and the leaves whose bytes are kept from reuse until they are sent.
    @safe
    private struct Reading {
        let vectors: UnsafeMutablePointer<iovec>
        var vectorCount = 0
        let leaves: UnsafeMutablePointer<UInt32>
        var leafCount = 0

        mutating func append(_ address: UnsafeMutableRawPointer, _ length: Int) {
            if vectorCount > 0 {
                let last = unsafe vectors[vectorCount - 1]
                if unsafe last.iov_base + last.iov_len == address {
                    unsafe vectors[vectorCount - 1].iov_len += length
                    return
                }
            }
            unsafe vectors[vectorCount] = iovec(iov_base: address, iov_len: length)
            vectorCount += 1
        }

        /// Zeros come from one place, so that any number of fresh pages is one piece.
        mutating func appendZeros(_ zeros: UnsafeMutableRawPointer, _ length: Int) {
            if vectorCount > 0 {
                let last = unsafe vectors[vectorCount - 1]
                if unsafe last.iov_base == zeros, unsafe last.iov_len + length <= Machine.maximumRead {
                    unsafe vectors[vectorCount - 1].iov_len += length
                    return
                }
            }
            unsafe vectors[vectorCount] = iovec(iov_base: zeros, iov_len: length)
            vectorCount += 1
        }

        mutating func keep(_ leaf: UInt32, in tables: TablePool) {
            if leafCount > 0, unsafe leaves[leafCount - 1] == leaf { return }
            tables.beginReading(leaf)
            unsafe leaves[leafCount] = leaf
            leafCount += 1
        }
    }

    private func gather(
        _ reading: inout Reading, from state: inout Buffer.State, at offset: UInt64, length: Int, origin: Origin,
        isTouch: Bool
    ) throws(Errno) {
        guard offset < state.size, length > 0 else {
            state.counters.read += 1
            return
        }
        let end = offset + min(UInt64(length), state.size - offset)
        let pages = offset >> Page.shift..<Page.count(of: end)
        try checkMoving(pages, in: state)
        try checkDevices(pages, in: state)
        state.counters.read += 1
        let zeros = unsafe UnsafeMutableRawPointer(zeros.base)
        let hasDevices = !devices.isEmpty
        // Never fewer bytes: to the kernel that would be the end of the file. It asks again, page by page.
        if state.markers > 0, firstMarker(in: pages, of: state) != nil { throw .ioError }
        if isTouch { try populate(pages, of: &state, origin: origin, policy: .all) }

        var newlyCached = PageTally()
        var fetched = PageTally()
        var page = pages.lowerBound
        while page < pages.upperBound {
            let stop = min(pages.upperBound, (page | UInt64(TablePool.entries - 1)) + 1)
            guard let leaf = state.table.leaf(of: page) else {
                precondition(!isTouch, "a populated page has no leaf")
                unsafe reading.appendZeros(zeros, Int(min(end, stop << Page.shift) - max(offset, page << Page.shift)))
                page = stop
                continue
            }
            let entries = unsafe state.table.entries(of: leaf)
            while page < stop {
                let slot = Int(page) & (TablePool.entries - 1)
                var entry = PageTableEntry(rawValue: unsafe entries[slot])
                let from = max(offset, page << Page.shift)
                let to = min(end, (page + 1) << Page.shift)
                page += 1
                guard entry.isPresent else {
                    unsafe reading.appendZeros(zeros, Int(to - from))
                    continue
                }
                if hasDevices { fetched.add(entry.pfn, in: self, countFetched) }
                if !isTouch {
                    entry.isAccessed = true
                    unsafe entries[slot] = entry.rawValue
                } else if !entry.isCached {
                    entry.isCached = true
                    unsafe entries[slot] = entry.rawValue
                    newlyCached.add(entry.pfn, in: self) { $0.counters.cached.add($1) }
                }
                if entry.isHinting {
                    hintingFault(&entry, page: page - 1, leaf: leaf, in: state, origin: origin)
                    unsafe entries[slot] = entry.rawValue
                }
                if entry.isWritten {
                    reading.keep(leaf, in: tables)
                    unsafe reading.append(
                        tables.address(of: entries + slot) + Int(from & (Page.size - 1)), Int(to - from))
                } else {
                    unsafe reading.appendZeros(zeros, Int(to - from))
                }
            }
        }
        newlyCached.flush { $0.counters.cached.add($1) }
        fetched.flush(countFetched)
    }

    /// Counts the time that pages take over the link of the device whose they are, by its model.
    private func countFetched(_ node: Node, _ pages: Int) {
        guard node.kind == .coherent, let device = devices.first(where: { $0.node === node }) else { return }
        device.countFault(bytes: UInt64(pages) << Page.shift)
    }
}
