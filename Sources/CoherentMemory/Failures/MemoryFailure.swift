import Glibc
import LinuxSupport
import Synchronization
import SystemPackage

/// A failure of a page of memory, as reported to an observer.
public struct PageFailure: Sendable, Hashable {
    /// The kind of a failure.
    public enum Kind: String, Sendable, Hashable {
        /// The contents of the page are lost.
        case poison
        /// The page has moved to another frame, and its old frame is out of use.
        case offline
        /// The frame is in service again.
        case clear
        /// The device corrected errors of the page.
        case correctable
    }

    /// The kind of the failure.
    public var kind: Kind
    /// The physical address of the page.
    public var physicalAddress: UInt64
    /// The id of the node.
    public var node: Int
    /// The id of the buffer that had the page; nil if it was free.
    public var buffer: Buffer.ID?
    /// The offset of the page in the buffer, in bytes.
    public var offset: UInt64 = 0
    /// The number of errors.
    public var count: UInt64 = 1
}

/// Consecutive frames of one node that are out of use for the same reason.
public struct FailedRange: Sendable, Hashable {
    /// The physical address of the first byte.
    public var physicalAddress: UInt64
    /// The length in bytes.
    public var length: UInt64
    /// The reason.
    public var reason: FailureReason
}

extension Errno {
    /// EHWPOISON: the page has failed before.
    public static var hardwarePoisoned: Errno { Errno(rawValue: EHWPOISON) }
}

extension Machine {
    /// Poisons the page at a physical address (memory_failure() of mm/memory-failure.c): its contents are lost, touches
    /// of it fail until the page is taken out of its buffer, and its frame is out of use.
    ///
    /// Blocks until the page has left the page cache; never call it from a thread that the page cache may wait for.
    ///
    /// - Parameters:
    ///   - address: any byte of the page.
    ///   - reason: the reason that is recorded.
    ///   - isCancelled: checked while the frame is between two owners.
    /// - Throws: ENXIO if there is no memory; EHWPOISON for a page that has failed before; EINTR when cancelled, and
    ///   then the page is not changed.
    public func poison(
        address: UInt64, reason: FailureReason = .external, isCancelled: () -> Bool = { false }
    ) throws(Errno) {
        let pfn = try self.pfn(ofMemory: address)
        try system.failureTurn.withLock { _ throws(Errno) in
            try poison(pfn, reason, isCancelled: isCancelled)
        }
    }

    /// Poisons pages of a buffer (madvise(2) with MADV_HWPOISON). A page without a frame gets one first. Pages that
    /// have failed before are skipped. Blocks as ``poison(address:reason:isCancelled:)`` does.
    ///
    /// - Parameters:
    ///   - bytes: page-aligned, within the buffer.
    ///   - origin: the toucher of pages without a frame.
    /// - Throws: EINVAL for a bad range, ENOMEM or EPERM if a page cannot get a frame, EINTR when cancelled. Pages
    ///   before the one that failed stay poisoned.
    public func poison(
        _ buffer: Buffer, bytes: Range<UInt64>, origin: Origin, isCancelled: () -> Bool = { false }
    ) throws(Errno) {
        let end = Page.count(of: buffer.size) << Page.shift
        guard !bytes.isEmpty, bytes.lowerBound % Page.size == 0, bytes.upperBound % Page.size == 0,
            bytes.upperBound <= end
        else { throw .invalidArgument }
        for page in bytes.lowerBound >> Page.shift..<bytes.upperBound >> Page.shift {
            if isCancelled() { throw .interrupted }
            try poison(page, of: buffer, origin: origin, isCancelled: isCancelled)
        }
    }

    private func poison(
        _ page: UInt64, of buffer: Buffer, origin: Origin, isCancelled: () -> Bool
    ) throws(Errno) {
        // Until the page has failed, it may move on: then its old frame was poisoned in vain.
        while true {
            let entry = try buffer.state.withLock { state throws(Errno) -> PageTableEntry in
                guard page < Page.count(of: state.size) else { throw .invalidArgument }
                try populate(page..<page + 1, of: &state, origin: origin, policy: .all)
                return state.table[page]
            }
            guard entry.isPresent else { return }
            do throws(Errno) {
                try poison(address: entry.pfn << Page.shift, isCancelled: isCancelled)
            } catch .hardwarePoisoned {
                // Somebody was faster.
            } catch .noSuchAddressOrDevice {
                // It has gone with its node.
            }
            if isCancelled() { throw .interrupted }
        }
    }

    /// The caller has the failures' turn.
    func poison(_ pfn: PFN, _ reason: FailureReason, isCancelled: () -> Bool) throws(Errno) {
        let node = node(of: pfn)
        let frame = node.index(of: pfn)
        system.hasPoison.store(true, ordering: .relaxed)
        switch node.zone.withLock({ $0.fail(frame, reason, table: node.frames) }) {
        case .absent: throw .noSuchAddressOrDevice
        case .failed: throw .hardwarePoisoned
        case .offline: announce(.pageFailed(PageFailure(kind: .poison, pfn, node)))
        case .free:
            count(onNode: node)
            announce(.pageFailed(PageFailure(kind: .poison, pfn, node)))
        case .inUse:
            let victim = try takeAway(pfn, of: node, isCancelled: isCancelled)
            count(onNode: node)
            if let (buffer, pages) = victim { invalidate(buffer, pages: pages) }
            // It may be on its way home, but not for long.
            while node.failures({ $0[frame] })?.isRetired == false { try? pause() }
            var event = PageFailure(kind: .poison, pfn, node)
            if let record = node.failures({ $0[frame] }), record.buffer != 0 {
                event.buffer = record.buffer
                event.offset = record.page << Page.shift
            }
            announce(.pageFailed(event))
        }
    }

    /// Takes a frame that failed from whoever has it; nil where it came back by itself.
    private func takeAway(
        _ pfn: PFN, of node: Node, isCancelled: () -> Bool
    ) throws(Errno) -> (Buffer, Range<UInt64>)? {
        let frame = node.index(of: pfn)
        while true {
            if let owner = owner(of: frame, of: node) {
                var freed = FreedFrames(isUnlimited: true)
                let runs = owner.buffer.state.withLock { state in
                    detach(
                        owner.pages, filter: .frames(pfn..<pfn + 1), as: .poisoned, of: &state, into: &freed)
                }.runs
                freed.release(to: self)
                if let first = runs.first, let last = runs.last {
                    return (owner.buffer, first.lowerBound..<last.upperBound)
                }
            }
            // A frame that is neither mapped nor free is on its way, to its first page table or home, and arrives.
            guard let record = node.failures({ $0[frame] }) else { throw .noSuchAddressOrDevice }
            if record.isRetired { return nil }
            if isCancelled() {
                node.zone.withLock { $0.unfail(frame, table: node.frames) }
                throw .interrupted
            }
            try? pause()
        }
    }

    /// Who has a frame in a page table: the buffer, and the leaf that maps it. A hint until the buffer is locked.
    func owner(of frame: Int, of node: Node) -> (buffer: Buffer, pages: Range<UInt64>)? {
        let leaf = node.frames.owner(of: frame)
        guard FrameTable.isTable(leaf) else { return nil }
        let (id, base) = tables.location(of: leaf)
        return buffer(id: id).map { ($0, base..<base + UInt64(TablePool.entries)) }
    }

    /// update_per_node_mf_stats().
    private func count(onNode node: Node) {
        node.counters.memoryFailures.withLock { statistics in
            statistics.total += 1
            statistics.recovered += 1
        }
    }

    /// The frame at an address. ENXIO where no node has a range.
    func pfn(ofMemory address: UInt64) throws(Errno) -> PFN {
        let pfn = address >> Page.shift
        guard node(of: pfn).span.contains(pfn) else { throw .noSuchAddressOrDevice }
        return pfn
    }

    /// Whether any memory was ever poisoned.
    public var hasPoisonedMemory: Bool { system.hasPoison.load(ordering: .relaxed) }

    /// The frames of a node that are out of use, in runs, ascending.
    public func failedRanges(of node: Node) -> [FailedRange] { failedRanges(of: node, from: 0, limit: .max) }

    /// The first of these runs at or behind a physical address, at most `limit`.
    public func failedRanges(of node: Node, from address: UInt64, limit: Int) -> [FailedRange] {
        node.failures { failures in
            var ranges: [FailedRange] = []
            failures.visit(from: node.span.firstIndex(from: address >> Page.shift)) { frame, record in
                guard record.isRetired else { return true }
                let address = node.span.pfn(at: frame) << Page.shift
                if let last = ranges.last, last.physicalAddress + last.length == address, last.reason == record.reason {
                    ranges[ranges.count - 1].length += Page.size
                    return true
                }
                guard ranges.count < limit else { return false }
                ranges.append(FailedRange(physicalAddress: address, length: Page.size, reason: record.reason))
                return true
            }
            return ranges
        }
    }
}

extension PageFailure {
    init(kind: Kind, _ pfn: PFN, _ node: Node) {
        self.init(kind: kind, physicalAddress: pfn << Page.shift, node: node.id)
    }
}
