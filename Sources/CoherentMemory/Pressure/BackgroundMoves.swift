import LinuxSupport
import MachineTopology

/// Pages that the machine moves of its own accord, while it does: demotion by kswapd, or automatic NUMA balancing.
public struct BackgroundMove: Sendable {
    /// Who moves them.
    public enum Kind: String, Sendable, Hashable {
        /// The thread that keeps memory free.
        case kswapd
        /// The one that moves pages to those who touch them.
        case balancing
    }

    /// Who moves them.
    public let kind: Kind
    /// The ids of the nodes that they leave; none where that is not known beforehand.
    public let from: IDSet
    /// The ids of the nodes that they may go to.
    public let to: IDSet
    /// How far it is; cancelled, it ends, until there is cause again.
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
