import LinuxSupport

/// The interface to the kernel's page cache, which is between the machine and the programs that map its memory.
public protocol MappingInvalidator: Sendable {
    /// Unmaps pages of a buffer from every process and writes back dirty pages, before it returns
    /// (invalidate_inode_pages2_range()). Called from a thread that no request waits for, with no lock held.
    func invalidate(_ buffer: Buffer, pages: Range<UInt64>)

    /// Writes back dirty pages of a buffer, if that makes ``invalidate(_:pages:)`` faster (filemap_fdatawrite_range()).
    /// Called before it, and never replaces it.
    ///
    /// - Parameters:
    ///   - buffer: the buffer.
    ///   - pages: the pages.
    ///   - next: pages whose write-back may start; the caller requests them again later.
    func writeBack(_ buffer: Buffer, pages: Range<UInt64>, next: Range<UInt64>)

    /// The use of pages of programs' own memory, which is in no page cache, since it was asked for last. Waits a short time
    /// at most. Nil if it is not known.
    ///
    /// - Parameters:
    ///   - space: the address space, or the memory that several programs share.
    ///   - pages: the pages, one range or several.
    func use(of space: Buffer, pages: [Range<UInt64>]) -> ProgramUse?
}

extension MappingInvalidator {
    /// Does nothing: the invalidation writes back.
    public func writeBack(_ buffer: Buffer, pages: Range<UInt64>, next: Range<UInt64>) {}

    /// Nil: no program has memory of its own here.
    public func use(of space: Buffer, pages: [Range<UInt64>]) -> ProgramUse? { nil }
}

/// The use that programs made of pages of their own memory: one of its address space, several of memory that they share.
public struct ProgramUse: Sendable {
    /// The use by one program.
    public struct Stores: Sendable {
        /// The pages that it stored to. Loads are not seen.
        public var pages: RangeSet<UInt64>
        /// The program, and the node on which it runs.
        public var origin: Origin

        /// A use of pages.
        public init(pages: RangeSet<UInt64>, origin: Origin) {
            self.pages = pages
            self.origin = origin
        }
    }

    /// One entry for each program.
    public var stores: [Stores]

    /// The use by some programs.
    public init(_ stores: [Stores]) { self.stores = stores }

    /// The pages that any of them stored to.
    public var stored: RangeSet<UInt64> {
        stores.dropFirst().reduce(stores.first?.pages ?? RangeSet()) { $0.union($1.pages) }
    }
}

/// The page cache as the machine deals with it. Called without locks but for turns.
extension Memory {
    func invalidate(_ buffer: Buffer, pages: Range<UInt64>) {
        invalidator.withLock { $0 }?.invalidate(buffer, pages: pages)
    }

    func writeBack(_ buffer: Buffer, pages: Range<UInt64>, next: Range<UInt64>) {
        invalidator.withLock { $0 }?.writeBack(buffer, pages: pages, next: next)
    }

    func use(of space: Buffer, pages: [Range<UInt64>]) -> ProgramUse? {
        invalidator.withLock { $0 }?.use(of: space, pages: pages)
    }

    /// Pages written back at once: 4 MiB, so that getting ready costs little, and other requests wait for the workers
    /// for a short time.
    private static let window: UInt64 = 1024
    /// From how many pages on that may be in the page cache it pays.
    static let worthwhile = 32

    /// Has what programs stored to pages that are about to leave the page cache written back in bulk, where many of them are
    /// cached.
    ///
    /// Only for speed: an invalidation writes back, too, but page by page. What is stored meanwhile it still finds.
    ///
    /// - Returns: the page from which on nothing was done yet.
    func writeBackAhead(of buffer: Buffer, from page: UInt64, to end: UInt64) -> UInt64 {
        let window = page..<min(end, page + Self.window)
        var cached = 0
        var (first, last) = (UInt64.max, UInt64(0))
        buffer.state.withLock { state in
            unsafe state.pages.forEachMatch(window) { page, slot in
                guard PageTableEntry(rawValue: unsafe slot.pointee).isCached else { return }
                cached += 1
                first = min(first, page)
                last = page
            }
        }
        // What comes next is written back while these pages are at work on.
        let next = window.upperBound..<min(end, window.upperBound + Self.window)
        if cached >= Self.worthwhile { writeBack(buffer, pages: first..<last + 1, next: next) }
        return window.upperBound
    }

    /// Takes what the page cache has of some pages out of it; false where programs bring it back again and again. The
    /// caller holds the buffer's migration turn.
    func empty(_ buffer: Buffer, pages: Range<UInt64>) -> Bool {
        for _ in 0..<3 {
            let isEmpty = buffer.unmapTurn.withLock { _ in
                uncache(pages, of: buffer).runs.isEmpty
            }
            if isEmpty { return true }
        }
        return false
    }

    /// Takes what the page cache has of some pages out of it, and returns what that was. The caller holds the buffer's unmap
    /// turn.
    @discardableResult
    func uncache(_ pages: Range<UInt64>, of buffer: Buffer) -> PageRuns {
        let cached = buffer.state.withLock { $0.pages.uncache(pages) }
        unmap(cached, of: buffer)
        return cached
    }

    /// Takes pages out of the page cache that were marked for it, so that the next touch of each shows. The caller holds
    /// the buffer's migration turn, and its unmap turn since before they were marked.
    func unmap(_ pages: PageRuns, of buffer: Buffer) {
        guard !pages.runs.isEmpty else { return }
        for run in pages.runs {
            // Dirty ones in bulk, where that pays.
            if run.count >= Self.worthwhile { writeBack(buffer, pages: run, next: run.upperBound..<run.upperBound) }
            invalidate(buffer, pages: run)
        }
        buffer.state.withLock { state in for run in pages.runs { state.pages.endUnmapping(run) } }
    }
}
