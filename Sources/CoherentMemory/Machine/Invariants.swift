import Synchronization

/// A contradiction that ``Machine/checkInvariants()`` found.
public struct InvariantViolation: Error, CustomStringConvertible {
    /// What contradicts what.
    public let description: String
}

extension Machine {
    /// Checks that every frame is accounted for exactly once and every counter agrees with what it counts.
    ///
    /// For tests, while nothing else uses the machine; it walks all page tables and free lists.
    ///
    /// - Throws: ``InvariantViolation`` with the first contradiction.
    public func checkInvariants() throws {
        func require(_ condition: Bool, _ message: @autoclosure () -> String) throws {
            if !condition { throw InvariantViolation(description: message()) }
        }
        var mapped = [[Int: UInt32]](repeating: [:], count: nodes.count)
        var cached = [Int](repeating: 0, count: nodes.count)
        var written = [Int](repeating: 0, count: nodes.count)
        for buffer in buffers {
            var counts = [Int](repeating: 0, count: nodes.count)
            var problem: String?
            buffer.state.withLock { state in
                var page: UInt64 = 0
                while let (leaf, base) = state.table.nextLeaf(from: page) {
                    page = base + UInt64(TablePool.entries)
                    var present = 0
                    if tables.location(of: leaf).owner != buffer.id { problem = "table \(leaf) has another owner" }
                    for slot in 0..<TablePool.entries {
                        let entry = PageTableEntry(rawValue: unsafe state.table.entries(of: leaf)[slot])
                        guard entry.isPresent else { continue }
                        present += 1
                        let node = node(of: entry.pfn)
                        counts[node.index] += 1
                        cached[node.index] += entry.isCached ? 1 : 0
                        written[node.index] += entry.isWritten ? 1 : 0
                        if entry.isMigrating { problem = "page \(base + UInt64(slot)) is left migrating" }
                        if mapped[node.index].updateValue(leaf, forKey: node.index(of: entry.pfn)) != nil {
                            problem = "pfn \(entry.pfn) is mapped twice"
                        }
                    }
                    if present == 0 || present != tables.count(of: leaf) { problem = "table \(leaf) miscounts" }
                }
                for (node, count) in counts.enumerated() {
                    let noted = node < state.pagesByNode.count ? state.pagesByNode[node] : 0
                    if noted != count { problem = "node \(node): \(noted) pages noted, \(count) found" }
                }
                if !state.orphans.isEmpty { problem = "\(state.orphans.count) frames await a reply" }
            }
            try require(problem == nil, "buffer \(buffer.id): \(problem ?? "")")
        }
        for node in nodes {
            try require(
                node.counters.cached.load(ordering: .relaxed) == cached[node.index], "node \(node.id): cached pages")
            try require(
                node.counters.written.load(ordering: .relaxed) == written[node.index], "node \(node.id): written pages")
            let problem = node.zone.withLock { zone in check(node, zone, mapped: mapped[node.index]) }
            try require(problem == nil, "node \(node.id): \(problem ?? "")")
        }
    }

    private func check(_ node: Node, _ zone: borrowing Zone, mapped: [Int: UInt32]) -> String? {
        var free = Set<Int>()
        var problem: String?
        zone.allocator.forEachFreeBlock { block in
            for frame in block {
                if !free.insert(frame).inserted { problem = "frame \(frame) is free twice" }
                if mapped[frame] != nil { problem = "frame \(frame) is free and mapped" }
                if node.frames.owner(of: frame) != FrameTable.free { problem = "free frame \(frame) has an owner" }
                if zone.state(of: frame / zone.framesPerBlock) != .online { problem = "frame \(frame) is free offline" }
            }
        }
        if free.count != zone.allocator.freeCount { problem = "free frames are miscounted" }
        if zone.blocks != zone.presentBlocks.count { problem = "blocks are miscounted" }
        if !node.isPresent, zone.blocks > 0 { problem = "a node that is gone has blocks" }
        if zone.present != zone.framesPerBlock * zone.presentBlocks.count(where: { zone.kind(of: $0) != nil }) {
            problem = "present frames are miscounted"
        }
        if zone.allocated != mapped.count { problem = "\(zone.allocated) frames allocated, \(mapped.count) mapped" }
        if free.count + zone.allocated + zone.isolated != zone.present { problem = "frames do not add up" }
        for (frame, leaf) in mapped {
            if node.frames.owner(of: frame) != leaf { problem = "frame \(frame) names another table" }
            if node.frames.isPinned(frame) { problem = "frame \(frame) is left pinned" }
            if zone.kind(of: frame / zone.framesPerBlock) == nil { problem = "frame \(frame) is mapped offline" }
        }
        return problem
    }
}
