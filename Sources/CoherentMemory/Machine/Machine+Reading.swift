import Glibc
import LinuxSupport
import MachineTopology
import SystemPackage

extension Machine {
    /// The most bytes one ``read(_:at:length:origin:isTouch:_:)`` answers.
    public static var maximumRead: Int { PageStorage.zeroLength }

    /// Reads bytes of a buffer in place, as a touch that gives every page of the range its frame.
    ///
    /// - Parameters:
    ///   - buffer: the buffer.
    ///   - offset: a byte offset; a range that is not page-aligned touches the pages at its ends.
    ///   - length: bytes, limited to the end of the buffer and to ``maximumRead``.
    ///   - origin: the task that asks, and its node.
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
        if buffer.isDirect, try unsafe buffer.readDirect(at: offset, length: length, body) { return }
        let capacity = Int(Page.count(of: UInt64(min(max(0, length), Self.maximumRead)))) + 1
        let origin = memory.resolvingAccess(origin, for: buffer, pages: touched(offset, min(length, Self.maximumRead)))
        let error: Errno? = unsafe withUnsafeTemporaryAllocation(of: iovec.self, capacity: capacity) { vectors in
            unsafe withUnsafeTemporaryAllocation(of: UInt32.self, capacity: capacity / TablePool.entries + 2) {
                leaves in
                var reading = unsafe Reading(
                    pieces: Pieces(vectors.baseAddress!, in: memory.tables), leaves: leaves.baseAddress!)
                do throws(Errno) {
                    try buffer.state.withLock { state throws(Errno) in
                        try state.gather(
                            &reading, at: offset, length: min(length, Self.maximumRead), in: memory, origin: origin,
                            isTouch: isTouch)
                    }
                } catch {
                    return error
                }
                unsafe body(reading.pieces.all)
                for index in 0..<reading.leafCount { unsafe memory.tables.endReading(reading.leaves[index]) }
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
        let origin = memory.resolvingAccess(origin, for: buffer, pages: touched(offset, min(length, Self.maximumRead)))
        let bytes = try buffer.state.withLock { state throws(Errno) -> Range<UInt64>? in
            guard !paced.isEmpty, offset < state.size, length > 0 else { return nil }
            let end = offset + min(UInt64(min(length, Self.maximumRead)), state.size - offset)
            if isTouch {
                try state.populate(
                    offset >> Page.shift..<Page.count(of: end), in: memory, origin: origin, policy: .all)
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
}
