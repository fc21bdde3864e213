import SystemPackage

/// The free frames of one node, in blocks of 2^order frames, each aligned to its size (mm/page_alloc.c).
///
/// Orders go from 0 (4 KiB) to 18 (1 GiB), so that base pages and huge pages come from one place.
/// The lowest address is always taken first: runs stay long, and what is freed is soon used again.
/// Indices are frame numbers within the node. The caller holds the node's lock.
@safe
struct BuddyAllocator: ~Copyable, @unchecked Sendable {
    static let maximumOrder = 18

    // One set of block numbers (frame index >> order) for each order. Sendable: moved with the struct, never shared.
    private let free: UnsafeMutableBufferPointer<IndexSet64>
    private var orders: UInt32 = 0
    let frameCount: Int
    private(set) var freeCount = 0

    /// An allocator of a node of `frameCount` frames, none of them free yet.
    init(frameCount: Int) throws(Errno) {
        self.frameCount = frameCount
        let sets = UnsafeMutableBufferPointer<IndexSet64>.allocate(capacity: Self.maximumOrder + 1)
        var made = 0
        do throws(Errno) {
            while made <= Self.maximumOrder {
                unsafe sets.initializeElement(at: made, to: try IndexSet64(capacity: (frameCount >> made) + 1))
                made += 1
            }
        } catch {
            for order in 0..<made { unsafe sets.deinitializeElement(at: order) }
            unsafe sets.deallocate()
            throw error
        }
        unsafe free = sets
    }

    deinit {
        unsafe free.deinitialize()
        unsafe free.deallocate()
    }

    /// How many free blocks of exactly this order there are (a column of /proc/buddyinfo).
    func freeBlocks(order: Int) -> Int { unsafe free[order].count }

    /// The set of an order, for changes. Swift 6.3 emits code that the thread sanitizer's pass cannot compile when the
    /// buffer pointer of a noncopyable struct is subscripted for that.
    private func set(of order: Int) -> UnsafeMutablePointer<IndexSet64> { unsafe free.baseAddress! + order }

    private mutating func insert(block: Int, order: Int) {
        unsafe set(of: order).pointee.insert(block)
        orders |= 1 << UInt32(order)
    }

    private mutating func remove(block: Int, order: Int) {
        unsafe set(of: order).pointee.remove(block)
        if unsafe free[order].isEmpty { orders &= ~(1 << UInt32(order)) }
    }

    /// Takes one block of 2^order frames, or nil when none is left that large.
    mutating func allocate(order: Int) -> Int? {
        let candidates = (orders >> UInt32(order)) << UInt32(order)
        guard candidates != 0 else { return nil }
        var current = candidates.trailingZeroBitCount
        guard var block = unsafe free[current].first() else { preconditionFailure("order mask out of step") }
        remove(block: block, order: current)
        while current > order {
            current -= 1
            block <<= 1
            insert(block: block + 1, order: current)
        }
        freeCount -= 1 << order
        return block << order
    }

    /// Takes a run of frames that follow each other: the longest power of two up to `count` that is to be had.
    mutating func allocateRun(upTo count: Int) -> Range<Int>? {
        let wanted = min(Self.maximumOrder, Int.bitWidth - 1 - count.leadingZeroBitCount)
        if let start = allocate(order: wanted) { return start..<start + 1 << wanted }
        guard orders != 0 else { return nil }
        let order = UInt32.bitWidth - 1 - orders.leadingZeroBitCount
        return allocate(order: order).map { $0..<$0 + 1 << order }
    }

    /// Gives frames back. They must not be free already.
    mutating func release(_ range: Range<Int>) {
        Self.forEachBlock(of: range) { block, order in release(block: block, order: order) }
    }

    /// Calls `body` with the largest aligned blocks that make up a range, in order.
    static func forEachBlock(of range: Range<Int>, _ body: (_ block: Int, _ order: Int) -> Void) {
        var start = range.lowerBound
        while start < range.upperBound {
            let aligned = start == 0 ? maximumOrder : start.trailingZeroBitCount
            let fitting = Int.bitWidth - 1 - (range.upperBound - start).leadingZeroBitCount
            let order = min(aligned, fitting, maximumOrder)
            body(start >> order, order)
            start += 1 << order
        }
    }

    private mutating func release(block: Int, order: Int) {
        freeCount += 1 << order
        var block = block
        var order = order
        while order < Self.maximumOrder, unsafe free[order].contains(block ^ 1) {
            remove(block: block ^ 1, order: order)
            block >>= 1
            order += 1
        }
        insert(block: block, order: order)
    }

    /// The free block that holds a frame.
    private func block(holding frame: Int) -> (block: Int, order: Int)? {
        for order in 0...Self.maximumOrder where unsafe free[order].contains(frame >> order) {
            return (frame >> order, order)
        }
        return nil
    }

    /// Whether a frame is free.
    func isFree(_ frame: Int) -> Bool { block(holding: frame) != nil }

    /// Takes every free frame of `range` out, as for a memory block that goes offline, and says how many there were.
    mutating func isolate(_ range: Range<Int>) -> Int {
        take(in: range, limit: .max).reduce(0) { $0 + $1.count }
    }

    /// Takes up to `limit` free frames of `range` out, the lowest first.
    mutating func take(in range: Range<Int>, limit: Int) -> [Range<Int>] {
        var taken: [Range<Int>] = []
        var left = limit
        var frame = range.lowerBound
        while frame < range.upperBound, left > 0 {
            guard let (block, order) = block(holding: frame) else {
                frame += 1
                continue
            }
            let found = block << order..<(block + 1) << order
            remove(block: block, order: order)
            freeCount -= found.count
            let inside = found.clamped(to: range).prefix(left)
            release(found.lowerBound..<inside.startIndex)
            release(inside.endIndex..<found.upperBound)
            taken.append(inside.startIndex..<inside.endIndex)
            left -= inside.count
            frame = inside.endIndex
        }
        return taken
    }

    /// Every free block, ascending by order; for checks and reports.
    func forEachFreeBlock(_ body: (Range<Int>) -> Void) {
        for order in 0...Self.maximumOrder where unsafe !free[order].isEmpty {
            for block in 0...frameCount >> order where unsafe free[order].contains(block) {
                body(block << order..<(block + 1) << order)
            }
        }
    }
}
