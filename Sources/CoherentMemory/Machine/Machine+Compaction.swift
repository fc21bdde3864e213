import SystemPackage

extension Machine {
    /// Moves pages within a node so that its free frames coalesce into huge ones (compact_node()).
    ///
    /// Moves the pages of units of 512 frames that are partly in use, the emptiest first, into the free frames of the
    /// fullest. Blocks until then; never call it from a thread that the page cache may wait for.
    ///
    /// - Returns: the number of pages that moved.
    /// - Throws: EINTR when cancelled; pages that have moved stay moved.
    @discardableResult
    public func compact(
        _ node: Node, account: MigrationAccount = MigrationAccount(.compaction), isCancelled: () -> Bool = { false }
    ) throws(Errno) -> Int {
        trace.note(.compact, to: node)
        let units = node.partialUnits.sorted { ($0.free, $1.unit) > ($1.free, $0.unit) }
        var moved = 0
        var source = 0
        var target = units.count - 1
        while source < target {
            let unit = units[source].unit
            source += 1
            // No page may get a frame of the unit while it is emptied.
            let held = node.take(in: unit, limit: HugePage.frames)
            defer { for run in held { node.release(run) } }
            let free = held.reduce(0) { $0 + $1.count }
            guard free > 0 else { continue }
            let used = HugePage.frames - free
            let frames = PrepaidFrames()
            defer { frames.releaseRest(to: node) }
            while frames.count < used, target >= source {
                for run in node.take(in: units[target].unit, limit: used - frames.count) { frames.add(run) }
                if frames.count < used { target -= 1 }
            }
            // Emptied in part it would be of no use.
            guard frames.count == used else { break }
            account.expect(used)
            moved += try mover.empty(unit, of: node, into: frames, account, isCancelled: isCancelled)
        }
        return moved
    }
}
