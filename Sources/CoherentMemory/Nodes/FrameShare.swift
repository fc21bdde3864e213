import LinuxSupport
import MachineTopology

/// The frames that one user's buffers have on each node, and the share of a coherent node that they may have: what a page counter
/// of a memory cgroup is to Linux (mm/page_counter.c), by node.
///
/// Pages are counted when they enter or leave a buffer. A node whose share is used up is skipped like a full one. Allocations
/// that are in progress at the same moment are not counted yet, so they may exceed a share.
public final class FrameShare: Sendable {
    /// Percent of each coherent node, 1 to 100.
    public let percent: UInt64
    private let used = Mutex<[Int]>([])

    /// An unused share.
    ///
    /// - Parameter percent: limited to 1 to 100.
    public init(percent: UInt64) { self.percent = min(max(percent, 1), 100) }

    /// The frames of the user on a node.
    public func used(on node: Node) -> Int { used(at: node.index) }

    private func used(at index: Int) -> Int { used.withLock { index < $0.count ? $0[index] : 0 } }

    /// The maximum number of frames of the user on a node; nil for no limit.
    public func limit(on node: Node) -> Int? {
        guard node.kind == .coherent else { return nil }
        // Without overflow; a share of a little is one at least.
        let (frames, percent) = (node.span.base.count, Int(percent))
        return max(1, frames / 100 * percent + frames % 100 * percent / 100)
    }

    /// How many more frames of a node the user may have.
    func room(on node: Node) -> Int { limit(on: node).map { max(0, $0 - used(at: node.index)) } ?? .max }

    /// Counts frames that buffers got on a node, or gave back: fewer than 0 then.
    func add(_ count: Int, node: Int) {
        used.withLock { used in
            if used.count <= node { used.append(contentsOf: repeatElement(0, count: node + 1 - used.count)) }
            used[node] += count
        }
    }
}
