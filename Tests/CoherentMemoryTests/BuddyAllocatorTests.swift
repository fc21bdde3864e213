import Testing

@testable import CoherentMemory

@Suite("BuddyAllocator")
struct BuddyAllocatorTests {
    /// Frame counts that are no powers of two, too: the last blocks are smaller.
    @Test("Agrees with a set of free frames", arguments: [512, 1536, 3584, 5000])
    func random(frameCount: Int) throws {
        var buddy = try BuddyAllocator(frameCount: frameCount)
        var free = Set(0..<frameCount)
        var held: [Range<Int>] = []
        var random = SplitMix64(seed: UInt64(frameCount))
        buddy.release(0..<frameCount)
        for step in 0..<1500 {
            switch Int.random(in: 0..<10, using: &random) {
            case 0..<3:
                let order = Int.random(in: 0...6, using: &random)
                if let start = buddy.allocate(order: order) {
                    let block = start..<start + 1 << order
                    #expect(start.isMultiple(of: 1 << order) && free.isSuperset(of: block), "step \(step)")
                    free.subtract(block)
                    held.append(block)
                } else {
                    #expect(!Self.hasBlock(of: order, in: free, frameCount), "step \(step): order \(order) is there")
                }
            case 3..<5:
                let count = Int.random(in: 1...200, using: &random)
                if let run = buddy.allocateRun(upTo: count) {
                    #expect(!run.isEmpty && run.count <= count && free.isSuperset(of: run), "step \(step)")
                    free.subtract(run)
                    held.append(run)
                } else {
                    #expect(free.isEmpty, "step \(step): there are free frames")
                }
            case 5:
                let start = Int.random(in: 0..<frameCount, using: &random)
                let range = start..<min(frameCount, start + Int.random(in: 1...300, using: &random))
                let taken = buddy.isolate(range)
                #expect(taken == free.intersection(range).count, "step \(step)")
                var run: Range<Int>?
                for frame in range where free.remove(frame) != nil {
                    if let known = run, known.upperBound == frame {
                        run = known.lowerBound..<frame + 1
                    } else {
                        if let run { held.append(run) }
                        run = frame..<frame + 1
                    }
                }
                if let run { held.append(run) }
            default:
                guard !held.isEmpty else { continue }
                var run = held.swapAt(random: &random)
                // Sometimes only a part of it, at any border.
                if run.count > 1, random.oneIn(3) {
                    let cut = Int.random(in: run.lowerBound + 1..<run.upperBound, using: &random)
                    held.append(cut..<run.upperBound)
                    run = run.lowerBound..<cut
                }
                buddy.release(run)
                free.formUnion(run)
            }
            #expect(buddy.freeCount == free.count, "step \(step)")
            if step.isMultiple(of: 50) { try check(buddy, free) }
        }
        for run in held {
            buddy.release(run)
            free.formUnion(run)
        }
        try check(buddy, Set(0..<frameCount))
        // All are merged again: as few blocks as the binary digits of the frame count.
        let blocks = (0...BuddyAllocator.maximumOrder).map { buddy.freeBlocks(order: $0) }
        #expect(blocks.reduce(0, +) == frameCount.nonzeroBitCount)
    }

    private static func hasBlock(of order: Int, in free: Set<Int>, _ frameCount: Int) -> Bool {
        stride(from: 0, to: frameCount, by: 1 << order).contains { free.isSuperset(of: $0..<$0 + 1 << order) }
    }

    private func check(_ buddy: borrowing BuddyAllocator, _ expected: Set<Int>) throws {
        var found = Set<Int>()
        var isDisjoint = true
        buddy.forEachFreeBlock { block in
            for frame in block where !found.insert(frame).inserted { isDisjoint = false }
        }
        #expect(isDisjoint)
        #expect(found == expected)
    }

    @Test("Orders up to 18: huge pages and contiguous ranges come from the same place")
    func orders() throws {
        var buddy = try BuddyAllocator(frameCount: 3 << 18)
        buddy.release(0..<3 << 18)
        #expect(buddy.freeBlocks(order: 18) == 3)
        #expect(buddy.allocate(order: 0) == 0)
        #expect(buddy.allocate(order: 9) == 512)
        #expect(buddy.allocate(order: 18) == 1 << 18)
        #expect(buddy.allocateRun(upTo: 1 << 20) == 2 << 18..<3 << 18)
        #expect(buddy.freeBlocks(order: 18) == 0)
        buddy.release(0..<1)
        buddy.release(512..<1024)
        #expect(buddy.freeBlocks(order: 18) == 1 && buddy.freeCount == 1 << 18)
    }
}

extension Array {
    /// Takes out an element at random, not minding the order.
    fileprivate mutating func swapAt(random: inout SplitMix64) -> Element {
        swapAt(Int.random(in: indices, using: &random), count - 1)
        return removeLast()
    }
}
