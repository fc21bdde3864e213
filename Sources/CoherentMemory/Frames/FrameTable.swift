import SystemPackage

/// What the machine knows of each frame of a node beside its bytes: 8 bytes a frame (struct page).
///
/// `owner` leads from a frame to the page table that maps it, as Linux's rmap does: it names the leaf, whose 64
/// entries are then searched. It is read without the owner's lock, so it is only a hint that must be checked under it.
final class FrameTable: Sendable {
    /// The owner of a free frame.
    static let free: UInt32 = 0
    /// The owner of a frame that is allocated and in no page table (just taken, or unmapped while a reply still reads it).
    static let unmapped: UInt32 = .max
    /// The owner of a frame of a reserved huge page that no buffer has.
    static let pooled: UInt32 = .max - 1
    /// The owner of a frame that failed and is out of use.
    static let retired: UInt32 = .max - 2

    /// Whether an owner is a page table.
    static func isTable(_ owner: UInt32) -> Bool { owner != free && owner < retired }

    private let owners: FlatMemory<UInt32>
    // Guarded by the lock of the buffer that mapped the frame.
    private let pins: FlatMemory<UInt16>
    private let hints: FlatMemory<UInt16>

    init(frameCount: Int) throws(Errno) {
        owners = try FlatMemory(count: frameCount)
        pins = try FlatMemory(count: frameCount)
        hints = try FlatMemory(count: frameCount)
    }

    func owner(of frame: Int) -> UInt32 { owners.load(frame) }

    func setOwner(of frame: Int, to owner: UInt32) { owners.store(owner, at: frame) }

    /// Sets the owner of frames that go from or to the free lists. The caller holds the node's lock.
    func setOwner(of frames: Range<Int>, to owner: UInt32) {
        for frame in frames { owners.store(owner, at: frame) }
    }

    /// Keeps a frame from being reused while a reply is read out of it (get_page).
    func pin(_ frame: Int) { pins.add(1, at: frame) }

    /// Undoes ``pin(_:)`` and says whether this was the last pin (put_page).
    func unpin(_ frame: Int) -> Bool {
        pins.add(-1, at: frame)
        return pins[frame] == 0
    }

    func isPinned(_ frame: Int) -> Bool { pins[frame] != 0 }

    /// What is remembered of the last hinting fault (_last_cpupid); the page table entry tells whether anything is.
    /// The lock of the buffer guards it.
    func hint(of frame: Int) -> UInt16 { hints[frame] }

    func setHint(of frame: Int, to hint: UInt16) { hints[frame] = hint }
}
