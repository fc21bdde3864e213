import LinuxSupport
import MachineTopology
import SystemPackage

/// What a first touch of an address space came to.
public struct TouchedPages: Sendable, Hashable {
    /// The addresses that have frames now, among them those of the page that was touched.
    public var bytes: Range<UInt64>
    /// Whether they had none before.
    public var isFresh: Bool

    fileprivate init(_ pages: Range<UInt64>, isFresh: Bool) {
        bytes = pages.lowerBound << Page.shift..<pages.upperBound << Page.shift
        self.isFresh = isFresh
    }
}

/// Memory of programs that no file has: heaps, stacks and anonymous mappings.
extension Machine {
    /// Where the addresses of a program end, with five levels of page tables.
    public static let addressLimit = UInt64(1) << 56

    /// The memory of a program's own (struct mm_struct): a buffer whose offsets are addresses, and whose bytes are the program's. The machine has
    /// the frames, and moves and counts them as those of other buffers; it neither reads nor writes them.
    ///
    /// Parts have policies as ranges of other buffers do; elsewhere that of the task holds.
    ///
    /// - Parameters:
    ///   - share: the user's share of the nodes that its frames count in; nil for none.
    ///   - isShared: whether it is memory without a name that several programs share, which counts as FilePages (Shmem) and not as
    ///     AnonPages. Its offsets are those of the memory.
    public func makeAddressSpace(share: FrameShare? = nil, isShared: Bool = false) -> Buffer {
        let space = memory.makeAddressSpace(size: Self.addressLimit, isShared: isShared)
        space.setShare(share)
        trace.noteMade(space)
        return space
    }

    /// Whether free frames are kept back because their blocks go offline. A request that finds none meanwhile may find one later: there, or
    /// on another node, for a policy loses a node that has no memory any more.
    public var isTakingBlocksOffline: Bool { nodes.contains { $0.keepsFramesBack } }

    /// Gives the page of an address its frame, and those around it that have none (handle_mm_fault()).
    ///
    /// - Parameters:
    ///   - space: the address space.
    ///   - address: the address that is touched.
    ///   - window: the addresses around that may get frames with it; all of it or none of it does.
    ///   - origin: who touches it.
    /// - Throws: ENOMEM, EPERM and EDQUOT where there is no frame for it, as of a touch of a buffer; EIO where its frame failed; ENXIO
    ///   where the space is no more.
    public func touch(
        _ space: Buffer, at address: UInt64, around window: Range<UInt64>, origin: Origin
    ) throws(Errno) -> TouchedPages {
        let page = address >> Page.shift
        let origin = memory.resolvingAccess(origin, for: space, pages: page..<page + 1)
        return try space.state.withLock { state throws(Errno) -> TouchedPages in
            // A space that has been removed has no size.
            guard page < Page.count(of: state.size) else { throw .noSuchAddressOrDevice }
            let entry = state.pages.table[page]
            guard entry.marker == nil else { throw .ioError }
            let around = window.lowerBound >> Page.shift..<Page.count(of: window.upperBound)
            // A huge page of a pool is there as a whole.
            let own = state.huge == .pool ? HugePage.pages(around: page).clamped(to: around) : page..<page + 1
            guard entry.isNone else { return TouchedPages(own, isFresh: false) }
            let missing = state.missing(around: page, within: around.clamped(to: 0..<Page.count(of: state.size)))
            if missing.count > 1 {
                do throws(Errno) {
                    try state.populate(missing, in: memory, origin: origin, policy: .all)
                    return TouchedPages(missing, isFresh: true)
                } catch {
                    // There may be one for this page all the same.
                }
            }
            try state.populate(page..<page + 1, in: memory, origin: origin, policy: .all)
            return TouchedPages(own, isFresh: true)
        }
    }

    /// The addresses around a page that have no frames and have not failed, as far as they are in a window; nil where the page has one,
    /// or has failed, or the space is no more.
    ///
    /// - Parameters:
    ///   - space: the address space.
    ///   - address: the address of the page.
    ///   - window: whole pages.
    public func untouched(_ space: Buffer, around address: UInt64, in window: Range<UInt64>) -> Range<UInt64>? {
        let page = address >> Page.shift
        let pages = space.state.withLock { state -> Range<UInt64>? in
            let end = Page.count(of: state.size)
            guard page < end, state.pages.table[page].isNone else { return nil }
            let around = window.lowerBound >> Page.shift..<window.upperBound >> Page.shift
            return state.missing(around: page, within: around.clamped(to: 0..<end))
        }
        return pages.map { $0.lowerBound << Page.shift..<$0.upperBound << Page.shift }
    }

    /// Frees the frames of addresses, whose policy stays (madvise(2) with MADV_DONTNEED).
    ///
    /// - Parameters:
    ///   - space: the address space.
    ///   - bytes: whole pages.
    public func discard(_ space: Buffer, bytes: Range<UInt64>) {
        let pages = bytes.lowerBound >> Page.shift..<bytes.upperBound >> Page.shift
        memory.discard(space, pages: pages)
        trace.noteFreed(pages, of: space.id)
        if isHugeMapping(space) { restoreReservation(of: space, pages: pages) }
    }

    /// Forgets what addresses had, their policy too (munmap(2)).
    ///
    /// - Parameters:
    ///   - space: the address space.
    ///   - bytes: whole pages.
    public func unmap(_ space: Buffer, bytes: Range<UInt64>) {
        let pages = bytes.lowerBound >> Page.shift..<bytes.upperBound >> Page.shift
        space.state.withLock { state in
            if !state.ranges.isEmpty { _ = state.ranges.set(nil, for: pages) }
            state.locked.remove(contentsOf: pages)
        }
        memory.discard(space, pages: pages)
        trace.noteFreed(pages, of: space.id, flags: .policies)
        if isHugeMapping(space) { cancelReservation(of: space, pages: pages) }
    }

    /// Locks addresses, including pages that get frames later, or unlocks them (mlock(2)). Reclaim skips locked pages, and they count
    /// as unevictable. As in Linux they move all the same: to another node, and off memory that goes offline.
    ///
    /// - Parameters:
    ///   - isLocked: whether they are locked from now on.
    ///   - space: the address space.
    ///   - bytes: widened to whole pages.
    public func setLocked(_ isLocked: Bool, of space: Buffer, bytes: Range<UInt64>) {
        let pages = bytes.lowerBound >> Page.shift..<Page.count(of: bytes.upperBound)
        let hasAny = space.state.withLock { state in
            // One that has been removed has none.
            guard state.size > 0, isLocked else {
                state.locked.remove(contentsOf: pages)
                return !state.locked.isEmpty
            }
            state.locked.insert(contentsOf: pages)
            state.pages.update(pages) { $1.isActive = false }
            return true
        }
        memory.locked.withLock { locked in
            if hasAny { locked.insert(space.id) } else { locked.remove(space.id) }
        }
    }

    /// The locked addresses of an address space.
    public func lockedBytes(of space: Buffer) -> RangeSet<UInt64> {
        RangeSet(
            space.state.withLock { $0.locked }.ranges.map {
                $0.lowerBound << Page.shift..<$0.upperBound << Page.shift
            })
    }

    /// Gives a new address space what another one has: its policies, and for each page a frame of its own, on the same node as far as that
    /// has one, else by distance (dup_mmap()).
    ///
    /// The copy of Linux is made page by page, at the first store to each; that is not seen here, so that all are counted at once, until
    /// ``share(_:bytes:with:)`` tells what was not stored to. A page for which there is no frame is left without one.
    ///
    /// - Returns: how many pages were left without a frame.
    @discardableResult
    public func copy(_ space: Buffer, to child: Buffer) -> Int {
        trace.note(.copySpace, of: child, other: space.id)
        let ranges = space.state.withLock { $0.ranges }
        child.state.withLock { $0.ranges = ranges }
        return copy(space, to: child, bytes: 0..<Self.addressLimit)
    }

    /// Gives pages without frames that another address space has frames for frames of their own, on the same nodes as far as these have
    /// any, else by distance.
    ///
    /// - Parameters:
    ///   - space: the address space of the parent.
    ///   - child: that of the child.
    ///   - bytes: whole pages.
    /// - Returns: how many pages were left without a frame.
    @discardableResult
    public func copy(_ space: Buffer, to child: Buffer, bytes: Range<UInt64>) -> Int {
        var missing = 0
        forEachStretch(of: space, bytes: bytes) { pages, node in
            missing += child.state.withLock { $0.copy(pages, to: nodes[node], in: memory) }
        }
        return missing
    }

    /// Frees the frames that a fork has given pages which two address spaces share on the host, where the older one has frames for them,
    /// too.
    ///
    /// - Parameters:
    ///   - space: the younger address space.
    ///   - bytes: whole pages, to which no program has stored since the fork.
    ///   - elder: the older one.
    public func share(_ space: Buffer, bytes: Range<UInt64>, with elder: Buffer) {
        forEachStretch(of: elder, bytes: bytes) { pages, _ in memory.discard(space, pages: pages) }
    }

    /// Calls `body` with the pages of a range that have frames, in stretches that are each on one node, by its place. No lock is held.
    private func forEachStretch(of space: Buffer, bytes: Range<UInt64>, _ body: (Range<UInt64>, Int) -> Void) {
        var position = bytes.lowerBound >> Page.shift
        let end = bytes.upperBound >> Page.shift
        while position < end, let next = space.nextPage(from: position), next < end {
            let part = next..<min(end, HugePage.pages(around: next).upperBound)
            position = part.upperBound
            for run in space.state.withLock({ $0.stretches(in: part) }) { body(run.pages, run.node) }
        }
    }

    /// Moves what addresses have to others (move_vma()): the frames, failed ones too, and the policies.
    ///
    /// Waits for a move of these pages between nodes.
    ///
    /// - Parameters:
    ///   - space: the address space.
    ///   - bytes: whole pages.
    ///   - address: where they begin from now on; what was there is forgotten.
    ///   - keepsPolicy: whether the old addresses keep their policies, too (MREMAP_DONTUNMAP).
    public func move(_ bytes: Range<UInt64>, of space: Buffer, to address: UInt64, keepsPolicy: Bool = false) {
        let (end, overflow) = address.addingReportingOverflow(UInt64(bytes.count))
        guard !bytes.isEmpty, !overflow, end <= Self.addressLimit, !bytes.overlaps(address..<end) else { return }
        unmap(space, bytes: address..<end)
        trace.note(
            .remap, of: space, pages: bytes.lowerBound >> Page.shift..<bytes.upperBound >> Page.shift,
            value: keepsPolicy ? 1 : 0, other: address >> Page.shift)
        let pages = bytes.lowerBound >> Page.shift..<bytes.upperBound >> Page.shift
        var freed = FreedFrames(isUnlimited: true)
        space.migrationTurn.withLock { _ in
            space.state.withLock { state in
                // One that is being removed part by part must not get anything where that has been.
                guard state.size > 0 else { return }
                state.movePolicies(pages, to: address >> Page.shift, isCopy: keepsPolicy)
                state.moveLocks(pages, to: address >> Page.shift)
                state.movePages(pages, to: address >> Page.shift, lost: &freed)
            }
        }
        freed.release(to: memory.tables)
    }
}

extension Buffer.State {
    /// The pages without frames around one that has none.
    fileprivate func missing(around page: UInt64, within window: Range<UInt64>) -> Range<UInt64> {
        guard window.contains(page) else { return page..<page + 1 }
        var start = page
        while start > window.lowerBound, pages.table[start - 1].isNone { start -= 1 }
        var end = page + 1
        while end < window.upperBound, pages.table[end].isNone { end += 1 }
        return start..<end
    }

    /// The pages with frames of a range, in stretches that are each on one node, by its place.
    fileprivate func stretches(in range: Range<UInt64>) -> [(pages: Range<UInt64>, node: Int)] {
        var found: [(pages: Range<UInt64>, node: Int)] = []
        unsafe pages.forEachMatch(range) { page, slot in
            let node = pages.nodes.index(of: unsafe PageTableEntry(rawValue: slot.pointee).pfn)
            if let last = found.last, last.pages.upperBound == page, last.node == node {
                found[found.count - 1].pages = last.pages.lowerBound..<page + 1
            } else {
                found.append((page..<page + 1, node))
            }
        }
        return found
    }

    /// Gives pages frames of a node, or of others by distance; how many have none.
    fileprivate mutating func copy(_ range: Range<UInt64>, to node: Node, in memory: Memory) -> Int {
        guard range.upperBound <= Page.count(of: size) else { return range.count }
        var context = AllocationContext(
            policy: EffectivePolicy(mode: .prefer, nodes: NodeMask([node.index])), local: node.index, process: 0)
        // It may have what it has.
        context.access[node.index] = true
        context.share = pages.share
        do throws(Errno) {
            return Int(
                range.upperBound
                    - (try fill(
                        range, in: memory, for: context, origin: Origin(pid: 0, node: node.id), policy: .prefix,
                        followsRequest: true)))
        } catch {
            return range.count
        }
    }

    fileprivate mutating func movePolicies(_ range: Range<UInt64>, to page: UInt64, isCopy: Bool) {
        guard !ranges.isEmpty else { return }
        let parts = ranges.overlapping(range).map { part in (part, part.pages.clamped(to: range)) }
        if !isCopy { _ = ranges.set(nil, for: range) }
        for (part, old) in parts {
            let start = page + (old.lowerBound - range.lowerBound)
            _ = ranges.set((part.policy, part.effective), for: start..<start + UInt64(old.count))
        }
    }

    /// What moves is locked where it comes to. What it leaves is empty.
    fileprivate mutating func moveLocks(_ range: Range<UInt64>, to page: UInt64) {
        let parts = locked.intersection(RangeSet(range)).ranges
        locked.remove(contentsOf: range)
        for part in parts {
            let start = page + (part.lowerBound - range.lowerBound)
            locked.insert(contentsOf: start..<start + UInt64(part.count))
        }
    }

    /// Moves entries to where none are.
    fileprivate mutating func movePages(_ range: Range<UInt64>, to page: UInt64, lost freed: inout FreedFrames) {
        var tally = PageTally(pages.nodes)
        var position = range.lowerBound
        while position < range.upperBound {
            guard let (leaf, base) = pages.table.nextLeaf(from: position), base < range.upperBound else { break }
            let part = max(position, base)..<min(range.upperBound, base + UInt64(TablePool.entries))
            position = part.upperBound
            var entries: [(page: UInt64, entry: PageTableEntry)] = []
            pages.table.remove(part, leaf: leaf) { page, entry in
                entries.append((page, entry))
                return true
            }
            for (old, entry) in entries {
                let new = page + (old - range.lowerBound)
                do throws(Errno) {
                    let leaf = try pages.table.makeLeaf(of: new)
                    pages.table.insert(entry, at: new, leaf: leaf)
                    let node = pages.nodes.node(of: entry.pfn)
                    guard entry.isPresent else {
                        node.noteVictim(entry.pfn, buffer: pages.table.owner, page: new)
                        continue
                    }
                    node.frames.setOwner(of: node.index(of: entry.pfn), to: leaf)
                } catch {
                    // No table: the page is there, and counts no more.
                    tally.count(entry, .none)
                    if entry.isPresent { pages.nodes.disown(entry.pfn, into: &freed) }
                }
            }
        }
        tally.flush(in: &pages)
    }
}
