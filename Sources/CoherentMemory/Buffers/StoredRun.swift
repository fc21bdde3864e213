/// Bytes to store into frames, gathered into runs: a run is stored by one call.
///
/// Must be flushed before the buffer's lock is given up.
@safe
struct StoredRun: ~Copyable {
    private var node: Node?
    private var first: PFN = 0
    private var end: PFN = 0
    /// Where in the first frame they begin.
    private var start = 0
    /// Whether the frames are holes.
    private var isFresh = false
    private var bytes = unsafe UnsafeRawBufferPointer(start: nil, count: 0)

    /// Adds bytes of one page, from `start` on; what does not follow the bytes before it is the start of a new run.
    mutating func add(
        _ bytes: UnsafeRawBufferPointer, to page: PageTableEntry, at start: Int, in machine: Machine
    ) {
        guard let source = bytes.baseAddress else { return }
        if let node, page.pfn == end, start == 0, page.isWritten != isFresh, node.span.contains(page.pfn),
            node.span.isInOnePiece(first, page.pfn), let base = unsafe self.bytes.baseAddress,
            unsafe base + self.bytes.count == source
        {
            end += 1
            unsafe self.bytes = UnsafeRawBufferPointer(start: base, count: self.bytes.count + bytes.count)
            return
        }
        flush()
        if node?.span.contains(page.pfn) != true { node = machine.node(of: page.pfn) }
        (first, end, self.start, isFresh) = (page.pfn, page.pfn + 1, start, !page.isWritten)
        unsafe self.bytes = bytes
    }

    /// Stores what is gathered.
    mutating func flush() {
        guard let node, unsafe !bytes.isEmpty else { return }
        if isFresh, start == 0 {
            unsafe node.fill(first, with: bytes)
        } else {
            unsafe node.store(bytes, to: first, at: start)
        }
        unsafe bytes = UnsafeRawBufferPointer(start: nil, count: 0)
    }
}
