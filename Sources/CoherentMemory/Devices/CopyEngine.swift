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
/// from or within the device's memory takes one of its channels.
public final class CopyEngine: Sendable {
    /// How many channels an engine may have.
    public static let channelRange = 1...64

    private let turns = FairSemaphore(limit: 4)
    private let copied = Atomic<UInt64>(0)
    private let modelled = Atomic<UInt64>(0)
    private let uncopied = Atomic<UInt64>(0)

    /// How many batches move at once.
    public var channels: Int { turns.limit }

    /// Changes how many batches move at once; those under way go on.
    ///
    /// - Throws: ERANGE for what is not in ``channelRange``.
    public func setChannels(_ count: Int) throws(Errno) {
        guard Self.channelRange.contains(count) else { throw .outOfRange }
        turns.limit = count
    }

    /// Channels in use.
    public var busy: Int { turns.usage.held }

    /// Batches that wait for a channel.
    public var queued: Int { turns.usage.waiting }

    /// Bytes moved.
    public var bytes: UInt64 { copied.load(ordering: .relaxed) }

    /// Nanoseconds that this takes by the model of the link.
    public var modelledNanoseconds: UInt64 { modelled.load(ordering: .relaxed) }

    /// Batches with a page whose memory had failed. Pages that are pinned, or that found no frame, are no errors.
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
