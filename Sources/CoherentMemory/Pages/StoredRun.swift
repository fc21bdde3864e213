/// Bytes to store into pages, gathered into runs: a run is stored by one call.
///
/// Must be flushed before the buffer's lock is given up.
@safe
struct StoredRun: ~Copyable {
    private let storage: PageStorage
    /// Of the first byte.
    private var place: UInt64 = 0
    /// Whether the pages are holes.
    private var isFresh = false
    private var bytes = unsafe UnsafeRawBufferPointer(start: nil, count: 0)

    init(in storage: PageStorage) { self.storage = storage }

    /// Adds bytes of one page; what does not follow the bytes before it is the start of a new run.
    mutating func add(_ bytes: UnsafeRawBufferPointer, at place: UInt64, isFresh: Bool) {
        guard let source = bytes.baseAddress else { return }
        if let base = unsafe self.bytes.baseAddress, unsafe place == self.place + UInt64(self.bytes.count),
            isFresh == self.isFresh, !PageStorage.isSegmentStart(place), unsafe base + self.bytes.count == source
        {
            unsafe self.bytes = UnsafeRawBufferPointer(start: base, count: self.bytes.count + bytes.count)
            return
        }
        flush()
        (self.place, self.isFresh) = (place, isFresh)
        unsafe self.bytes = bytes
    }

    /// Stores what is gathered.
    mutating func flush() {
        guard unsafe !bytes.isEmpty else { return }
        if isFresh { unsafe storage.fill(place, with: bytes) } else { unsafe storage.store(bytes, at: place) }
        unsafe bytes = UnsafeRawBufferPointer(start: nil, count: 0)
    }
}
