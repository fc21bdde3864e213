import Synchronization

/// What became of pages of the host that were to move to the node of the host that a node names.
final class HostPages: Sendable {
    let moved = Atomic<UInt64>(0)
    let failed = Atomic<UInt64>(0)
}

extension Node {
    /// How many pages the host moved to ``hostNode`` because they came to this node, and how many it could not
    /// move; 4 KiB each.
    public var hostMigration: (moved: UInt64, failed: UInt64) {
        (hostPages.moved.load(ordering: .relaxed), hostPages.failed.load(ordering: .relaxed))
    }
}
