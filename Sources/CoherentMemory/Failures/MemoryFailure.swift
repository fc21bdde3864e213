import LinuxSupport
import Synchronization
import SystemPackage

extension Failures {
    /// See ``Machine/poison(address:reason:isCancelled:)``.
    func poison(
        address: UInt64, reason: FailureReason = .external, isByPage: Bool = false,
        isCancelled: () -> Bool = { false }
    ) throws(Errno) {
        let pfn = try pfn(ofMemory: address)
        try turn.withLock { _ throws(Errno) in
            try poison(pfn, reason, isByPage: isByPage, isCancelled: isCancelled)
        }
    }

    /// See ``Machine/poison(_:bytes:origin:isCancelled:)``.
    func poison(
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
                try state.populate(page..<page + 1, in: memory, origin: origin, policy: .all)
                return state.pages.table[page]
            }
            guard entry.isPresent else { return }
            do throws(Errno) {
                try poison(address: entry.pfn << Page.shift, isByPage: true, isCancelled: isCancelled)
            } catch .hardwarePoisoned {
                // Another thread was faster.
            } catch .noSuchAddressOrDevice {
                // It has gone with its node.
            }
            if isCancelled() { throw .interrupted }
        }
    }

    /// The caller has the failures' turn.
    func poison(
        _ pfn: PFN, _ reason: FailureReason, isByPage: Bool = false, isCancelled: () -> Bool
    ) throws(Errno) {
        let node = nodes.node(of: pfn)
        let frame = node.index(of: pfn)
        hasPoison.store(true, ordering: .relaxed)
        switch node.zone.withLock({ $0.fail(frame, reason, table: node.frames) }) {
        case .absent: throw .noSuchAddressOrDevice
        case .failed: throw .hardwarePoisoned
        case .offline: events.announce(.pageFailed(PageFailure(kind: .poison, pfn, node)))
        case .free:
            count(onNode: node)
            events.announce(.pageFailed(PageFailure(kind: .poison, pfn, node)))
        case .inUse:
            let victim = try takeAway(pfn, of: node, isCancelled: isCancelled)
            count(onNode: node)
            if let (buffer, pages) = victim { memory.invalidate(buffer, pages: pages) }
            // It may be on its way home, but not for long.
            while node.failures({ $0[frame] })?.isRetired == false { SystemThread.sleep(for: .microseconds(100)) }
            var event = PageFailure(kind: .poison, pfn, node)
            event.isByPage = isByPage
            if let record = node.failures({ $0[frame] }), record.buffer != 0 {
                event.buffer = record.buffer
                event.offset = record.page << Page.shift
            }
            events.announce(.pageFailed(event))
        }
    }

    /// Takes a frame that failed from its owner; nil where it came back by itself.
    private func takeAway(
        _ pfn: PFN, of node: Node, isCancelled: () -> Bool
    ) throws(Errno) -> (Buffer, Range<UInt64>)? {
        let frame = node.index(of: pfn)
        while true {
            if let owner = memory.owner(of: pfn, on: node) {
                var freed = FreedFrames(isUnlimited: true)
                let runs = owner.buffer.state.withLock { state in
                    state.poison(owner.pages, filter: .frames(pfn..<pfn + 1), as: .poisoned, into: &freed)
                }.runs
                freed.release(to: memory.tables)
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
            SystemThread.sleep(for: .microseconds(100))
        }
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
        guard nodes.node(of: pfn).span.contains(pfn) else { throw .noSuchAddressOrDevice }
        return pfn
    }
}

extension Buffer {
    /// The binary logarithm of the bytes that fail with a page (si_addr_lsb of sigaction(2)): a huge page of a pool fails as a whole, as in
    /// hugetlbfs.
    public var failureShift: Int { hugeMode == .pool ? Int(Page.shift) + HugePage.order : Int(Page.shift) }
}
