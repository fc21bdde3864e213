import Glibc
import Synchronization
import SystemPackage

/// Whether what goes over a device's link takes as long as the model of the link says.
public enum LinkPace: String, Sendable, Hashable, CaseIterable {
    /// The modelled time is counted only.
    case off
    /// What goes over the link takes at least the modelled time.
    case real
}

/// The copy engine of a device (drivers/dma; migrate_vma with a device's own engine): every batch of pages that moves to,
/// from or within the device's memory takes one of its channels while it is copied.
public final class CopyEngine: Sendable {
    /// How many channels an engine may have.
    public static let channelRange = 1...64

    private let turns = FairSemaphore(limit: 4)
    private let copied = Atomic<UInt64>(0)
    private let modelled = Atomic<UInt64>(0)
    private let uncopied = Atomic<UInt64>(0)

    /// How many batches are copied at once.
    public var channels: Int { turns.limit }

    /// Changes how many batches are copied at once; those under way go on.
    ///
    /// - Throws: ERANGE for what is not in ``channelRange``.
    public func setChannels(_ count: Int) throws(Errno) {
        guard Self.channelRange.contains(count) else { throw .outOfRange }
        turns.limit = count
    }

    /// Channels that are copying.
    public var busy: Int { turns.usage.held }

    /// Batches that wait for a channel.
    public var queued: Int { turns.usage.waiting }

    /// Bytes copied.
    public var bytes: UInt64 { copied.load(ordering: .relaxed) }

    /// Nanoseconds that the copies take by the model of the link.
    public var modelledNanoseconds: UInt64 { modelled.load(ordering: .relaxed) }

    /// Batches of which some pages could not be copied: pinned, or without a frame to go to.
    public var errors: UInt64 { uncopied.load(ordering: .relaxed) }

    func begin() { turns.wait() }

    func end() { turns.signal() }

    func count(bytes: UInt64, nanoseconds: UInt64, failed: Bool) {
        copied.wrappingAdd(bytes, ordering: .relaxed)
        modelled.wrappingAdd(nanoseconds, ordering: .relaxed)
        if failed { uncopied.wrappingAdd(1, ordering: .relaxed) }
    }
}

extension Link {
    /// Nanoseconds that bytes take from the device.
    public func readTime(of bytes: UInt64) -> UInt64 { readLatency + bytes * 1000 / readBandwidth }

    /// Nanoseconds that bytes take to the device.
    public func writeTime(of bytes: UInt64) -> UInt64 { writeLatency + bytes * 1000 / writeBandwidth }
}

extension Machine {
    /// Moves the pages of one batch when it is its turn, through a channel of each device concerned.
    ///
    /// Turns, of the buffer and then of the devices by their place, come before every other lock. Who holds one waits
    /// only for who holds a later one, and for the page cache.
    func moveInTurn(
        _ buffer: Buffer, pages: Range<UInt64>, filter: PageFilter, targets: [Node], prepaid: PrepaidFrames? = nil,
        reason: MoveReason
    ) -> MigrationResult {
        buffer.migrationTurn.withLock { _ in
            moveHoldingTurn(
                buffer, pages: pages, filter: filter, targets: targets, prepaid: prepaid, reason: reason)
        }
    }

    /// The same for who holds the buffer's turn.
    func moveHoldingTurn(
        _ buffer: Buffer, pages: Range<UInt64>, filter: PageFilter, targets: [Node], prepaid: PrepaidFrames? = nil,
        reason: MoveReason
    ) -> MigrationResult {
        let devices = devices(of: buffer, pages: pages, filter: filter, targets: targets)
        for device in devices { device.copies.begin() }
        defer { for device in devices { device.copies.end() } }
        // Whether the link is paced or not.
        if let stall = devices.compactMap(\.stall).max() { Self.sleep(stall) }
        let start = ContinuousClock.now
        let outcome = moveBatch(of: buffer, pages: pages, filter: filter, targets: targets, prepaid: prepaid)
        system.transfers.add(outcome.crossings, reason)
        if !devices.isEmpty { pace(outcome, through: devices, since: start) }
        return outcome
    }

    /// The devices that pages of a batch are on, or may go to; none where nothing moves.
    private func devices(
        of buffer: Buffer, pages: Range<UInt64>, filter: PageFilter, targets: [Node]
    ) -> [Device] {
        guard !self.devices.isEmpty else { return [] }
        let sources = buffer.state.withLock { state -> NodeMask in
            var sources = NodeMask()
            unsafe forEachMatch(pages, filter: filter, in: state) { _, slot in
                sources.insert(nodeIndex(of: PageTableEntry(rawValue: unsafe slot.pointee).pfn))
            }
            return sources
        }
        guard !sources.isEmpty else { return [] }
        return self.devices.filter { device in
            sources.contains(device.node.index) || targets.contains { $0 === device.node }
        }
    }

    /// Counts what a batch carried over the links, and lets it take its time where a link is to.
    private func pace(_ outcome: MigrationResult, through devices: [Device], since start: ContinuousClock.Instant) {
        var total: UInt64 = 0
        var isPaced = false
        for device in devices {
            var (bytes, time): (UInt64, UInt64) = (0, 0)
            for crossing in outcome.crossings {
                let part = UInt64(crossing.pages) << Page.shift
                let (leaves, arrives) = (crossing.from == device.node.index, crossing.to == device.node.index)
                if leaves || arrives { bytes += part }
                // What stays on the device does not cross its link.
                guard leaves != arrives else { continue }
                time += leaves ? device.link.readTime(of: part) : device.link.writeTime(of: part)
            }
            device.copies.count(bytes: bytes, nanoseconds: time, failed: outcome.failed > 0)
            // From device to device the slower link counts, and both are busy at once.
            if device.pace == .real {
                total = max(total, time)
                isPaced = true
            }
        }
        guard isPaced else { return }
        let rest = Duration.nanoseconds(Int64(clamping: total)) - (.now - start)
        if rest > .zero { Self.sleep(rest) }
    }

    private static func sleep(_ duration: Duration) {
        let (seconds, attoseconds) = duration.components
        var rest = timespec(tv_sec: Int(seconds), tv_nsec: Int(attoseconds / 1_000_000_000))
        while true {
            var wanted = rest
            guard unsafe nanosleep(&wanted, &rest) != 0, Errno.last == .interrupted else { return }
        }
    }
}
