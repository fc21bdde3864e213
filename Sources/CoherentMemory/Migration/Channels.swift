import LinuxSupport
import MachineTopology

extension Mover {
    /// Moves pages in a channel of each device concerned, as long as the models of the links say.
    ///
    /// Where that takes long, the channels are given back between slices of it when another user waits for one.
    ///
    /// - Parameters:
    ///   - buffer: whose pages they are.
    ///   - sources: the places of the nodes that pages come from.
    ///   - user: who asked for it.
    ///   - mayGiveUp: whether nothing is to be moved where it is cancelled before it begins; nil then. Once it has begun
    ///     it comes to its end, only the time that it was to take is not waited for.
    ///   - body: moves the pages; gets whether a link is to take its time.
    ///   - arrived: called when it has had that.
    func moveInChannels(
        _ buffer: Buffer, from sources: NodeMask, to targets: [Node], reason: MoveReason, user: UInt32,
        isCancelled: () -> Bool,
        mayGiveUp: Bool, _ body: (_ isPaced: Bool) -> MigrationResult, arrived: () -> Void
    ) -> MigrationResult? {
        let devices = devices.filter { device in
            sources.contains(device.node.index) || targets.contains { $0 === device.node }
        }
        guard begin(devices, for: user, unless: { mayGiveUp && isCancelled() }) else { return nil }
        // Whether the link is paced or not.
        while let stall = devices.compactMap(\.stall).max(), !isCancelled() {
            SystemThread.sleep(for: min(stall, .milliseconds(10)))
        }
        let start = ContinuousClock.now
        let isPaced = devices.contains { $0.pace == .real }
        let outcome = body(isPaced)
        transfers.add(outcome.crossings, reason)
        let time = devices.isEmpty ? .zero : linkTime(outcome, through: devices)
        if wait(time - (.now - start), on: devices, for: user, isCancelled: isCancelled) {
            for device in devices { device.copies.end() }
        }
        if isPaced { arrived() }
        note(outcome, of: buffer, reason, within: .now - start)
        return outcome
    }

    /// Takes a channel of each of some devices; false where that is not wanted any more, and none is taken.
    private func begin(_ devices: [Device], for user: UInt32, unless isCancelled: () -> Bool) -> Bool {
        for (taken, device) in devices.enumerated() {
            guard device.copies.begin(for: user, unless: isCancelled) else {
                for device in devices.prefix(taken) { device.copies.end() }
                return false
            }
        }
        return true
    }

    /// The same for many batches, where each device concerned has a channel free, and its link does not take its time; false
    /// otherwise.
    ///
    /// - Parameter body: moves the pages batch by batch, each of which it gives to what it gets.
    func moveAtOnce(
        _ buffer: Buffer, from sources: NodeMask, to target: Node, reason: MoveReason,
        _ body: (_ note: (MigrationResult) -> Void) -> Void
    ) -> Bool {
        let devices = devices.filter { sources.contains($0.node.index) || target === $0.node }
        guard devices.allSatisfy({ $0.pace == .off && $0.stall == nil }) else { return false }
        var held = 0
        defer { for device in devices.prefix(held) { device.copies.end() } }
        for device in devices {
            guard device.copies.tryBegin() else { return false }
            held += 1
        }
        var start = ContinuousClock.now
        body { outcome in
            transfers.add(outcome.crossings, reason)
            for device in devices { _ = count(outcome, through: device) }
            guard memory.trace.tracesMoves else { return }
            let end = ContinuousClock.now
            note(outcome, of: buffer, reason, within: end - start)
            start = end
        }
        return true
    }

    /// Counts what a batch carried over the links, and says how long that is to take.
    private func linkTime(_ outcome: MigrationResult, through devices: [Device]) -> Duration {
        var total: UInt64 = 0
        for device in devices {
            let time = count(outcome, through: device)
            // From device to device the slower link counts, and both are busy at once.
            if device.pace == .real { total = max(total, time) }
        }
        return .nanoseconds(Int64(clamping: total))
    }

    /// How long a batch has the channels before it gives them back to another user, who waits so long at most; and how long
    /// who cancels may have to wait.
    private static let slice = Duration.milliseconds(10)

    /// Lets what goes over links take its time, of which only that counts in which it has the channels.
    ///
    /// - Returns: whether it has the channels at the end.
    private func wait(
        _ duration: Duration, on devices: [Device], for user: UInt32, isCancelled: () -> Bool
    ) -> Bool {
        var left = duration
        while left > .zero, !isCancelled() {
            let start = ContinuousClock.now
            SystemThread.sleep(for: min(left, Self.slice))
            left -= .now - start
            guard left > .zero, devices.contains(where: { $0.copies.isWantedByOthers(than: user) }) else { continue }
            for device in devices { device.copies.end() }
            guard begin(devices, for: user, unless: isCancelled) else { return false }
        }
        return true
    }

    /// How long pages take over the link of a device by its model.
    func time(of crossing: Crossing, through device: Device) -> UInt64 {
        let bytes = UInt64(crossing.pages) << Page.shift
        let (leaves, arrives) = (crossing.from == device.node.index, crossing.to == device.node.index)
        // What stays on the device does not cross its link.
        guard leaves != arrives else { return 0 }
        return leaves ? device.link.readTime(of: bytes) : device.link.writeTime(of: bytes)
    }

    /// Counts what a batch carried over the link of one device, and says how long that takes by its model.
    private func count(_ outcome: MigrationResult, through device: Device) -> UInt64 {
        var (bytes, time): (UInt64, UInt64) = (0, 0)
        for crossing in outcome.crossings {
            if crossing.from == device.node.index || crossing.to == device.node.index {
                bytes += UInt64(crossing.pages) << Page.shift
            }
            time += self.time(of: crossing, through: device)
        }
        device.copies.count(bytes: bytes, nanoseconds: time, failed: outcome.poisoned > 0)
        return time
    }
}
