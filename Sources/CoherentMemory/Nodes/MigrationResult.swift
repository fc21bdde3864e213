/// What a migration came to, or has come to so far: the line of a `migrate` file.
public struct MigrationResult: Sendable, Hashable {
    /// How far a migration is.
    public enum State: String, Sendable, Hashable {
        /// There was none yet.
        case idle
        /// Pages are being moved.
        case running
        /// Every page asked for is where it shall be.
        case done
        /// Some pages could not be moved.
        case partial
        /// No page could be moved.
        case failed
        /// The task that asked was interrupted, or somebody cancelled it; what was moved stays moved.
        case cancelled
    }

    /// How far it is.
    public var state = State.idle
    /// Pages moved.
    public var moved = 0
    /// Pages that stayed where they were against the request.
    public var failed = 0
    /// Those of them that cannot be moved at all.
    var pinned = 0
    /// Those of them whose memory failed: they do not keep the rest, and are no error.
    var poisoned = 0
    /// Those of them of whose target their user has had its share.
    var overShare = 0
    /// How long it took.
    public var duration = Duration.zero
    /// Where the pages of a batch came from and went to.
    var crossings: [Crossing] = []

    /// Bytes moved.
    public var bytes: UInt64 { UInt64(moved) << Page.shift }

    /// Nothing moved yet.
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
