import LinuxSupport
import MachineTopology
import SystemPackage

extension Node {
    private func run(_ frames: Range<Int>) -> FrameRun {
        FrameRun(start: span.pfn(at: frames.lowerBound), count: frames.count)
    }

    /// Takes an aligned run of 512 frames; nil when the node has none.
    func allocateHuge() -> FrameRun? {
        zone.withLock { zone -> FrameRun? in
            guard isPresent, allows(.node), let frames = zone.allocateHuge() else { return nil }
            self.frames.setOwner(of: frames, to: FrameTable.unmapped)
            wakeKswapd(zone)
            return run(frames)
        }
    }

    /// Takes a reserved huge page; nil when the pool has none free.
    func takePooled() -> FrameRun? {
        zone.withLock { zone -> FrameRun? in
            guard isPresent, let frames = zone.takePooled() else { return nil }
            self.frames.setOwner(of: frames, to: FrameTable.unmapped)
            return run(frames)
        }
    }

    /// Takes a huge page that makes the pool larger by one; nil when the node has none.
    func growPool() -> FrameRun? {
        zone.withLock { zone -> FrameRun? in
            guard isPresent, allows(.node), let frames = zone.growPool() else { return nil }
            self.frames.setOwner(of: frames, to: FrameTable.unmapped)
            return run(frames)
        }
    }

    /// Lets a reserved huge page that is in use leave the pool when it comes back. True when it was a surplus one.
    func leavePool(_ run: FrameRun) -> Bool {
        zone.withLock { zone in zone.pool.leave(index(of: run.start) / HugePage.frames) }
    }

    var hasPooled: Bool { zone.withLock { $0.pool.usage.free } > 0 }

    /// Takes up to `limit` free frames of a unit of 512, for a compaction.
    func take(in unit: Int, limit: Int) -> [FrameRun] {
        zone.withLock { zone -> [FrameRun] in
            let range = unit * HugePage.frames..<(unit + 1) * HugePage.frames
            guard isPresent, zone.state(of: range.lowerBound / zone.framesPerBlock) == .online else { return [] }
            let taken = zone.allocator.take(in: range, limit: limit)
            for frames in taken {
                zone.allocated += frames.count
                self.frames.setOwner(of: frames, to: FrameTable.unmapped)
            }
            return taken.map(run)
        }
    }
}

extension Machine {
    /// Reserves or frees huge pages of a node (nodeN/hugepages/…/nr_hugepages).
    ///
    /// If there is not enough room, the count stays lower; see ``NodeUsage/hugePool``. Huge pages in use above `count`
    /// become surplus. The request names the node; a node that may not be named gets none.
    ///
    /// - Parameter count: the number of huge pages, 0 or more.
    public func setHugePages(_ count: Int, of node: Node) {
        let isLocal = currentNode === node
        node.poolTurn.withLock { _ in
            while true {
                let step = node.zone.withLock { zone -> (taken: Int, isDone: Bool) in
                    guard node.isPresent else { return (0, true) }
                    return zone.resizePool(to: node.allows(.mempolicy) ? count : 0, limit: 64, table: node.frames)
                }
                // An event an allocation, whatever its order, as zone_statistics() counts.
                if step.taken > 0 { account(step.taken, on: node, intended: node, isLocal: isLocal) }
                if step.isDone { return }
            }
        }
    }

    /// Sets whether pages that a buffer gets later are huge; present pages do not change.
    ///
    /// - Throws: EBUSY to or from ``HugeMode/pool`` while the buffer has pages, EINVAL to it if the size is not a
    ///   multiple of a huge page, EOPNOTSUPP to it for a direct buffer.
    public func setHugeMode(_ mode: HugeMode, of buffer: Buffer) throws(Errno) {
        try buffer.state.withLock { state throws(Errno) in
            if let backing = state.backing {
                guard mode != .pool else { throw .notSupported }
                try backing.setHuge(mode != .never)
            }
            if mode != state.huge, mode == .pool || state.huge == .pool {
                guard state.table.isEmpty else { throw .resourceBusy }
                guard mode != .pool || state.size % HugePage.size == 0 else { throw .invalidArgument }
            }
            state.huge = mode
            state.isHugeChosen = true
        }
    }
}
