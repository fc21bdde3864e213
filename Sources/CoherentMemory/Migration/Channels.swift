extension Mover {
    /// Moves pages in a channel of each device concerned, as long as the models of the links say.
    ///
    /// - Parameters:
    ///   - sources: the places of the nodes that pages come from.
    ///   - mayGiveUp: whether nothing is to be moved where it is cancelled before it begins; nil then. Once it has begun
    ///     it comes to its end, only the time that it was to take is not waited for.
    ///   - body: moves the pages; gets whether a link is to take its time.
    ///   - arrived: called when it has had that.
    func moveInChannels(
        from sources: NodeMask, to targets: [Node], reason: MoveReason, isCancelled: () -> Bool, mayGiveUp: Bool,
        _ body: (_ isPaced: Bool) -> MigrationResult, arrived: () -> Void
    ) -> MigrationResult? {
        let devices = devices.filter { device in
            sources.contains(device.node.index) || targets.contains { $0 === device.node }
        }
        var held = 0
        defer { for device in devices.prefix(held) { device.copies.end() } }
        for device in devices {
            guard device.copies.begin(unless: { mayGiveUp && isCancelled() }) else { return nil }
            held += 1
        }
        // Whether the link is paced or not.
        while let stall = devices.compactMap(\.stall).max(), !isCancelled() {
            sleep(min(stall, .milliseconds(10)))
        }
        let start = ContinuousClock.now
        let isPaced = devices.contains { $0.pace == .real }
        let outcome = body(isPaced)
        transfers.add(outcome.crossings, reason)
        if !devices.isEmpty { pace(outcome, through: devices, since: start, isCancelled: isCancelled) }
        if isPaced { arrived() }
        return outcome
    }

    /// The same for many batches, where each device concerned has a channel free, and its link does not take its time; false
    /// otherwise.
    ///
    /// - Parameter body: moves the pages batch by batch, each of which it gives to what it gets.
    func moveAtOnce(
        from sources: NodeMask, to target: Node, reason: MoveReason, _ body: (_ note: (MigrationResult) -> Void) -> Void
    ) -> Bool {
        let devices = devices.filter { sources.contains($0.node.index) || target === $0.node }
        guard devices.allSatisfy({ $0.pace == .off && $0.stall == nil }) else { return false }
        var held = 0
        defer { for device in devices.prefix(held) { device.copies.end() } }
        for device in devices {
            guard device.copies.tryBegin() else { return false }
            held += 1
        }
        body { outcome in
            transfers.add(outcome.crossings, reason)
            for device in devices { _ = count(outcome, through: device) }
        }
        return true
    }

    /// Counts what a batch carried over the links, and lets it take its time where a link is to.
    private func pace(
        _ outcome: MigrationResult, through devices: [Device], since start: ContinuousClock.Instant,
        isCancelled: () -> Bool
    ) {
        var total: UInt64 = 0
        var isPaced = false
        for device in devices {
            let time = count(outcome, through: device)
            // From device to device the slower link counts, and both are busy at once.
            if device.pace == .real {
                total = max(total, time)
                isPaced = true
            }
        }
        guard isPaced else { return }
        let end = start + .nanoseconds(Int64(clamping: total))
        while true {
            let rest = end - .now
            // Who cancels is not waited for longer than one looks away.
            guard rest > .zero, !isCancelled() else { return }
            sleep(min(rest, .milliseconds(10)))
        }
    }

    /// Counts what a batch carried over the link of one device, and says how long that takes by its model.
    private func count(_ outcome: MigrationResult, through device: Device) -> UInt64 {
        var (bytes, time): (UInt64, UInt64) = (0, 0)
        for crossing in outcome.crossings {
            let part = UInt64(crossing.pages) << Page.shift
            let (leaves, arrives) = (crossing.from == device.node.index, crossing.to == device.node.index)
            if leaves || arrives { bytes += part }
            // What stays on the device does not cross its link.
            guard leaves != arrives else { continue }
            time += leaves ? device.link.readTime(of: part) : device.link.writeTime(of: part)
        }
        device.copies.count(bytes: bytes, nanoseconds: time, failed: outcome.poisoned > 0)
        return time
    }
}
