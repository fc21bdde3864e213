import LinuxSupport

/// What a frame was when it failed.
enum FrameCondition {
    /// There is no memory.
    case absent
    /// It has failed before.
    case failed
    /// Its block is offline; the frame is out of use now.
    case offline
    /// The frame was free; it is out of use now.
    case free
    /// The frame is in use; it will be out of use when it is freed.
    case inUse
}

extension Zone {
    /// Marks a frame as failed, and takes it out of use if it has no owner (take_page_off_buddy()).
    mutating func fail(_ frame: Int, _ reason: FailureReason, table: FrameTable) -> FrameCondition {
        if failed[frame] != nil { return .failed }
        let block = frame / framesPerBlock
        switch state(of: block) {
        case .absent: return .absent
        case .offline:
            failed.insert(frame, reason)
            failed.update(frame) { $0.isRetired = true }
            table.setOwner(of: frame, to: FrameTable.retired)
            return .offline
        case .online, .goingOffline: break
        }
        let owner = table.owner(of: frame)
        failed.insert(frame, reason)
        if owner == FrameTable.pooled {
            let unit = frame / HugePage.frames
            // A reserved page on its way back is pooled, too, until all of it has come.
            guard pool.isFree(unit), pool.dissolve(unit, isLost: true) != nil else { return .inUse }
            if pool.usage.surplus > 0 { pool.usage.surplus -= 1 }
            freeHugePage(unit, table: table)
            return .free
        }
        guard owner == FrameTable.free else { return .inUse }
        isolateFree(frame)
        retire(frame, table: table)
        return .free
    }

    /// Takes a free frame out of where it is free.
    private mutating func isolateFree(_ frame: Int) {
        let block = frame / framesPerBlock
        if state(of: block) == .goingOffline {
            addIsolated(-1, in: block)
        } else if share.frames.contains(frame) {
            let count = share.isolate(frame..<frame + 1)
            assert(count == 1)
        } else {
            let count = allocator.isolate(frame..<frame + 1)
            assert(count == 1)
        }
    }

    /// Takes a frame that failed out of use for good.
    mutating func retire(_ frame: Int, table: FrameTable) {
        failed.update(frame) { $0.isRetired = true }
        failed.retired += 1
        table.setOwner(of: frame, to: FrameTable.retired)
    }

    /// Puts a frame that failed back into service (unpoison_memory()). What is not free stays its owner's.
    mutating func unfail(_ frame: Int, table: FrameTable) {
        guard let record = failed[frame] else { return }
        failed.remove(frame)
        guard record.isRetired else { return }
        table.setOwner(of: frame, to: FrameTable.free)
        guard state(of: frame / framesPerBlock).isPresent else { return }
        failed.retired -= 1
        addFree(frame..<frame + 1)
    }

    /// The same for who is to have the frame at once.
    mutating func reclaim(_ frame: Int, for owner: UInt32, table: FrameTable) {
        assert(failed[frame]?.isRetired == true && state(of: frame / framesPerBlock).isPresent)
        failed.remove(frame)
        failed.retired -= 1
        allocated += 1
        table.setOwner(of: frame, to: owner)
    }

    /// Forgets the failures of a block that goes away.
    mutating func forgetFailures(in frames: Range<Int>, table: FrameTable) {
        for frame in failed.all(in: frames) {
            failed.remove(frame)
            table.setOwner(of: frame, to: FrameTable.free)
        }
    }
}

extension MemoryBlockState {
    /// Whether pages of the block may be in use.
    var isPresent: Bool { self == .online || self == .goingOffline }
}

extension Node {
    /// What the node's lock guards of its failures, for reports.
    func failures<Result>(_ body: (borrowing FailedFrames) -> sending Result) -> Result {
        zone.withLock { body($0.failed) }
    }

    /// The numbers of pages of the node that are poisoned, and of all pages that are out of use.
    public var failureUsage: (poisoned: Int, retired: Int) { failures { ($0.poisoned, $0.count) } }
}
