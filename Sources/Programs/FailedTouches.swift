import CListener
import Dispatch
import LinuxSupport
import SystemPackage

/// A touch of memory whose hardware failed, for which a thread waits.
public struct FailedTouch: Sendable {
    /// The thread, by the daemon's number.
    let thread: Int32
    /// The user whose thread it is.
    let user: UInt32
    /// The binary logarithm of the bytes that have failed (si_addr_lsb): 12 for a page, 21 for a page of hugetlbfs.
    let granularity: Int32
    /// Has the touch fail. It is called once, on any thread, within half a second or so.
    let fail: @Sendable () -> Void
    /// Takes away what makes touches of the page fail, once this one has.
    var heal: (@Sendable () -> Void)?

    /// A touch that fails when it is told to.
    public init(
        by thread: Int32, of user: UInt32, granularity: Int32, fail: @escaping @Sendable () -> Void,
        heal: (@Sendable () -> Void)? = nil
    ) {
        self.thread = thread
        self.user = user
        self.granularity = granularity
        self.fail = fail
        self.heal = heal
    }
}

/// Has touches of failed memory end in SIGBUS with BUS_MCEERR_AR, as those of memory whose hardware failed (memory_failure() of
/// mm/memory-failure.c). The kernel itself sends BUS_ADRERR.
///
/// Each touch has a thread that traces its own until the signal comes: only that thread may give the signal its code (ptrace(2)). It waits for no
/// more than a second for the signal. It may wait longer for the leave to trace, which an execve(2) of the process holds
/// (cred_guard_mutex) and which may wait for the very thread that touches: so who has a touch fail is another thread then.
/// A user has only so many of these threads, root aside.
public final class FailedTouches: Sendable {
    private struct State {
        var slots = UserSlots(total: 256, share: 16, reserve: 64)
        /// Touches that wait to fail, with the moments from which they do not.
        var waiting: [UInt64: (touch: FailedTouch, deadline: DispatchTime)] = [:]
        var next: UInt64 = 0
        var isWatched = false
    }

    private let state = Mutex(State())
    private static let patience = DispatchTimeInterval.milliseconds(250)
    /// Has a thread of its own, however many wait.
    private let queue = DispatchQueue(label: "cdmfs.failures")

    /// No touches yet.
    public init() {}

    /// Whether this process may trace threads of all others.
    public static var areAllowed: Bool { clistener_may_trace() == 1 }

    /// Has a touch fail soon, and does not wait for that.
    ///
    /// - Parameters:
    ///   - touch: what fails, and how it is done.
    ///   - isMeant: whether its signal is to have BUS_MCEERR_AR; asked on another thread.
    /// - Returns: false where the user, or all, have too many that wait, or the host has no more threads; then nothing is called.
    public func begin(_ touch: FailedTouch, where isMeant: @escaping @Sendable () -> Bool = { true }) -> Bool {
        let id = state.withLock { state -> UInt64? in
            guard state.slots.take(for: touch.user) else { return nil }
            state.next += 1
            state.waiting[state.next] = (touch, .now() + Self.patience)
            return state.next
        }
        guard let id else { return false }
        do throws(Errno) {
            try SystemThread { [self] in
                if isMeant() { Tracing(id, touch, self).run() } else { _ = fail(id) }
                state.withLock { $0.slots.giveBack(by: touch.user) }
            }.detach()
        } catch {
            state.withLock { state in
                state.waiting[id] = nil
                state.slots.giveBack(by: touch.user)
            }
            return false
        }
        watch()
        return true
    }

    /// Has a touch fail that waits to; false where that was done.
    private func fail(_ id: UInt64) -> Bool {
        guard let (touch, _) = state.withLock({ $0.waiting.removeValue(forKey: id) }) else { return false }
        touch.fail()
        return true
    }

    /// Has those fail whose threads do not get to it.
    private func watch() {
        let isNew = state.withLock { state in
            guard !state.isWatched, !state.waiting.isEmpty else { return false }
            state.isWatched = true
            return true
        }
        guard isNew else { return }
        queue.start(at: .now() + Self.patience) { [self] in
            let late = state.withLock { state in
                state.isWatched = false
                let now = DispatchTime.now()
                return state.waiting.filter { $0.value.deadline <= now }.map(\.key)
            }
            for id in late { _ = fail(id) }
            watch()
        }
    }

    /// A touch in the hands of its thread.
    private final class Tracing {
        private let id: UInt64
        private let touch: FailedTouch
        private let owner: FailedTouches

        init(_ id: UInt64, _ touch: FailedTouch, _ owner: FailedTouches) {
            (self.id, self.touch, self.owner) = (id, touch, owner)
        }

        func run() {
            let own = unsafe Unmanaged.passRetained(self)
            _ = unsafe clistener_fail_touch(
                touch.thread, touch.granularity,
                { unsafe Tracing.of($0).fail() ? 0 : -1 },
                touch.heal == nil ? nil : { unsafe Tracing.of($0).touch.heal?() }, own.toOpaque())
            unsafe own.release()
        }

        private func fail() -> Bool { owner.fail(id) }

        private static func of(_ context: UnsafeMutableRawPointer?) -> Tracing {
            unsafe Unmanaged<Tracing>.fromOpaque(context!).takeUnretainedValue()
        }
    }
}
