import LinuxSupport
import MachineTopology
import SystemPackage

extension Failures {
    /// See ``Machine/softOffline(address:isCancelled:)``.
    func softOffline(address: UInt64, isCancelled: () -> Bool = { false }) throws(Errno) {
        let pfn = try pfn(ofMemory: address)
        try turn.withLock { _ throws(Errno) in
            try softOffline(pfn, isCancelled: isCancelled)
        }
    }

    private func softOffline(_ pfn: PFN, isCancelled: () -> Bool) throws(Errno) {
        let node = nodes.node(of: pfn)
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
        events.announce(.pageFailed(PageFailure(kind: .offline, pfn, node)))
    }

    private func moveAway(_ pfn: PFN, of node: Node, isCancelled: () -> Bool) throws(Errno) {
        let frame = node.index(of: pfn)
        let targets = nodes.refuges(from: node)
        let account = MigrationAccount(.offline)
        while node.failures({ $0[frame] })?.isRetired == false {
            if isCancelled() { throw .interrupted }
            guard let (buffer, pages) = memory.owner(of: pfn, on: node) else {
                SystemThread.sleep(for: .microseconds(100))
                continue
            }
            // A reserved huge page moves as a whole.
            let isPooled = buffer.hugeMode == .pool
            let start = pfn & ~UInt64(HugePage.frames - 1)
            let frames = isPooled ? start..<start + UInt64(HugePage.frames) : pfn..<pfn + 1
            try mover.move(
                buffer, pages: isPooled ? HugePage.pages(around: pages.lowerBound) : pages, filter: .frames(frames),
                targets: targets, account: account, isCancelled: isCancelled)
        }
    }
}
