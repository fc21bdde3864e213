import CLinux
import Glibc
import Synchronization
import SystemPackage

/// What became of pages of the host that were to move to the node of the host that a node names.
final class HostPages: Sendable {
    let moved = Atomic<UInt64>(0)
    let failed = Atomic<UInt64>(0)
}

extension Node {
    /// How many pages of direct buffers the host moved to ``hostNode`` because they came to this node, and how many it could
    /// not move; 4 KiB each.
    public var hostMigration: (moved: UInt64, failed: UInt64) {
        (hostPages.moved.load(ordering: .relaxed), hostPages.failed.load(ordering: .relaxed))
    }
}

extension Machine {
    /// Pages looked at under one hold of the buffer's lock.
    private static let stretch: UInt64 = 32768

    /// Has pages of a direct buffer on the nodes of the host that their nodes name: those that are made from now on, and if
    /// wanted those that there are. Tracked ones are in their node's arena, which is there.
    ///
    /// Takes the buffer's lock. What the host cannot do stays as it is, and is counted in ``Node/hostMigration``.
    ///
    /// - Parameters:
    ///   - pages: may reach behind the end.
    ///   - file: what is about to become the buffer's; nil for what is.
    func settle(_ pages: Range<UInt64>, of buffer: Buffer, in file: BackingFile? = nil, moving: Bool) {
        guard hasHostNodes else { return }
        // The file forgets nothing, so what was said of the pages around is not to be in ever more pieces.
        var page = HugePage.pages(around: pages.lowerBound).lowerBound
        while page < pages.upperBound {
            let end = min(pages.upperBound, page + Self.stretch)
            var runs: [(pages: Range<UInt64>, node: Node)] = []
            var next: UInt64?
            let backing = buffer.state.withLock { state -> BackingFile? in
                guard let backing = file ?? state.backing else { return nil }
                next = state.table.nextLeaf(from: end).map { max(end, $0.base) }
                unsafe forEachMatch(page..<end, filter: .all, in: state) { page, slot in
                    let node = node(of: PageTableEntry(rawValue: unsafe slot.pointee).pfn)
                    if let last = runs.last, last.pages.upperBound == page, last.node === node {
                        runs[runs.count - 1].pages = last.pages.lowerBound..<page + 1
                    } else {
                        runs.append((page..<page + 1, node))
                    }
                }
                return backing
            }
            guard let backing else { return }
            for run in runs {
                let bytes = run.pages.lowerBound << Page.shift..<run.pages.upperBound << Page.shift
                let (moved, failed) = backing.place(bytes, onHostNode: run.node.hostNode, moving: moving)
                run.node.hostPages.moved.wrappingAdd(moved, ordering: .relaxed)
                run.node.hostPages.failed.wrappingAdd(failed, ordering: .relaxed)
            }
            guard let next else { return }
            page = next
        }
    }
}

extension BackingFile {
    /// Has the pages of a range on a node of the host, as far as that has memory; on any for nil. May be called without the
    /// buffer's lock.
    ///
    /// - Returns: how many of the pages that there are were elsewhere and moved, or did not.
    fileprivate func place(
        _ bytes: Range<UInt64>, onHostNode hostNode: Int?, moving: Bool
    ) -> (moved: UInt64, failed: UInt64) {
        // The file keeps what is said of a mapping of it; one that is here only for that is not cut into pieces by it.
        guard
            let start = unsafe mmap(
                nil, bytes.count, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, descriptor.rawValue,
                off_t(bytes.lowerBound)),
            unsafe start != MAP_FAILED
        else { return (0, 0) }
        defer { unsafe munmap(start, bytes.count) }
        unsafe clinux_prefer_node(start, bytes.count, hostNode.map(Int32.init) ?? -1)
        var (moved, failed): (UInt64, UInt64) = (0, 0)
        guard moving, let hostNode else { return (0, 0) }
        forEachData(in: bytes) { part in
            let address = unsafe start + Int(part.lowerBound - bytes.lowerBound)
            // The host moves only what is mapped here.
            unsafe madvise(address, part.count, MADV_POPULATE_READ)
            unsafe clinux_move_to_node(address, part.count >> Int(Page.shift), Int32(hostNode), &moved, &failed)
        }
        return (moved, failed)
    }
}
