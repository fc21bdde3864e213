import CoherentMemory
import Dispatch
import Fuse
import SystemPackage

/// Wakes whoever polls an attribute when its text has changed (sysfs_notify()).
final class ChangeHub: Sendable {
    private struct State {
        var watches: [ObjectIdentifier: (handle: AttributeHandle, poll: PollHandle)] = [:]
        var isKicked = false
    }

    private let state = Mutex(State())
    // Not the workers: a notification from one of those could wait for itself.
    private let queue = DispatchQueue(label: "cdmfs.changes")

    /// Wakes `poll` once the text of an attribute differs from what was last read through `handle`.
    func watch(_ handle: AttributeHandle, _ poll: PollHandle) {
        state.withLock { $0.watches[ObjectIdentifier(handle)] = (handle, poll) }
        // The change may have come between the look and the watch.
        kick()
    }

    func forget(_ handle: AttributeHandle) {
        // Released outside the lock.
        _ = state.withLock { $0.watches.removeValue(forKey: ObjectIdentifier(handle)) }
    }

    /// Something has changed: look at what is watched, soon.
    func kick() {
        let isNeeded = state.withLock { state in
            guard !state.isKicked, !state.watches.isEmpty else { return false }
            state.isKicked = true
            return true
        }
        if isNeeded { queue.async { self.wake() } }
    }

    private func wake() {
        let watches = state.withLock { state in
            state.isKicked = false
            return Array(state.watches.values)
        }
        for (handle, poll) in watches where handle.hasChanged {
            // Taken back before the wake-up: whoever wakes polls again at once, and that watch must stay.
            let isCurrent = state.withLock { state in
                guard state.watches[ObjectIdentifier(handle)]?.poll === poll else { return false }
                state.watches.removeValue(forKey: ObjectIdentifier(handle))
                return true
            }
            if isCurrent { try? poll.notify() }
        }
    }
}
