import LinuxSupport

extension Machine {
    /// Pages written back at once: 4 MiB, so that getting ready costs little, and whoever else waits for the workers does so
    /// only shortly.
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
            unsafe forEachMatch(window, filter: .all, in: state) { page, slot in
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
}
