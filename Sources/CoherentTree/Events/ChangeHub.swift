import CoherentMemory
import Dispatch
import LinuxSupport
import Synchronization
import SystemPackage

/// A reader that waits in poll(2).
package protocol Waker: AnyObject, Sendable {
    /// Has it look again. Called once at most.
    func wake()
}

/// An open attribute, as the program that polls it has read it last.
package protocol WatchedText: AnyObject, Sendable {
    /// Whether the text differs from what was read last.
    var hasChanged: Bool { get }
    /// Whether it changes all the time, perhaps, and was read only just now.
    var isFresh: Bool { get }
    /// Whether it may change without a notification.
    var changesSteadily: Bool { get }
}

/// Wakes the polls of an attribute when its text has changed (sysfs_notify()).
///
/// What changes all the time while memory moves is looked at again and again, as long as it is polled, and reported at
/// most ten times a second.
package final class ChangeHub: Sendable {
    private struct State {
        var watches: [ObjectIdentifier: (text: any WatchedText, poll: any Waker)] = [:]
        var isKicked = false
        /// Whether what was suppressed is looked at again soon.
        var isTicking = false
    }

    /// At most so often, in milliseconds, is told of what changes all the time.
    package static let interval = 100

    private let state = Mutex(State())
    // Not the workers: a notification from one of those could wait for itself.
    private let queue = DispatchQueue(label: "cdmfs.changes")
    private let busy = Mutex<@Sendable () -> Bool>({ false })

    /// Sets what tells whether something is under way whose steps are not all reported.
    func setBusy(_ isBusy: @escaping @Sendable () -> Bool) { busy.withLock { $0 = isBusy } }

    /// Wakes `poll` once the text of an attribute differs from what was last read through `text`.
    package func watch(_ text: any WatchedText, _ poll: any Waker) {
        state.withLock { $0.watches[ObjectIdentifier(text)] = (text, poll) }
        // The change may have come between the look and the watch.
        kick(isTold: false)
    }

    package func forget(_ text: any WatchedText) {
        // Released outside the lock.
        _ = state.withLock { $0.watches.removeValue(forKey: ObjectIdentifier(text)) }
    }

    /// Forgets every watch: there are no more polls.
    package func removeAll() {
        // Released outside the lock.
        let gone = state.withLock { state in
            defer { state.watches = [:] }
            return state.watches
        }
        withExtendedLifetime(gone) {}
    }

    /// Something has changed: look at what is watched, soon.
    package func kick() { kick(isTold: true) }

    /// - Parameter isTold: whether the change was reported, which wakes at once.
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
        for (text, poll) in watches {
            if !isTold, text.isFresh {
                isUnfinished = true
                continue
            }
            guard text.hasChanged else {
                isUnfinished = isUnfinished || text.changesSteadily && busy.withLock { $0 }()
                continue
            }
            // Taken back before the wake-up: the program that wakes polls again at once, and that watch must stay.
            let isCurrent = state.withLock { state in
                guard state.watches[ObjectIdentifier(text)]?.poll === poll else { return false }
                state.watches.removeValue(forKey: ObjectIdentifier(text))
                return true
            }
            if isCurrent { poll.wake() }
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
        queue.start(at: .now() + .milliseconds(Self.interval)) {
            self.state.withLock { $0.isTicking = false }
            self.wake(isTold: false)
        }
    }
}
