import CLinux
import Glibc
import LinuxSupport
import Synchronization
import SystemPackage

extension Memory {
    /// Pages looked at under one hold of the buffer's lock.
    private static let stretch: UInt64 = 32768

    /// Has the bytes of a buffer's pages on the nodes of the host that their nodes name: those that are made from now on, and
    /// if wanted those that there are.
    ///
    /// Takes the buffer's lock. What the host cannot do stays as it is, and is counted in ``Node/hostMigration``.
    ///
    /// - Parameters:
    ///   - pages: may reach behind the end.
    ///   - file: what is about to become the buffer's; nil for what is.
    func placeOnHost(_ pages: Range<UInt64>, of buffer: Buffer, in file: BackingFile? = nil, moving: Bool) {
        guard nodes.hasHostNodes else { return }
        // The file forgets nothing, so what was said of the pages around is not to be in ever more pieces.
        var page = HugePage.pages(around: pages.lowerBound).lowerBound
        while page < pages.upperBound {
            let end = min(pages.upperBound, page + Self.stretch)
            var runs = HostRuns()
            var leaves: [UInt32] = []
            var next: UInt64?
            let backing = buffer.state.withLock { state -> BackingFile? in
                let backing = file ?? state.backing
                // The host's kernel has it where it likes.
                guard !state.isAnonymous else { return nil }
                next = state.pages.table.nextLeaf(from: end).map { max(end, $0.base) }
                unsafe state.pages.forEachMatch(page..<end) { page, slot in
                    let node = nodes.node(of: PageTableEntry(rawValue: unsafe slot.pointee).pfn)
                    guard backing == nil else { return runs.add(page << Page.shift, node) }
                    unsafe runs.add(tables.place(of: slot), node)
                    let leaf = unsafe tables.slot(of: slot).table
                    guard leaves.last != leaf else { return }
                    // No other owner gets it until the host is done with it.
                    tables.beginReading(leaf)
                    tables.setHome(.mixed, of: leaf)
                    leaves.append(leaf)
                }
                return backing
            }
            runs.place(in: backing?.descriptor ?? tables.storage.descriptor, moving: moving)
            for leaf in leaves { tables.endReading(leaf) }
            guard let next else { return }
            page = next
        }
    }
}

extension Buffer.State {
    /// The same for pages of a tracked buffer that have just got their frames, before anything is stored to them. The caller
    /// holds the buffer's lock.
    func settleFresh(_ range: Range<UInt64>) {
        guard pages.nodes.hasHostNodes, hasStorage else { return }
        let (nodes, tables) = (pages.nodes, pages.pool)
        var base = range.lowerBound & ~UInt64(TablePool.entries - 1)
        while base < range.upperBound, let (leaf, start) = pages.table.nextLeaf(from: base), start < range.upperBound {
            base = start + UInt64(TablePool.entries)
            let home = home(of: leaf)
            guard home == .mixed || home != tables.home(of: leaf) else { continue }
            var runs = HostRuns()
            if case .node(let node) = home {
                // All of it at once, and once only.
                runs.add(UInt64(leaf) << PageStorage.tableShift, nodes[node], size: 1 << PageStorage.tableShift)
            } else {
                unsafe pages.forEachMatch(max(start, range.lowerBound)..<min(base, range.upperBound)) { _, slot in
                    unsafe runs.add(tables.place(of: slot), nodes.node(of: PageTableEntry(rawValue: slot.pointee).pfn))
                }
            }
            tables.setHome(home, of: leaf)
            runs.place(in: tables.storage.descriptor, moving: false)
        }
    }

    /// The node that all pages of a leaf are on, if they are.
    private func home(of leaf: UInt32) -> TableHome {
        let entries = unsafe pages.table.entries(of: leaf)
        var home: Int?
        for slot in 0..<TablePool.entries {
            let entry = PageTableEntry(rawValue: unsafe entries[slot])
            guard entry.isPresent else { continue }
            let node = pages.nodes.index(of: entry.pfn)
            if let home, home != node { return .mixed }
            home = node
        }
        return home.map(TableHome.node) ?? .mixed
    }
}

/// Bytes of a file, gathered into runs that belong to one node each.
private struct HostRuns {
    private var runs: [(bytes: Range<UInt64>, node: Node)] = []

    mutating func add(_ place: UInt64, _ node: Node, size: UInt64 = Page.size) {
        if let last = runs.last, last.bytes.upperBound == place, last.node === node {
            runs[runs.count - 1].bytes = last.bytes.lowerBound..<place + size
        } else {
            runs.append((place..<place + size, node))
        }
    }

    /// Tells the host; may be called without the buffer's lock.
    func place(in file: FileDescriptor, moving: Bool) {
        for run in runs {
            let (moved, failed) = file.place(run.bytes, onHostNode: run.node.hostNode, moving: moving)
            run.node.hostPages.moved.wrappingAdd(moved, ordering: .relaxed)
            run.node.hostPages.failed.wrappingAdd(failed, ordering: .relaxed)
        }
    }
}

extension FileDescriptor {
    /// Has the pages of a range on a node of the host, as far as that has memory; on any for nil.
    ///
    /// - Returns: how many of the pages that there are were elsewhere and moved, or did not.
    fileprivate func place(
        _ bytes: Range<UInt64>, onHostNode hostNode: Int?, moving: Bool
    ) -> (moved: UInt64, failed: UInt64) {
        // The file keeps what is said of a mapping of it; one that is here only for that is not cut into pieces by it.
        guard
            let start = unsafe mmap(
                nil, bytes.count, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, rawValue, off_t(bytes.lowerBound)),
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

    /// Calls `body` with the ranges of a range of bytes of a file that are no holes.
    func forEachData(in bytes: Range<UInt64>, _ body: (Range<UInt64>) -> Void) {
        var offset = off_t(bytes.lowerBound)
        while offset < off_t(bytes.upperBound) {
            let start = Glibc.lseek(rawValue, offset, SEEK_DATA)
            guard start >= 0, start < off_t(bytes.upperBound) else { return }
            let end = Glibc.lseek(rawValue, start, SEEK_HOLE)
            offset = min(off_t(bytes.upperBound), end < 0 ? off_t(bytes.upperBound) : end)
            body(UInt64(start)..<UInt64(offset))
        }
    }
}
