import LinuxSupport
import MachineTopology

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

    /// Takes a reserved huge page; nil when the pool has none free. The caller has asked the reserve for it.
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

    /// Free huge pages of the pool.
    var pooledPages: Int { zone.withLock { $0.pool.usage.free } }

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
