import LinuxSupport
import Synchronization
import SystemPackage

/// The reason why a page moved to another frame (enum migrate_reason of include/linux/migrate_mode.h).
public enum MoveReason: String, Sendable, Hashable, CaseIterable {
    /// A migration of its buffer.
    case buffer
    /// A migration of all pages of its node.
    case node
    /// A migration of a task's memory (migrate_pages(2)).
    case task
    /// A migration of a range of a task's addresses (the 2016 proposal's migrate_virtual_range()).
    case range
    /// Its memory block went offline.
    case offline
    /// The nodes that a task may use have changed.
    case cpuset
    /// Compaction of free frames.
    case compaction
    /// Reclaim moved it to a slower tier.
    case demotion
    /// It was hot, and moved to a faster tier.
    case promotion
    /// It moved to the node whose tasks touch it.
    case balancing
    /// A device touched it repeatedly, or the CPU took it back from the device repeatedly.
    case access
}

/// The account of one operation that moves pages, during and after it. Any thread may read it, or cancel the operation.
///
/// An operation on several buffers has an account, and each of the buffers one that is a part of it.
public final class MigrationAccount: Sendable {
    /// The reason under which its pages are counted.
    public let reason: MoveReason
    private let parent: MigrationAccount?
    private let asker = Atomic<UInt32>(0)
    private let start = ContinuousClock.now
    private let cancelled = Atomic(false)
    private let state: Mutex<(result: MigrationResult, total: Int)>

    /// An account that begins now.
    public init(_ reason: MoveReason) {
        self.reason = reason
        parent = nil
        state = Mutex((.running, 0))
    }

    /// An account of a part of an operation.
    init(partOf parent: MigrationAccount) {
        reason = parent.reason
        self.parent = parent
        state = Mutex((.running, 0))
    }

    /// The number of the calling user: channels of copy engines serve users in turn. Default: root. It must be set before
    /// the operation begins.
    public var user: UInt32 {
        get { parent?.user ?? asker.load(ordering: .relaxed) }
        set { asker.store(newValue, ordering: .relaxed) }
    }

    /// The result, or the progress so far.
    public var result: MigrationResult {
        var result = state.withLock { $0.result }
        if result.state == .running { result.duration = .now - start }
        return result
    }

    /// The number of pages to move, as far as known; it may grow while the operation finds more.
    public var total: Int { state.withLock { $0.total } }

    /// The rate in bytes per second, so far or of the whole operation.
    public var bytesPerSecond: UInt64 {
        let result = result
        let seconds = result.duration / .seconds(1)
        return seconds > 0 ? UInt64(Double(result.bytes) / seconds) : 0
    }

    /// Requests an early end of the operation, with EINTR; pages that have moved stay moved.
    public func cancel() { cancelled.store(true, ordering: .relaxed) }

    /// Whether an early end of the operation, or of the one that it is a part of, is requested.
    public var isCancelled: Bool { cancelled.load(ordering: .relaxed) || parent?.isCancelled ?? false }

    /// Closes the account: the state follows from the error; nil means success. Only the first call counts.
    public func end(_ error: Errno?) {
        state.withLock { state in
            guard state.result.state == .running else { return }
            state.result.end(error: error != nil, cancelled: error == .interrupted, after: .now - start)
        }
    }

    /// Adds pages that are to move.
    func expect(_ pages: Int) {
        state.withLock { $0.total += pages }
        parent?.expect(pages)
    }

    /// Adds what became of pages.
    func add(_ part: MigrationResult) {
        state.withLock { $0.result.add(part) }
        parent?.add(part)
    }
}

extension MigrationResult {
    fileprivate static var running: MigrationResult {
        var result = MigrationResult()
        result.state = .running
        return result
    }
}

/// The migrations of a buffer or a node: those that run, and the one started last.
struct Migrations {
    private(set) var last: MigrationAccount?
    private(set) var running: [MigrationAccount] = []

    mutating func begin(_ account: MigrationAccount) {
        last = account
        running.append(account)
    }

    /// One that ends before a reader can see it.
    mutating func note(_ account: MigrationAccount) { last = account }

    mutating func end(_ account: MigrationAccount) { running.removeAll { $0 === account } }

    var result: MigrationResult { last?.result ?? MigrationResult() }
}

extension Node {
    /// Cancels every running migration of all of the node's pages.
    public func cancelMigrations() { for account in migrations.withLock({ $0.running }) { account.cancel() } }
}
