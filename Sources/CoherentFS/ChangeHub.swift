import CoherentMemory
import Dispatch
import Fuse
import LinuxSupport
import Synchronization
import SystemPackage

/// Wakes whoever polls an attribute when its text has changed (sysfs_notify()).
///
/// What changes all the time while memory moves is looked at again and again, as long as somebody polls it, and told of at
/// most ten times a second.
final class ChangeHub: Sendable {
    private struct State {
        var watches: [ObjectIdentifier: (handle: AttributeHandle, poll: PollHandle)] = [:]
        var isKicked = false
        /// Whether what was suppressed is looked at again soon.
        var isTicking = false
    }

    private let state = Mutex(State())
    // Not the workers: a notification from one of those could wait for itself.
    private let queue = DispatchQueue(label: "cdmfs.changes")
    private let busy = Mutex<@Sendable () -> Bool>({ false })

    /// Sets who knows whether something is under way of which nobody tells every step.
    func setBusy(_ isBusy: @escaping @Sendable () -> Bool) { busy.withLock { $0 = isBusy } }

    /// Wakes `poll` once the text of an attribute differs from what was last read through `handle`.
    func watch(_ handle: AttributeHandle, _ poll: PollHandle) {
        state.withLock { $0.watches[ObjectIdentifier(handle)] = (handle, poll) }
        // The change may have come between the look and the watch.
        kick(isTold: false)
    }

    func forget(_ handle: AttributeHandle) {
        // Released outside the lock.
        _ = state.withLock { $0.watches.removeValue(forKey: ObjectIdentifier(handle)) }
    }

    /// Forgets every watch: nobody polls any more.
    func removeAll() {
        // Released outside the lock.
        let gone = state.withLock { state in
            defer { state.watches = [:] }
            return state.watches
        }
        withExtendedLifetime(gone) {}
    }

    /// Something has changed: look at what is watched, soon.
    func kick() { kick(isTold: true) }

    /// - Parameter isTold: whether somebody says that something has changed, which is told at once.
    private func kick(isTold: Bool) {
        let isNeeded = state.withLock { state in
            guard !state.isKicked || isTold, !state.watches.isEmpty else { return false }
            state.isKicked = true
            return true
        }
        if isNeeded { queue.start { self.wake(isTold: isTold) } }
    }

    private func wake(isTold: Bool) {
        let watches = state.withLock { state in
            state.isKicked = false
            return Array(state.watches.values)
        }
        var isUnfinished = false
        for (handle, poll) in watches {
            if !isTold, handle.isFresh {
                isUnfinished = true
                continue
            }
            guard handle.hasChanged else {
                isUnfinished = isUnfinished || handle.changesSteadily && busy.withLock { $0 }()
                continue
            }
            // Taken back before the wake-up: whoever wakes polls again at once, and that watch must stay.
            let isCurrent = state.withLock { state in
                guard state.watches[ObjectIdentifier(handle)]?.poll === poll else { return false }
                state.watches.removeValue(forKey: ObjectIdentifier(handle))
                return true
            }
            if isCurrent { try? poll.notify() }
        }
        if isUnfinished { tick() }
    }

    /// Looks again when the time has come.
    private func tick() {
        let isFirst = state.withLock { state in
            defer { state.isTicking = true }
            return !state.isTicking
        }
        guard isFirst else { return }
        queue.start(at: .now() + .milliseconds(AttributeHandle.interval)) {
            self.state.withLock { $0.isTicking = false }
            self.wake(isTold: false)
        }
    }
}
