import LinuxSupport
import SystemPackage

/// The location of a contiguous buffer.
public struct ContiguousRange: Sendable, Hashable {
    /// The id of the node.
    public var node: Int
    /// The physical address of the first byte.
    public var physicalAddress: UInt64
    /// The length in bytes, a multiple of the page size.
    public var length: UInt64
}

extension Memory {
    /// Makes an ordinary buffer of a contiguous one and frees its pages, whatever programs do meanwhile: what they store is lost.
    func giveUpContiguous(_ buffer: Buffer) {
        buffer.migrationTurn.withLock { _ in
            invalidate(buffer, pages: 0..<Page.count(of: buffer.size))
            var freed = FreedFrames(isUnlimited: true)
            buffer.state.withLock { $0.unmapContiguous(into: &freed) }
            freed.release(to: tables)
        }
    }

    /// Zeroes a range of a contiguous buffer, and of what is one no more what it would have zeroed of a page.
    func zeroContiguous(_ buffer: Buffer, bytes: Range<UInt64>) {
        // Large ones piece by piece: the lock is not held for as long as they take.
        let end = buffer.state.withLock { min(bytes.upperBound, Page.count(of: $0.size) << Page.shift) }
        var start = bytes.lowerBound
        while start < end {
            let stop = min(end, (start / HugePage.size + 1) * HugePage.size)
            buffer.state.withLock { state in state.zero(start..<stop) }
            start = stop
        }
    }
}

extension Buffer.State {
    /// Takes all pages of a contiguous buffer out of it, which is an ordinary one then.
    mutating func unmapContiguous(into freed: inout FreedFrames) {
        guard let run = contiguous else { return }
        contiguous = nil
        var count = 0
        let rest = unmap(0..<UInt64.max >> Page.shift, into: &freed, .all, &count)
        assert(rest == nil && count == run.count)
    }

    /// Refuses what would make a contiguous buffer longer. EPERM, as of a memfd sealed with F_SEAL_GROW.
    ///
    /// - Parameter isPageWise: whether `end` is only the end of the pages to be had, not of the buffer.
    func checkGrowth(to end: UInt64, isPageWise: Bool = false) throws(Errno) {
        guard contiguous != nil else { return }
        let limit = isPageWise ? Page.count(of: size) << Page.shift : size
        if end > limit { throw .notPermitted }
    }
}
