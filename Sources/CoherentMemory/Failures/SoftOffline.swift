import LinuxSupport
import MachineTopology
import SystemPackage

extension Machine {
    /// Takes a working frame at a physical address out of use (soft_offline_page()): its page moves to another frame,
    /// on the same node or else in RAM by distance; programs see no change.
    ///
    /// Blocks until the page has moved; never call it from a thread that the page cache may wait for. A page that has
    /// failed already is not changed.
    ///
    /// - Parameter address: any byte of the page.
    /// - Throws: ENXIO if no memory can be there, EIO if none is online, EBUSY for a page that is pinned, ENOMEM if
    ///   there is no other frame, or no other run for a contiguous buffer, which moves as a whole; EINTR when
    ///   cancelled; then the frame stays in use.
    public func softOffline(address: UInt64, isCancelled: () -> Bool = { false }) throws(Errno) {
        let pfn = try self.pfn(ofMemory: address)
        try system.failureTurn.withLock { _ throws(Errno) in
            try softOffline(pfn, isCancelled: isCancelled)
        }
    }

    private func softOffline(_ pfn: PFN, isCancelled: () -> Bool) throws(Errno) {
        let node = node(of: pfn)
        let frame = node.index(of: pfn)
        guard node.zone.withLock({ $0.state(of: frame / $0.framesPerBlock).isPresent }) else { throw .ioError }
        switch node.zone.withLock({ $0.fail(frame, .offlined, table: node.frames) }) {
        case .absent, .offline: throw .ioError
        case .failed: return
        case .free: break
        case .inUse:
            do throws(Errno) {
                try moveAway(pfn, of: node, isCancelled: isCancelled)
            } catch {
                // It may have come back all the same.
                let isRetired = node.zone.withLock { zone in
                    if zone.failed[frame]?.isRetired ?? true { return true }
                    zone.unfail(frame, table: node.frames)
                    return false
                }
                if !isRetired { throw error }
            }
        }
        announce(.pageFailed(PageFailure(kind: .offline, pfn, node)))
    }

    private func moveAway(_ pfn: PFN, of node: Node, isCancelled: () -> Bool) throws(Errno) {
        let frame = node.index(of: pfn)
        let targets = refuges(from: node)
        let account = MigrationAccount(.offline)
        while node.failures({ $0[frame] })?.isRetired == false {
            if isCancelled() { throw .interrupted }
            guard let (buffer, pages) = owner(of: frame, of: node) else {
                try? pause()
                continue
            }
            // A reserved huge page moves as a whole.
            let isPooled = buffer.hugeMode == .pool
            let start = pfn & ~UInt64(HugePage.frames - 1)
            let frames = isPooled ? start..<start + UInt64(HugePage.frames) : pfn..<pfn + 1
            try move(
                buffer, pages: isPooled ? HugePage.pages(around: pages.lowerBound) : pages, filter: .frames(frames),
                targets: targets, account: account, isCancelled: isCancelled)
        }
    }

    /// Where pages go that have to leave their frames: the node itself, then RAM by distance.
    func refuges(from node: Node) -> [Node] {
        [node] + (0..<nodes.count).map { nodes[Int(node.fallback[$0])] }.filter { $0 !== node && $0.kind == .ram }
    }
}
