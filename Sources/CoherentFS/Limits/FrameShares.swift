import CoherentMemory
import CoherentTree
import LinuxSupport

/// The share of the coherent nodes that each user has who has buffers.
final class FrameShares: Sendable {
    private struct WeakShare {
        weak var share: FrameShare?
    }

    private struct State {
        var byUser: [UInt32: WeakShare] = [:]
        /// From how many on the shares of users without buffers are taken out.
        var many = 64
    }

    private let percent: UInt64
    private let state = Mutex(State())

    /// - Parameter percent: what one user may have of each coherent node.
    init(percent: UInt64) { self.percent = percent }

    /// The share of a user, which lasts as long as it is referred to; nil for root and the user who mounts, who may have everything.
    subscript(user: UInt32) -> FrameShare? {
        guard user != 0, user != owner.uid else { return nil }
        return state.withLock { state in
            if let share = state.byUser[user]?.share { return share }
            if state.byUser.count >= state.many {
                state.byUser = state.byUser.filter { $0.value.share != nil }
                state.many = max(64, state.byUser.count * 2)
            }
            let share = FrameShare(percent: percent)
            state.byUser[user] = WeakShare(share: share)
            return share
        }
    }
}
