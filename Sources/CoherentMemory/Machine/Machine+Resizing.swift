import LinuxSupport
import SystemPackage

extension Machine {
    /// Changes the size of a buffer (ftruncate(2)); pages behind a smaller size are freed.
    ///
    /// - Parameters:
    ///   - buffer: the buffer.
    ///   - size: the new size in bytes.
    ///   - origin: the toucher, which determines where a direct buffer's pages get their frames.
    /// - Throws: ENOSPC and EPERM if a direct buffer cannot get them, EFBIG beyond the largest file offset, EPERM of a
    ///   contiguous buffer, EINVAL for a device's memory, or under ``HugeMode/pool`` for a size that is not a multiple
    ///   of a huge page (hugetlbfs_setattr()).
    public func resize(
        _ buffer: Buffer, to size: UInt64, origin: Origin = Origin(pid: 0, node: 0)
    ) throws(Errno) {
        guard size <= UInt64(Int64.max) else { throw .fileTooLarge }
        if let fixed = buffer.fixedSize {
            guard size == fixed else { throw .invalidArgument }
            return
        }
        if buffer.isDirect { try grow(buffer, to: size, origin: origin) }
        let shrinks = try buffer.state.withLock { state throws(Errno) in
            guard state.contiguous == nil || size == state.size else { throw .notPermitted }
            guard state.huge != .pool || size % HugePage.size == 0 else { throw .invalidArgument }
            // Another thread made a direct one shorter meanwhile: its size came last.
            if state.backing != nil, size > state.size { return false }
            defer { state.size = size }
            guard size < state.size else { return false }
            if let backing = state.backing {
                try backing.resize(to: size)
                return true
            }
            state.zero(size..<Page.count(of: size) << Page.shift)
            return true
        }
        trace.note(.size, of: buffer, size)
        // Pages allocated behind the end stay when the buffer grows, as in tmpfs.
        guard shrinks else { return }
        let pages = Page.count(of: size)..<UInt64.max >> Page.shift
        memory.discard(buffer, pages: pages)
        trace.noteFreed(pages, of: buffer.id)
    }

    /// Frees the pages of a byte range, which then reads as zeros (FALLOC_FL_PUNCH_HOLE), and zeroes the parts of pages
    /// at its ends; the pages are huge under ``HugeMode/pool``. Other huge pages are split. The size stays. A
    /// contiguous buffer keeps its pages: they are zeroed. So does a direct buffer, because later touches of it cannot
    /// be seen; its withheld pages get frames again if there are any.
    public func punch(_ buffer: Buffer, bytes: Range<UInt64>) {
        guard !bytes.isEmpty else { return }
        if buffer.isDirect, memory.punchDirect(buffer, bytes: bytes) { return }
        if buffer.isContiguous { return memory.zeroContiguous(buffer, bytes: bytes) }
        let whole = buffer.state.withLock { state in
            let granule = state.huge == .pool ? HugePage.size : Page.size
            let start = (bytes.lowerBound + granule - 1) / granule * granule
            let end = max(start, bytes.upperBound / granule * granule)
            state.zero(bytes.lowerBound..<min(bytes.upperBound, start))
            if bytes.upperBound > end { state.zero(max(bytes.lowerBound, end)..<bytes.upperBound) }
            return start >> Page.shift..<end >> Page.shift
        }
        memory.discard(buffer, pages: whole)
        trace.noteFreed(whole, of: buffer.id)
    }
}
