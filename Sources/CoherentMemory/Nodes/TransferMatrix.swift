import LinuxSupport

/// Pages that moved from one node to another for one reason.
public struct Transfer: Sendable, Hashable {
    /// The id of the source node.
    public var from: Int
    /// The id of the target node; the same as the source if the pages only changed their frames.
    public var to: Int
    /// Why.
    public var reason: MoveReason
    /// The number of pages since the machine was made.
    public var pages: UInt64
}

/// Pages that a batch moved between two nodes, by their places.
struct Crossing: Sendable, Hashable {
    let from: Int
    let to: Int
    var pages: Int
}

/// Who moved whither how often.
final class TransferMatrix: Sendable {
    private struct Key: Hashable {
        let from: Int
        let to: Int
        let reason: MoveReason
    }

    // Once a batch; most machines use few of the cells.
    private let counts = Mutex<[Key: UInt64]>([:])

    func add(_ crossings: [Crossing], _ reason: MoveReason) {
        guard !crossings.isEmpty else { return }
        counts.withLock { counts in
            for crossing in crossings {
                counts[Key(from: crossing.from, to: crossing.to, reason: reason), default: 0] += UInt64(crossing.pages)
            }
        }
    }

    /// By the places of the nodes, then in the order of the reasons.
    func rows(_ nodes: [Node]) -> [Transfer] {
        let counts = counts.withLock { $0 }
        let order = Dictionary(uniqueKeysWithValues: MoveReason.allCases.enumerated().map { ($1, $0) })
        return counts.sorted {
            ($0.key.from, $0.key.to, order[$0.key.reason]!) < ($1.key.from, $1.key.to, order[$1.key.reason]!)
        }.map {
            Transfer(from: nodes[$0.key.from].id, to: nodes[$0.key.to].id, reason: $0.key.reason, pages: $0.value)
        }
    }
}
