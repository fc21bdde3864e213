import LinuxSupport
import MachineTopology
import Synchronization

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

extension Machine {
    /// Sets who is told of what the machine moves of its own accord. Called without locks when it begins; what that returns
    /// is called at its end.
    public func setBackgroundObserver(_ observer: @escaping @Sendable (BackgroundMove) -> @Sendable () -> Void) {
        system.hooks.withLock { $0.backgroundObserver = observer }
    }

    /// Does what moves pages while the observer knows of it.
    func inBackground<Result>(_ move: BackgroundMove, _ body: () -> Result) -> Result {
        let end = system.hooks.withLock { $0.backgroundObserver }?(move)
        defer { end?() }
        return body()
    }
}
