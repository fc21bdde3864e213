/// The result or progress of a migration: the line of a `migrate` file.
public struct MigrationResult: Sendable, Hashable {
    /// The state of a migration.
    public enum State: String, Sendable, Hashable {
        /// There was none yet.
        case idle
        /// Pages are moving.
        case running
        /// Every requested page is on the target.
        case done
        /// Some pages could not move.
        case partial
        /// No page could move.
        case failed
        /// The calling task was interrupted, or the migration was cancelled; pages that have moved stay moved.
        case cancelled
    }

    /// The state.
    public var state = State.idle
    /// The number of pages that moved.
    public var moved = 0
    /// The number of pages that could not move.
    public var failed = 0
    /// Those of them that cannot be moved at all.
    var pinned = 0
    /// Those of them whose memory failed: they do not keep the rest, and are no error.
    var poisoned = 0
    /// Those of them that did not move because their user has used its share of the target.
    var overShare = 0
    /// The duration.
    public var duration = Duration.zero
    /// Where the pages of a batch came from and went to.
    var crossings: [Crossing] = []
    /// The same run by run, where migrations are traced.
    var runs: [MovedRun] = []

    /// The number of bytes that moved.
    public var bytes: UInt64 { UInt64(moved) << Page.shift }

    /// The result before any migration.
    public init() {}

    init(moved: Int) { self.moved = moved }

    init(failed: Int) { self.failed = failed }

    mutating func add(_ other: MigrationResult) {
        moved += other.moved
        failed += other.failed
        pinned += other.pinned
        poisoned += other.poisoned
        overShare += other.overShare
    }

    /// Closes the account.
    mutating func end(error: Bool, cancelled: Bool, after duration: Duration) {
        self.duration = duration
        state =
            if cancelled { .cancelled } else if failed == 0, !error { .done } else if moved > 0 { .partial } else {
                .failed
            }
    }
}
