import CLinux
import Glibc
import LinuxSupport
import MachineTopology
import Synchronization
import SystemPackage

/// Whether transfers over a device's link take the modelled time.
public enum LinkPace: String, Sendable, Hashable, CaseIterable {
    /// The modelled time is only counted.
    case off
    /// Transfers over the link take at least the modelled time.
    case real
}

/// The copy engine of a device (drivers/dma; migrate_vma with a device's own engine): every batch of pages that moves
/// to, from or within the device's memory uses one of its channels.
public final class CopyEngine: Sendable {
    /// The valid numbers of channels.
    public static let channelRange = 1...64

    private let turns = FairSemaphore(limit: 4)
    private let copied = Atomic<UInt64>(0)
    private let modelled = Atomic<UInt64>(0)
    private let uncopied = Atomic<UInt64>(0)

    /// The number of channels: batches that move at once.
    public var channels: Int { turns.limit }

    /// Sets the number of channels; batches in progress continue.
    ///
    /// - Throws: ERANGE if it is not in ``channelRange``.
    public func setChannels(_ count: Int) throws(Errno) {
        guard Self.channelRange.contains(count) else { throw .outOfRange }
        turns.limit = count
    }

    /// The number of channels in use.
    public var busy: Int { turns.usage.held }

    /// The number of batches that wait for a channel.
    public var queued: Int { turns.usage.waiting }

    /// The number of bytes copied.
    public var bytes: UInt64 { copied.load(ordering: .relaxed) }

    /// The modelled time of the copies in nanoseconds.
    public var modelledNanoseconds: UInt64 { modelled.load(ordering: .relaxed) }

    /// The number of batches with a page whose memory has failed. Pages that are pinned, or for which no frame is
    /// available, do not count.
    public var errors: UInt64 { uncopied.load(ordering: .relaxed) }

    /// Takes a channel if one is free.
    func tryBegin() -> Bool { turns.tryWait() }

    /// Waits for a channel, which go round among users; false where it is not wanted any more.
    func begin(for user: UInt32, unless isCancelled: () -> Bool) -> Bool {
        turns.wait(for: user, unless: isCancelled)
    }

    func end() { turns.signal() }

    /// Whether another user than one waits for a channel.
    func isWantedByOthers(than user: UInt32) -> Bool { turns.isWantedByOthers(than: user) }

    func count(bytes: UInt64, nanoseconds: UInt64, failed: Bool) {
        copied.wrappingAdd(bytes, ordering: .relaxed)
        modelled.wrappingAdd(nanoseconds, ordering: .relaxed)
        if failed { uncopied.wrappingAdd(1, ordering: .relaxed) }
    }
}

extension Link {
    /// The modelled time in nanoseconds to read bytes from the device.
    public func readTime(of bytes: UInt64) -> UInt64 { readLatency + bytes * 1000 / readBandwidth }

    /// The modelled time in nanoseconds to write bytes to the device.
    public func writeTime(of bytes: UInt64) -> UInt64 { writeLatency + bytes * 1000 / writeBandwidth }
}

extension Machine {
    /// Moves the pages of one batch when it is its turn, through a channel of each device concerned.
    ///
    /// Turns, of the buffer and then of the devices by their place, come before every other lock. Who holds one waits
    /// only for who holds a later one, for the page cache, and for the model of a link.
    ///
    /// - Throws: EINTR when cancelled before anything moved.
    func moveInTurn(
        _ buffer: Buffer, pages: Range<UInt64>, filter: PageFilter, targets: [Node], prepaid: PrepaidFrames? = nil,
        reason: MoveReason, user: UInt32, isCancelled: () -> Bool
    ) throws(Errno) -> MigrationResult {
        guard buffer.migrationTurn.wait(for: user, unless: isCancelled) else { throw .interrupted }
        defer { buffer.migrationTurn.signal() }
        return try moveHoldingTurn(
            buffer, pages: pages, filter: filter, targets: targets, prepaid: prepaid, reason: reason, user: user,
            isCancelled: isCancelled)
    }

    /// The same for who holds the buffer's turn.
    func moveHoldingTurn(
        _ buffer: Buffer, pages: Range<UInt64>, filter: PageFilter, targets: [Node], prepaid: PrepaidFrames? = nil,
        reason: MoveReason, user: UInt32 = 0, isCancelled: () -> Bool
    ) throws(Errno) -> MigrationResult {
        do throws(Errno) {
            try recall(pages, of: buffer, moving: filter, isCancelled: isCancelled)
        } catch {
            // Whoever chose the pages may have marked them.
            leave(pages, of: buffer, filter: filter)
            throw error
        }
        var refused = MigrationResult()
        guard let wanted = select(pages, of: buffer, filter: filter, &refused) else { return refused }
        let outcome = moveInChannels(
            from: wanted.sources, to: targets, reason: reason, user: user, isCancelled: isCancelled, mayGiveUp: true
        ) { isPaced in
            if isPaced { holdBack(pages, of: buffer, filter: filter) }
            var outcome = move(
                wanted, in: pages, of: buffer, filter: filter, targets: targets, prepaid: prepaid, isHeld: isPaced)
            if outcome.moved > 0 { settle(pages, of: buffer, moving: true) }
            outcome.add(refused)
            return outcome
        } arrived: {
            letGo(of: buffer)
        }
        guard let outcome else {
            leave(pages, of: buffer, filter: filter)
            throw .interrupted
        }
        return outcome
    }

    /// Moves pages in a channel of each device concerned, as long as the models of the links say.
    ///
    /// Where that takes long, the channels are given back between slices of it when another user waits for one.
    ///
    /// - Parameters:
    ///   - sources: the places of the nodes that pages come from.
    ///   - user: who asked for it.
    ///   - mayGiveUp: whether nothing is to be moved where it is cancelled before it begins; nil then. Once it has begun
    ///     it comes to its end, only the time that it was to take is not waited for.
    ///   - body: moves the pages; gets whether a link is to take its time.
    ///   - arrived: called when it has had that.
    func moveInChannels(
        from sources: NodeMask, to targets: [Node], reason: MoveReason, user: UInt32, isCancelled: () -> Bool,
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
        system.transfers.add(outcome.crossings, reason)
        let time = devices.isEmpty ? .zero : linkTime(outcome, through: devices)
        if wait(time - (.now - start), on: devices, for: user, isCancelled: isCancelled) {
            for device in devices { device.copies.end() }
        }
        if isPaced { arrived() }
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
            system.transfers.add(outcome.crossings, reason)
            for device in devices { _ = count(outcome, through: device) }
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
