import LinuxSupport
import SystemPackage

extension Machine {
    /// Bytes stored under one hold of the buffer's lock: long enough to be cheap, short enough not to be felt.
    private static let chunk: UInt64 = 128 << 10

    /// Stores bytes into a buffer, as a touch that gives every page of the range its frame.
    ///
    /// - Parameters:
    ///   - bytes: what is stored.
    ///   - buffer: the buffer.
    ///   - offset: a byte offset.
    ///   - origin: the task that asks, and its node.
    ///   - isGrowing: whether bytes behind the end make the buffer larger, as with write(2). If false, they are
    ///     dropped, as for a write-back that lost a race with a truncation.
    ///   - waitsForDevices: whether the write must wait for pages that devices map, if the range has no others, and
    ///     for pages that are on their way over a link.
    /// - Returns: the number of bytes stored. It is smaller than requested if no frame is available, before a page that
    ///   has failed, or at the end of a device.
    /// - Throws: ENOSPC if no frame is available for the first byte, or it is behind the end of a device; EIO if the
    ///   memory of the first page has failed; EFBIG beyond the largest offset; EPERM behind the end of a contiguous
    ///   buffer; EAGAIN if devices or a link must release pages first: see ``recall(_:at:length:isLocked:isWrite:_:)``.
    public func write(
        _ bytes: UnsafeRawBufferPointer, to buffer: Buffer, at offset: UInt64, origin: Origin, isGrowing: Bool,
        waitsForDevices: Bool = false
    ) throws(Errno) -> Int {
        var (end, overflow) = offset.addingReportingOverflow(UInt64(bytes.count))
        guard !overflow, end <= UInt64(Int64.max) else { throw .fileTooLarge }
        if isGrowing, let size = buffer.fixedSize, end > size, unsafe !bytes.isEmpty {
            // As of a block device: what fits is stored.
            guard offset < size else { throw .noSpace }
            end = size
        }
        if isGrowing, buffer.fixedSize == nil, end > offset, buffer.isDirect, end > buffer.size {
            try growPartly(buffer, from: offset, to: end, origin: origin)
        }
        let origin = memory.resolvingAccess(origin, for: buffer, pages: offset >> Page.shift..<Page.count(of: end))
        var position = offset
        repeat {
            let stop = min(end, (position / Self.chunk + 1) * Self.chunk)
            let part = unsafe UnsafeRawBufferPointer(
                rebasing: bytes[Int(position - offset)..<Int(stop - offset)])
            let isFirst = position == offset
            let stored: Int
            do throws(Errno) {
                stored = try buffer.state.withLock { state throws(Errno) in
                    if isFirst {
                        if waitsForDevices, state.backing == nil {
                            let pages = offset >> Page.shift..<Page.count(of: end)
                            try state.checkMoving(pages)
                            try state.checkDevices(pages, isWrite: true)
                        }
                        state.counters.write += 1
                    }
                    return try unsafe state.store(
                        part, at: position, in: memory, origin: origin,
                        isGrowing: isGrowing && buffer.fixedSize == nil, isWriteBack: !isGrowing)
                }
            } catch {
                if position > offset { break }
                throw error == .noMemory ? .noSpace : error
            }
            position += UInt64(stored)
            if stored < part.count { break }
        } while position < end
        return Int(position - offset)
    }

    /// Allocates a frame for every page of a range in advance (fallocate(2)).
    ///
    /// - Parameters:
    ///   - buffer: the buffer.
    ///   - bytes: the range of bytes.
    ///   - keepsSize: whether the size of the buffer stays.
    ///   - origin: the task that asks, and its node.
    ///   - isCancelled: checked repeatedly.
    /// - Throws: ENOSPC if there are not enough frames, EDQUOT if the buffer's user has had its share of them, EINTR if
    ///   cancelled; pages that had no frame then have none again. EINVAL for an empty range, EFBIG beyond the largest offset, EPERM behind the end of a contiguous
    ///   buffer.
    public func allocate(
        _ buffer: Buffer, bytes: Range<UInt64>, keepsSize: Bool, origin: Origin, isCancelled: () -> Bool = { false }
    ) throws(Errno) {
        guard !bytes.isEmpty else { throw .invalidArgument }
        guard bytes.upperBound <= UInt64(Int64.max) else { throw .fileTooLarge }
        if let size = buffer.fixedSize, bytes.upperBound > size { throw .noSpace }
        if !keepsSize, buffer.fixedSize == nil, buffer.isDirect {
            return try grow(buffer, to: bytes.upperBound, origin: origin)
        }
        let pages = bytes.lowerBound >> Page.shift..<Page.count(of: bytes.upperBound)
        let origin = memory.resolvingAccess(origin, for: buffer, pages: nil)
        trace.note(.allocate, of: buffer, pages: pages, by: origin)
        var fresh: [Range<UInt64>] = []
        var page = pages.lowerBound
        while page < pages.upperBound {
            let part = page..<min(pages.upperBound, HugePage.pages(around: page).upperBound)
            do throws(Errno) {
                if isCancelled() { throw .interrupted }
                try buffer.state.withLock { state throws(Errno) in
                    try state.checkGrowth(to: part.upperBound << Page.shift, isPageWise: true)
                    var missing: [Range<UInt64>] = []
                    state.pages.forEachMissingStretch(of: part) { stretch in
                        missing.append(stretch)
                        return true
                    }
                    // The whole of a huge page comes, and goes, with any part of it.
                    let unit = HugePage.pages(around: part.lowerBound)
                    if state.huge != .never, state.pages.isEmpty(unit) { missing = [unit] }
                    fresh += missing
                    try state.populate(
                        part, in: memory, origin: origin, policy: .whole, followsRequest: true)
                }
            } catch {
                for range in fresh {
                    memory.discard(buffer, pages: range, .untouched)
                    trace.noteFreed(range, of: buffer.id, flags: .followsRequest)
                }
                throw error == .noMemory ? .noSpace : error
            }
            page = part.upperBound
        }
        if !keepsSize, buffer.fixedSize == nil {
            try buffer.state.withLock { state throws(Errno) in
                try state.checkGrowth(to: bytes.upperBound)
                state.size = max(state.size, bytes.upperBound)
            }
        }
    }
}
