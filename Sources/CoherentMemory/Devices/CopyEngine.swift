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
