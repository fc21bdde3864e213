/// Frames for pages that move, taken from the first of several nodes that has any.
struct FrameSupply {
    let targets: [Node]
    /// Pages that still want a frame.
    private var wanted: Int
    private var run = FrameRun(start: 0, count: 0)
    private var current = 0
    /// Frames taken of the current target, which no share counts before they are in place.
    private var taken = 0

    private let prepaid: PrepaidFrames?
    private let share: ShareOfTargets
    /// Whether a target had no more for the pages' user, by the user's share of it.
    private(set) var isOverShare = false

    /// - Parameters:
    ///   - prepaid: the frames to move to, taken already; then `targets` is just the node that they are of.
    ///   - share: what the pages' user may have of the targets.
    init(targets: [Node], wanted: Int, prepaid: PrepaidFrames?, share: ShareOfTargets) {
        self.targets = targets
        self.wanted = wanted
        self.prepaid = prepaid
        self.share = share
    }

    /// Whether the frames were taken, and are not counted.
    var isPrepaid: Bool { prepaid != nil }

    /// Whether there is a next frame.
    mutating func hasNext() -> Bool {
        // Its link may have been cut since.
        if run.count > 0, prepaid == nil, !targets[current].isPresent { releaseRest() }
        while run.count == 0 {
            if let prepaid {
                guard let more = prepaid.take() else { return false }
                run = more
                continue
            }
            guard current < targets.count else { return false }
            let room = share.room(on: targets[current]) - taken
            if room <= 0 { isOverShare = true }
            if room > 0, let more = targets[current].allocateRun(upTo: min(room, max(1, wanted))) {
                run = more
                taken += more.count
            } else {
                current += 1
                taken = 0
            }
        }
        return true
    }

    mutating func next() -> PFN? {
        guard hasNext() else { return nil }
        wanted -= 1
        run.start += 1
        run.count -= 1
        return run.start - 1
    }

    /// Gives back what was taken too much.
    mutating func releaseRest() {
        if run.count > 0 {
            if let prepaid { prepaid.add(run) } else { targets[current].release(run) }
        }
        run.count = 0
    }
}

/// What the user of pages that move may have of the nodes that they go to.
struct ShareOfTargets {
    let share: FrameShare?
    /// The places of the nodes that they come from: what stays on a node takes nothing more of it.
    let sources: NodeMask

    /// How many more frames of a target they may get. Those taken and not yet in place are not known to it.
    func room(on target: Node) -> Int {
        guard let share, !sources.contains(target.index) else { return .max }
        return share.room(on: target)
    }
}

/// Frames taken ahead, for several batches. For one thread.
final class PrepaidFrames {
    private var runs: [FrameRun] = []
    private(set) var count = 0

    func add(_ run: FrameRun) {
        runs.append(run)
        count += run.count
    }

    fileprivate func take() -> FrameRun? {
        guard let run = runs.popLast() else { return nil }
        count -= run.count
        return run
    }

    /// Gives back what was not used.
    func releaseRest(to node: Node) {
        for run in runs { node.release(run) }
        runs = []
        count = 0
    }
}
