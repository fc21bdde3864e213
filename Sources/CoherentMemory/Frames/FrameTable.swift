import SystemPackage

/// What the machine knows of each frame of a node: 6 bytes a frame (struct page). The bytes of a page are not there, but in
/// the storage of its buffer.
///
/// `owner` leads from a frame to the page table that maps it, as Linux's rmap does: it names the leaf, whose 64
/// entries are then searched. It is read without the owner's lock, so it is only a hint that must be checked under it.
final class FrameTable: Sendable {
    /// The owner of a free frame.
    static let free: UInt32 = 0
    /// The owner of a frame that is allocated and in no page table: just taken, or on its way home.
    static let unmapped: UInt32 = .max
    /// The owner of a frame of a reserved huge page that no buffer has.
    static let pooled: UInt32 = .max - 1
    /// The owner of a frame that failed and is out of use.
    static let retired: UInt32 = .max - 2

    /// Whether an owner is a page table.
    static func isTable(_ owner: UInt32) -> Bool { owner != free && owner < retired }

    private let owners: FlatMemory<UInt32>
    // Guarded by the lock of the buffer that mapped the frame.
    private let hints: FlatMemory<UInt16>

    init(frameCount: Int) throws(Errno) {
        owners = try FlatMemory(count: frameCount)
        hints = try FlatMemory(count: frameCount)
    }

    func owner(of frame: Int) -> UInt32 { owners.load(frame) }

    func setOwner(of frame: Int, to owner: UInt32) { owners.store(owner, at: frame) }

    /// Sets the owner of frames that go from or to the free lists. The caller holds the node's lock.
    func setOwner(of frames: Range<Int>, to owner: UInt32) {
        for frame in frames { owners.store(owner, at: frame) }
    }

    /// What is remembered of the last hinting fault (_last_cpupid); the page table entry tells whether anything is.
    /// The lock of the buffer guards it.
    func hint(of frame: Int) -> UInt16 { hints[frame] }

    func setHint(of frame: Int, to hint: UInt16) { hints[frame] = hint }
}
