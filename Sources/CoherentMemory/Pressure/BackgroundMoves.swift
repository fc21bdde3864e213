import LinuxSupport
import MachineTopology
import Synchronization

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

extension Machine {
    /// Sets the observer of background moves. It is called without locks when one begins; the function that it returns
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
