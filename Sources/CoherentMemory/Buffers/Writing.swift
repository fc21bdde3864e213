import Glibc
import LinuxSupport
import Synchronization
import SystemPackage

extension Machine {
    /// Bytes stored under one hold of the buffer's lock: long enough to be cheap, short enough not to be felt.
    private static let chunk: UInt64 = 128 << 10

    /// Stores bytes into a buffer, as a touch that gives every page of the range its frame.
    ///
    /// - Parameters:
    ///   - offset: a byte offset.
    ///   - isGrowing: whether bytes behind the end make the buffer larger, as with write(2). If false, they are
    ///     dropped, as for a write-back that lost a race with a truncation.
    ///   - waitsForDevices: whether the write must wait for pages that devices map, if the range has no others, and for
    ///     pages that are on their way over a link.
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
        let origin = asked(origin, for: buffer, pages: offset >> Page.shift..<Page.count(of: end))
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
                            try checkMoving(pages, in: state)
                            try checkDevices(pages, isWrite: true, in: state)
                        }
                        state.counters.write += 1
                    }
                    return try unsafe store(
                        part, at: position, into: &state, origin: origin,
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

    private func store(
        _ bytes: UnsafeRawBufferPointer, at offset: UInt64, into state: inout Buffer.State, origin: Origin,
        isGrowing: Bool, isWriteBack: Bool
    ) throws(Errno) -> Int {
        if let backing = state.backing { return try unsafe storeDirect(bytes, at: offset, into: &state, backing) }
        var end = offset + UInt64(bytes.count)
        if !isGrowing {
            // Bytes behind the end have nowhere to go, and nobody waits for them.
            guard offset < state.size else { return bytes.count }
            end = min(end, state.size)
        }
        guard end > offset else { return 0 }
        var isCut = false
        try checkGrowth(of: state, to: end)
        var pages = offset >> Page.shift..<Page.count(of: end)
        // What comes back to a page that failed is let go; others are told (copy_folio_from_iter() and its EIO).
        if state.markers > 0, !isWriteBack, let failed = firstMarker(in: pages, of: state) {
            guard failed > pages.lowerBound else { throw .ioError }
            pages = pages.lowerBound..<failed
            end = failed << Page.shift
            isCut = true
        }
        let populated = try populate(pages, of: &state, origin: origin, policy: .prefix)
        let stop = min(end, populated << Page.shift)
        var newlyCached = PageTally()
        var newlyWritten = PageTally()
        var run = StoredRun(in: tables.storage)
        var page = pages.lowerBound
        while page < populated {
            guard let leaf = state.table.leaf(of: page) else { preconditionFailure("a populated page has no leaf") }
            let slot = Int(page) & (TablePool.entries - 1)
            let entries = unsafe state.table.entries(of: leaf)
            var entry = PageTableEntry(rawValue: unsafe entries[slot])
            guard entry.isPresent else {
                page += 1
                continue
            }
            if entry.isDeviceMapped, !isWriteBack {
                seize(page, in: &state)
                entry.isDeviceMapped = false
            }
            // What is written back because the page is leaving the cache does not bring it there.
            if !entry.isCached, !(isWriteBack && (entry.isUnmapping || entry.isDeviceMapped)) {
                newlyCached.add(entry.pfn, in: self) { $0.counters.cached.add($1) }
                entry.isCached = true
            }
            let from = max(offset, page << Page.shift)
            let to = min(stop, (page + 1) << Page.shift)
            unsafe run.add(
                UnsafeRawBufferPointer(rebasing: bytes[Int(from - offset)..<Int(to - offset)]),
                at: tables.place(of: entries + slot) + from & (Page.size - 1), isFresh: !entry.isWritten)
            if !entry.isWritten { newlyWritten.add(entry.pfn, in: self) { $0.counters.written.add($1) } }
            entry.isWritten = true
            unsafe entries[slot] = entry.rawValue
            page += 1
        }
        run.flush()
        newlyCached.flush { $0.counters.cached.add($1) }
        newlyWritten.flush { $0.counters.written.add($1) }
        if isGrowing { state.size = max(state.size, stop) }
        // What lay behind the end counts as stored, too.
        return stop == end && !isCut ? bytes.count : Int(stop - offset)
    }

    /// Allocates a frame for every page of a range in advance (fallocate(2)).
    ///
    /// - Parameters:
    ///   - keepsSize: whether the size of the buffer stays.
    ///   - isCancelled: checked repeatedly.
    /// - Throws: ENOSPC if there are not enough frames, EINTR if cancelled; pages that had no frame then have none
    ///   again. EINVAL for an empty range, EFBIG beyond the largest offset, EPERM behind the end of a contiguous
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
        let origin = asked(origin, for: buffer, pages: nil)
        var fresh: [Range<UInt64>] = []
        var page = pages.lowerBound
        while page < pages.upperBound {
            let part = page..<min(pages.upperBound, HugePage.pages(around: page).upperBound)
            do throws(Errno) {
                if isCancelled() { throw .interrupted }
                try buffer.state.withLock { state throws(Errno) in
                    try checkGrowth(of: state, to: part.upperBound << Page.shift, isPageWise: true)
                    var missing: [Range<UInt64>] = []
                    for page in part where state.table[page].isNone {
                        if let last = missing.last, last.upperBound == page {
                            missing[missing.count - 1] = last.lowerBound..<page + 1
                        } else {
                            missing.append(page..<page + 1)
                        }
                    }
                    // The whole of a huge page comes, and goes, with any part of it.
                    let unit = HugePage.pages(around: part.lowerBound)
                    if state.huge != .never, isEmpty(unit, in: state) { missing = [unit] }
                    // Nobody asks again for less: what isolation refuses is counted now.
                    fresh += missing
                    let end = try populate(part, of: &state, origin: origin, policy: .prefix)
                    guard end == part.upperBound else { throw .noMemory }
                }
            } catch {
                for range in fresh { discard(buffer, pages: range, .untouched) }
                throw error == .noMemory ? .noSpace : error
            }
            page = part.upperBound
        }
        if !keepsSize, buffer.fixedSize == nil {
            try buffer.state.withLock { state throws(Errno) in
                try checkGrowth(of: state, to: bytes.upperBound)
                state.size = max(state.size, bytes.upperBound)
            }
        }
    }
}
