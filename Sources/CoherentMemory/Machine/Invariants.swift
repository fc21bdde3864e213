import LinuxSupport
import MachineTopology
import Synchronization

/// A contradiction that ``Machine/checkInvariants()`` found.
public struct InvariantViolation: Error, CustomStringConvertible {
    /// The contradiction.
    public let description: String
}

extension Machine {
    /// Checks that every frame is accounted for exactly once and that every counter is correct.
    ///
    /// For tests, while nothing else uses the machine; it visits all page tables and free lists.
    ///
    /// - Throws: ``InvariantViolation`` with the first contradiction.
    public func checkInvariants() throws {
        func require(_ condition: Bool, _ message: @autoclosure () -> String) throws {
            if !condition { throw InvariantViolation(description: message()) }
        }
        var mapped = [[Int: UInt32]](repeating: [:], count: nodes.count)
        var cached = [Int](repeating: 0, count: nodes.count)
        var written = [Int](repeating: 0, count: nodes.count)
        var huge = [Int](repeating: 0, count: nodes.count)
        var active = huge
        var anonymous = huge
        var places = Set<UInt64>()
        var shares: [ObjectIdentifier: (share: FrameShare, frames: [Int])] = [:]
        for buffer in memory.buffers {
            var counts = [Int](repeating: 0, count: nodes.count)
            var problem: String?
            var share: FrameShare?
            buffer.state.withLock { state in
                share = state.pages.share
                var markers = 0
                var page: UInt64 = 0
                while let (leaf, base) = state.pages.table.nextLeaf(from: page) {
                    page = base + UInt64(TablePool.entries)
                    var present = 0
                    if memory.tables.location(of: leaf).owner != buffer.id {
                        problem = "table \(leaf) has another owner"
                    }
                    if memory.tables.isRead(leaf) { problem = "table \(leaf) is left to a reply" }
                    for slot in 0..<TablePool.entries {
                        let entry = PageTableEntry(rawValue: unsafe state.pages.table.entries(of: leaf)[slot])
                        if entry.isWritten {
                            places.insert(unsafe memory.tables.place(of: state.pages.table.entries(of: leaf) + slot))
                        }
                        if entry.isNone { continue }
                        present += 1
                        guard entry.isPresent else {
                            markers += 1
                            continue
                        }
                        let node = nodeMap.node(of: entry.pfn)
                        counts[node.index] += 1
                        cached[node.index] += entry.isCached ? 1 : 0
                        written[node.index] += entry.isWritten ? 1 : 0
                        active[node.index] += entry.isActive ? 1 : 0
                        if state.pages.isAnonymous { anonymous[node.index] += 1 }
                        if buffer.isAnonymous {
                            if entry.isCached || entry.isWritten { problem = "anonymous memory has bytes here" }
                        }
                        if entry.isUnmapping { problem = "page \(base + UInt64(slot)) is left unmapping" }
                        if entry.isActive, state.huge == .pool { problem = "a reserved page is on a list" }
                        let isMapped = state.pages.contexts.contains { $0[base + UInt64(slot)].isPresent }
                        if entry.isDeviceMapped != isMapped {
                            problem = "page \(base + UInt64(slot)) is mapped, or not"
                        }
                        if entry.isCached, isMapped { problem = "a device maps a page that is cached" }
                        if entry.isMigrating { problem = "page \(base + UInt64(slot)) is left migrating" }
                        if mapped[node.index].updateValue(leaf, forKey: node.index(of: entry.pfn)) != nil {
                            problem = "pfn \(entry.pfn) is mapped twice"
                        }
                    }
                    if base % UInt64(HugePage.frames) == 0, state.pages.table.isHuge(leaf), state.huge != .pool {
                        huge[nodeMap.index(of: state.pages.table[base].pfn)] += 1
                    }
                    if let found = state.checkHuge(leaf, base) { problem = found }
                    if present == 0 || present != memory.tables.count(of: leaf) { problem = "table \(leaf) miscounts" }
                }
                for (node, count) in counts.enumerated() {
                    let noted = state.pages.count(onNode: node)
                    if noted != count { problem = "node \(node): \(noted) pages noted, \(count) found" }
                }
                if state.pages.markers != markers {
                    problem = "\(state.pages.markers) failed pages noted, \(markers) found"
                }
                if let found = state.checkContiguous() ?? state.checkDirect() ?? state.checkDevices() {
                    problem = found
                }
                if state.hold != nil { problem = "touches are held back" }
            }
            try require(problem == nil, "buffer \(buffer.id): \(problem ?? "")")
            guard let share else { continue }
            let others = shares[ObjectIdentifier(share)]?.frames ?? [Int](repeating: 0, count: nodes.count)
            shares[ObjectIdentifier(share)] = (share, zip(others, counts).map(+))
        }
        for (share, frames) in shares.values {
            for node in nodes {
                try require(share.used(on: node) == frames[node.index], "node \(node.id): frames of a user's share")
            }
        }
        let promises = memory.buffers.map { $0.state.withLock { $0.reserved.ranges.reduce(0) { $0 + $1.count } } }
        let pooled = nodes.reduce(0) { $0 + $1.zone.withLock { $0.pool.usage.free } }
        let figures = nodeMap.hugeReserve.figures
        try require(
            figures.free == pooled && figures.reserved == promises.reduce(0, +),
            "\(figures) huge pages noted, \(pooled) free, \(promises) promised")
        let strays = memory.tables.storage.strayPages { place in
            !places.contains(place) && !memory.tables.hasZeros(UInt32(place >> PageStorage.tableShift))
        }
        try require(strays == 0, "\(strays) pages of the storage have no owner")
        for node in nodes {
            try require(
                node.counters.cached.load(ordering: .relaxed) == cached[node.index], "node \(node.id): cached pages")
            try require(
                node.counters.written.load(ordering: .relaxed) == written[node.index], "node \(node.id): written pages")
            try require(
                node.counters.huge.load(ordering: .relaxed) == huge[node.index], "node \(node.id): huge pages")
            try require(
                node.counters.active.load(ordering: .relaxed) + node.counters.activeAnonymous.load(ordering: .relaxed)
                    == active[node.index], "node \(node.id): active pages")
            try require(
                node.counters.anonymous.load(ordering: .relaxed) == anonymous[node.index],
                "node \(node.id): anonymous pages")
            let problem = node.zone.withLock { zone in node.check(zone, mapped: mapped[node.index]) }
            try require(problem == nil, "node \(node.id): \(problem ?? "")")
        }
    }

}

extension Buffer.State {
    /// All pages of a huge page are there and follow each other in aligned frames; a buffer of reserved ones has no others.
    fileprivate func checkHuge(_ leaf: UInt32, _ base: UInt64) -> String? {
        let isHuge = pages.table.isHuge(leaf)
        if huge == .pool, !isHuge { return "table \(leaf) has base pages" }
        guard isHuge else {
            for slot in 0..<TablePool.entries
            where PageTableEntry(rawValue: unsafe pages.table.entries(of: leaf)[slot]).isHuge {
                return "table \(leaf) is huge in part"
            }
            return nil
        }
        let start = pages.table[HugePage.pages(around: base).lowerBound].pfn
        if start % UInt64(HugePage.frames) != 0 { return "a huge page begins at pfn \(start)" }
        for slot in 0..<UInt64(TablePool.entries) {
            let entry = pages.table[base + slot]
            // A huge page of which a frame failed is one no more.
            if !entry.isPresent { continue }
            if !entry.isHuge || entry.pfn != start + (base + slot) % UInt64(HugePage.frames) {
                return "page \(base + slot) is not in its huge page"
            }
            let node = pages.nodes.node(of: start)
            let isPooled = node.zone.withLock { $0.pool.contains(node.index(of: start) / HugePage.frames) }
            if isPooled != (huge == .pool) { return "pfn \(start) is of the wrong kind" }
        }
        return nil
    }

    /// A contiguous buffer has all its pages and no others, in a row, in the share of a node; no other buffer has any there.
    fileprivate func checkContiguous() -> String? {
        var problem: String?
        var count: UInt64 = 0
        unsafe pages.forEachMatch(0..<UInt64.max >> Page.shift) { page, slot in
            let entry = PageTableEntry(rawValue: unsafe slot.pointee)
            count += 1
            let node = pages.nodes.node(of: entry.pfn)
            let isShared = node.zone.withLock { $0.share.frames.contains(node.index(of: entry.pfn)) }
            if isShared != (contiguous != nil) { problem = "pfn \(entry.pfn) is of the wrong share" }
            if let run = contiguous, entry.pfn != run.start + page || entry.isHuge {
                problem = "page \(page) is not in its run"
            }
        }
        if contiguous != nil { count += UInt64(pages.markers) }
        if let run = contiguous, count != UInt64(run.count) || count != Page.count(of: size) {
            problem = "\(count) pages in a run of \(run.count)"
        }
        return problem
    }

    /// Devices map pages that are there, and are known as mapped; none of their commands is under way.
    fileprivate func checkDevices() -> String? {
        var problem: String?
        for context in pages.contexts {
            if !context.pinned.isEmpty { problem = "a command is under way" }
            unsafe context.table.forEachEntry(0..<UInt64.max >> Page.shift) { page, slot in
                let mapping = DeviceTableEntry(rawValue: unsafe slot.pointee)
                if pages.table[page].pfn != mapping.pfn { problem = "a device maps another frame" }
                if mapping.isExclusive, pages.contexts.contains(where: { $0 !== context && $0[page].isPresent }) {
                    problem = "page \(page) is not exclusive"
                }
                return true
            }
        }
        return problem
    }

    /// A direct buffer has every page within its size, apart from those withheld, and nothing in their frames.
    fileprivate func checkDirect() -> String? {
        guard let backing = backing else { return nil }
        if backing.size != size { return "\(backing.size) bytes in the file of a buffer of \(size)" }
        var problem: String?
        var missing = RangeSet(0..<Page.count(of: size)).subtracting(backing.withheld)
        unsafe pages.forEachMatch(0..<UInt64.max >> Page.shift) { page, slot in
            let entry = PageTableEntry(rawValue: unsafe slot.pointee)
            missing.remove(contentsOf: page..<page + 1)
            if entry.isCached || entry.isWritten { problem = "page \(page) of a direct buffer is in use" }
        }
        unsafe pages.forEachMarker(in: 0..<UInt64.max >> Page.shift) { page, _ in
            if !backing.withheld.contains(page) { problem = "page \(page) failed and is not withheld" }
            return true
        }
        return missing.isEmpty ? problem : "a direct buffer lacks pages \(missing)"
    }
}

extension Node {
    /// The share's free frames have no owner, in blocks that are online, and in the longest runs that they make up.
    private func checkShare(_ zone: borrowing Zone, mapped: [Int: UInt32]) -> String? {
        let share = zone.share
        var problem: String?
        for (stretch, next) in zip(share.stretches, share.stretches.dropFirst())
        where stretch.upperBound >= next.lowerBound {
            problem = "\(stretch) and \(next) are not apart"
        }
        for frame in share.stretches.joined() {
            if !share.frames.contains(frame) { problem = "frame \(frame) is not the share's" }
            if mapped[frame] != nil { problem = "frame \(frame) is free in the share and mapped" }
            if frames.owner(of: frame) != FrameTable.free { problem = "frame \(frame) of the share has an owner" }
            if zone.state(of: frame / zone.framesPerBlock) != .online { problem = "frame \(frame) is free offline" }
        }
        if share.free != share.stretches.reduce(0, { $0 + $1.count }) { problem = "the share's frames are miscounted" }
        let total = share.frames.count { zone.kind(of: $0 / zone.framesPerBlock) != nil }
        if share.total != total { problem = "\(share.total) frames in the share, \(total) found" }
        return problem
    }

    /// Frames that failed have no owner.
    private func checkFailures(_ zone: borrowing Zone, mapped: [Int: UInt32]) -> String? {
        var problem: String?
        var retired = 0
        for (frame, record) in zone.failed.list {
            if !record.isRetired { problem = "frame \(frame) failed and is in use" }
            if mapped[frame] != nil { problem = "frame \(frame) failed and is mapped" }
            if frames.owner(of: frame) != FrameTable.retired { problem = "frame \(frame) failed and has an owner" }
            if zone.state(of: frame / zone.framesPerBlock).isPresent { retired += 1 }
        }
        if retired != zone.failed.retired { problem = "\(zone.failed.retired) failed frames noted, \(retired) found" }
        return problem
    }

    fileprivate func check(_ zone: borrowing Zone, mapped: [Int: UInt32]) -> String? {
        var free = Set<Int>()
        var problem: String?
        zone.allocator.forEachFreeBlock { block in
            for frame in block {
                if !free.insert(frame).inserted { problem = "frame \(frame) is free twice" }
                if mapped[frame] != nil { problem = "frame \(frame) is free and mapped" }
                if frames.owner(of: frame) != FrameTable.free { problem = "free frame \(frame) has an owner" }
                if zone.state(of: frame / zone.framesPerBlock) != .online { problem = "frame \(frame) is free offline" }
                if zone.share.frames.contains(frame) { problem = "the allocator has frame \(frame) of the share" }
            }
        }
        if let found = checkShare(zone, mapped: mapped) { problem = found }
        if free.count != zone.allocator.freeCount { problem = "free frames are miscounted" }
        if zone.blocks != zone.presentBlocks.count { problem = "blocks are miscounted" }
        if !isPresent, zone.blocks > 0 { problem = "a node that is gone has blocks" }
        if zone.present != zone.framesPerBlock * zone.presentBlocks.count(where: { zone.kind(of: $0) != nil }) {
            problem = "present frames are miscounted"
        }
        let pool = zone.pool.usage
        var (pooled, reserved) = (0, 0)
        for unit in 0..<span.count / HugePage.frames where zone.pool.contains(unit) {
            pooled += 1
            guard zone.pool.isFree(unit) else { continue }
            reserved += 1
            for frame in unit * HugePage.frames..<(unit + 1) * HugePage.frames
            where mapped[frame] != nil || frames.owner(of: frame) != FrameTable.pooled {
                problem = "frame \(frame) is reserved and has an owner"
            }
        }
        if pooled != pool.total || reserved != pool.free || pool.surplus > pool.total { problem = "\(pool) is wrong" }
        let inUse = zone.allocated + pool.used * HugePage.frames
        if inUse != mapped.count { problem = "\(inUse) frames in use, \(mapped.count) mapped" }
        let accounted = free.count + zone.share.free + zone.allocated + zone.isolated + pool.total * HugePage.frames
        if accounted + zone.failed.retired != zone.present {
            problem = "frames do not add up"
        }
        if let found = checkFailures(zone, mapped: mapped) { problem = found }
        for (frame, leaf) in mapped {
            if frames.owner(of: frame) != leaf { problem = "frame \(frame) names another table" }
            if zone.kind(of: frame / zone.framesPerBlock) == nil { problem = "frame \(frame) is mapped offline" }
        }
        return problem
    }
}
