import MachineTopology
import SystemPackage

/// The state of a memory block.
public enum MemoryBlockState: UInt8, Sendable, Hashable {
    /// There is no such block: it was not added yet, or was removed with its device.
    case absent
    /// No page of the block can be allocated, and none is in use.
    case offline
    /// The block's pages are allocated as usual.
    case online
    /// Pages are moving away, and free pages are not allocated.
    case goingOffline
}

/// What the lock of a node guards: its free frames and its memory blocks (struct zone).
struct Zone: ~Copyable {
    let framesPerBlock: Int
    var allocator: BuddyAllocator
    /// Huge pages set aside; their frames are neither free nor allocated.
    var pool: HugePool
    /// Free frames at which reclaim begins and ends.
    var watermarks = Watermarks()
    /// With fewer free frames than this, kswapd is woken: the low watermark, or 0 where it could do nothing.
    var wakeBelow = 0
    /// Frames that only contiguous buffers get, and that the allocator never has.
    var share: ContiguousShare
    /// Frames that failed, and have no owner once they come back.
    var failed = FailedFrames()
    /// Frames of blocks that are not offline (present_pages).
    var present = 0
    /// Frames handed out.
    var allocated = 0
    /// Free frames of blocks that are going offline.
    var isolated = 0
    /// Blocks of the ordinary zone that are not offline.
    private(set) var normalBlocks = 0
    /// Blocks that are there, in whatever state.
    private(set) var blocks = 0
    private let states: FlatMemory<UInt8>
    private let kinds: FlatMemory<UInt8>
    private let freeInBlock: FlatMemory<UInt32>

    init(frameCount: Int, framesPerBlock: Int, share: ContiguousShare) throws(Errno) {
        let allocator = try BuddyAllocator(frameCount: frameCount)
        let pool = try HugePool(frameCount: frameCount)
        let states = try FlatMemory<UInt8>(count: frameCount / framesPerBlock)
        let kinds = try FlatMemory<UInt8>(count: frameCount / framesPerBlock)
        let freeInBlock = try FlatMemory<UInt32>(count: frameCount / framesPerBlock)
        self.framesPerBlock = framesPerBlock
        self.allocator = allocator
        self.pool = pool
        self.share = share
        self.states = states
        self.kinds = kinds
        self.freeInBlock = freeInBlock
    }

    func state(of block: Int) -> MemoryBlockState {
        MemoryBlockState(rawValue: states[block]) ?? .absent
    }

    /// The blocks that are there, in whatever state.
    var presentBlocks: [Int] { (0..<states.count).filter { state(of: $0) != .absent } }

    /// Makes a block that was not there appear, offline (create_memory_block_devices()).
    mutating func add(_ block: Int) {
        assert(state(of: block) == .absent)
        states[block] = MemoryBlockState.offline.rawValue
        blocks += 1
    }

    /// Takes a block away of which no frame has an owner, in whatever state it is (remove_memory_block_devices()).
    mutating func vanish(_ block: Int, table: FrameTable) {
        let frames = frames(of: block)
        let part = share.part(of: frames)
        if state(of: block) == .online {
            _ = allocator.isolate(frames)
            _ = share.isolate(part)
        }
        if state(of: block).isPresent {
            if kind(of: block) == .normal { normalBlocks -= 1 }
            present -= framesPerBlock
            share.total -= part.count
        }
        isolated -= Int(freeInBlock[block])
        freeInBlock[block] = 0
        forgetFailures(in: frames, table: table)
        states[block] = MemoryBlockState.absent.rawValue
        blocks -= 1
    }

    func frames(of block: Int) -> Range<Int> { block * framesPerBlock..<(block + 1) * framesPerBlock }

    /// The zone of a block, nil while it is offline.
    func kind(of block: Int) -> ZoneKind? {
        state(of: block).rawValue <= MemoryBlockState.offline.rawValue ? nil : ZoneKind(rawValue: kinds[block])
    }

    /// Whether a block lies between the first and the last block of a zone (zone_intersects()).
    private func spans(_ kind: ZoneKind, _ block: Int) -> Bool {
        (0...block).contains { self.kind(of: $0) == kind }
            && (block..<states.count).contains { self.kind(of: $0) == kind }
    }

    /// The zone that an offline block gets where none is named: the one it lies within, if it is only one, else the
    /// ordinary one (default_zone_for_pfn()).
    func defaultKind(of block: Int) -> ZoneKind {
        spans(.movable, block) && !spans(.normal, block) ? .movable : .normal
    }

    /// Makes an offline block's frames available.
    mutating func online(_ block: Int, in kind: ZoneKind) {
        assert(state(of: block) == .offline)
        kinds[block] = kind.rawValue
        if kind == .normal { normalBlocks += 1 }
        states[block] = MemoryBlockState.online.rawValue
        present += framesPerBlock
        let part = share.part(of: frames(of: block))
        share.total += part.count
        putFree(frames(of: block))
    }

    /// Stops allocation from an online block: what is free stays free, and so does what is freed from now on.
    mutating func isolate(_ block: Int) {
        assert(state(of: block) == .online)
        states[block] = MemoryBlockState.goingOffline.rawValue
        let free = allocator.isolate(frames(of: block)) + share.isolate(share.part(of: frames(of: block)))
        freeInBlock[block] = UInt32(free)
        isolated += free
    }

    /// How many pages of a block that is going offline are still in use.
    func used(in block: Int) -> Int { framesPerBlock - Int(freeInBlock[block]) - failed.retired(in: frames(of: block)) }

    /// Whether a block that is going offline has no page left in use.
    func isDrained(_ block: Int) -> Bool { used(in: block) == 0 }

    /// Ends the going offline of a drained block.
    mutating func offline(_ block: Int) {
        assert(state(of: block) == .goingOffline && isDrained(block))
        if kind(of: block) == .normal { normalBlocks -= 1 }
        failed.retired -= failed.retired(in: frames(of: block))
        share.total -= share.part(of: frames(of: block)).count
        states[block] = MemoryBlockState.offline.rawValue
        isolated -= Int(freeInBlock[block])
        freeInBlock[block] = 0
        present -= framesPerBlock
    }

    /// Gives a block that could not go offline back to the allocator.
    mutating func cancelIsolation(of block: Int, frames table: FrameTable) {
        assert(state(of: block) == .goingOffline)
        states[block] = MemoryBlockState.online.rawValue
        isolated -= Int(freeInBlock[block])
        freeInBlock[block] = 0
        var start: Int?
        for frame in frames(of: block) {
            if table.owner(of: frame) == FrameTable.free {
                start = start ?? frame
            } else if let first = start {
                putFree(first..<frame)
                start = nil
            }
        }
        if let first = start { putFree(first..<frames(of: block).upperBound) }
    }

    /// Puts frames of blocks that are online to the free ones, of the share or of the allocator.
    private mutating func putFree(_ frames: Range<Int>) {
        share.release(share.part(of: frames))
        for others in share.others(in: frames) { allocator.release(others) }
    }

    /// Counts frames of a block that goes offline as free, or as such no more.
    mutating func addIsolated(_ count: Int, in block: Int) {
        freeInBlock.add(count, at: block)
        isolated += count
    }

    /// Takes a run of the share for a buffer.
    mutating func takeContiguous(_ count: Int) -> Range<Int>? {
        guard let frames = share.take(count) else { return nil }
        allocated += count
        return frames
    }

    /// Free frames, those of the share among them (nr_free_pages).
    var free: Int { allocator.freeCount + share.free }

    /// How many free blocks of each order there are (a line of /proc/buddyinfo). The share's frames count in the largest
    /// blocks that they make up, as Linux frees those of a CMA area into the same lists.
    var freeBlocks: [Int] {
        var counts = (0...BuddyAllocator.maximumOrder).map { allocator.freeBlocks(order: $0) }
        for stretch in share.stretches {
            BuddyAllocator.forEachBlock(of: stretch) { _, order in counts[order] += 1 }
        }
        return counts
    }

    /// Puts frames that have no owner to the free ones; those that failed to the retired ones.
    mutating func putBack(_ frames: Range<Int>, table: FrameTable) {
        if failed.isEmpty { return addFree(frames) }
        for frame in failed.pending(in: frames) { retire(frame, table: table) }
        for good in failed.others(in: frames) { addFree(good) }
    }

    /// Puts frames to the free ones, of the allocator, of the share, or of a block that goes offline.
    mutating func addFree(_ frames: Range<Int>) {
        var start = frames.lowerBound
        while start < frames.upperBound {
            let block = start / framesPerBlock
            let part = start..<min(frames.upperBound, (block + 1) * framesPerBlock)
            if state(of: block) == .online {
                putFree(part)
            } else {
                addIsolated(part.count, in: block)
            }
            start = part.upperBound
        }
    }
}
