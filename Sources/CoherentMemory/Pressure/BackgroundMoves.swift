import LinuxSupport
import MachineTopology

/// A move of pages in the background while it runs: demotion by kswapd, or automatic NUMA balancing.
public struct BackgroundMove: Sendable {
    /// The origin of a background move.
    public enum Kind: String, Sendable, Hashable {
        /// The thread that keeps memory free.
        case kswapd
        /// The thread of automatic NUMA balancing.
        case balancing
    }

    /// The origin of the move.
    public let kind: Kind
    /// The ids of the source nodes; empty if they are not known in advance.
    public let from: IDSet
    /// The ids of the possible target nodes.
    public let to: IDSet
    /// Its progress. After a cancel the move ends until it is needed again.
    public let account: MigrationAccount
}

/// Tells an observer of what the machine moves of its own accord.
final class BackgroundMoves: Sendable {
    /// Called without locks when a move begins; what that returns is called at its end.
    let observer = Mutex<(@Sendable (BackgroundMove) -> @Sendable () -> Void)?>(nil)

    /// Does what moves pages while the observer knows of it.
    func run<Result>(_ move: BackgroundMove, _ body: () -> Result) -> Result {
        let end = observer.withLock { $0 }?(move)
        defer { end?() }
        return body()
    }
}
