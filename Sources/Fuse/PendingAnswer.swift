internal import CFuse3
import Glibc
import LinuxSupport
import SystemPackage

/// The state of a deferred request, which libfuse's interrupt callback, the holder and the session's end share.
///
/// libfuse calls the callback with the request's own lock held, and takes that lock to clear the callback. Hence: the
/// callback is registered once, before other threads know the request; it is cleared by the thread that answers, which waits out a
/// callback that is running, unless the answer comes from within the callback; and `state` is never held across either.
@safe
final class PendingAnswer: @unchecked Sendable {
    // Unchecked: `raw` never changes, and is used only by the one who set `isAnswered`.
    private struct State {
        var isAnswered = false
        var isInterrupted = false
        var handler: (@Sendable () -> Void)?
        var callbackThread: pthread_t?
        /// The caller's process, once it was looked up.
        var process: Int32?
    }

    private let raw: OpaquePointer
    private let notifier: Notifier
    /// The thread that asks; 0 where it is not known.
    private let thread: Int32
    /// Where the request came over io_uring.
    private let entry: UnsafeMutablePointer<RingEntry>?
    private let state = Monitor(State())

    init(_ raw: OpaquePointer, thread: Int32) {
        unsafe self.raw = unsafe raw
        self.thread = thread
        // Requests are deferred by the thread that serves them.
        unsafe entry = unsafe AnsweringEntry.current
        unsafe entry?.pointee.isDeferred = true
        notifier = unsafe Unmanaged<FileSystem>.fromOpaque(fuse_req_userdata(raw)).takeUnretainedValue().notifier
        // The registry keeps this object alive for as long as libfuse has its address.
        notifier.register(self)
        unsafe fuse_req_interrupt_func(
            raw,
            { _, data in
                guard let data = unsafe data else { return }
                unsafe Unmanaged<PendingAnswer>.fromOpaque(data).takeUnretainedValue().interrupt()
            }, Unmanaged.passUnretained(self).toOpaque())
    }

    var isInterrupted: Bool { state.withLock { $0.isInterrupted } }

    func onInterrupt(_ handler: @escaping @Sendable () -> Void) {
        let isLate = state.withLock { state in
            if state.isAnswered { return false }
            if state.isInterrupted { return true }
            state.handler = handler
            return false
        }
        if isLate { handler() }
    }

    private func interrupt() {
        noteInterrupt(isCallback: true)?()
        state.withLock { $0.callbackThread = nil }
    }

    private func noteInterrupt(isCallback: Bool) -> (@Sendable () -> Void)? {
        state.withLock { state in
            state.isInterrupted = true
            if isCallback { state.callbackThread = pthread_self() }
            defer { state.handler = nil }
            return state.isAnswered ? nil : state.handler
        }
    }

    /// Interrupts the request where its answer will not be wanted.
    func interruptIfAbandoned() {
        guard thread > 0 else { return }
        let known = state.withLock { $0.process }
        if let known {
            if ProcStat.isEnding(known) { noteInterrupt(isCallback: false)?() }
        } else if let process = ProcStatus.process(of: thread) {
            state.withLock { $0.process = process }
        } else {
            noteInterrupt(isCallback: false)?()
        }
    }

    /// Answers with `reply`, unless it was answered before: then nil.
    func answer<Result>(_ reply: (consuming Request) -> Result) -> Result? {
        // The handler is destroyed outside the lock: it may hold the last reference to an object that comes back here.
        let claim = state.withLock { state -> (isInside: Bool, handler: (@Sendable () -> Void)?)? in
            if state.isAnswered { return nil }
            state.isAnswered = true
            defer { state.handler = nil }
            return (state.callbackThread == pthread_self(), state.handler)
        }
        guard let claim else { return nil }
        if !claim.isInside { unsafe fuse_req_interrupt_func(raw, nil, nil) }
        let result = unsafe AnsweringEntry.with(entry) { unsafe reply(Request(raw)) }
        notifier.unregister(self)
        return result
    }
}

/// A request that is answered later, on any thread.
///
/// The first answer counts, later ones are ignored. Without an answer, the request gets `EIO` when the last reference
/// is released, and `ECONNABORTED` when the session ends before.
public final class DeferredRequest: Sendable {
    private let pending: PendingAnswer

    /// The caller.
    public let caller: Caller

    init(_ raw: OpaquePointer, _ caller: Caller) {
        self.caller = caller
        pending = unsafe PendingAnswer(raw, thread: caller.pid)
    }

    deinit {
        _ = pending.answer { request in request.error(.ioError) }
    }

    /// Whether the caller was interrupted (FUSE_INTERRUPT).
    public var isInterrupted: Bool { pending.isInterrupted }

    /// Calls `handler` once if the caller is interrupted before the answer; immediately if it is interrupted already. A
    /// later handler replaces an earlier one.
    ///
    /// The handler runs on a worker: it may answer, or stop a job, but must not wait.
    public func onInterrupt(_ handler: @escaping @Sendable () -> Void) {
        pending.onInterrupt(handler)
    }

    /// Answers: `reply` gets the request and calls one of its answers.
    ///
    /// - Returns: the result of the answer; nil (and `reply` is not called) if the request was answered before.
    @discardableResult
    public func answer<Result>(_ reply: (consuming Request) -> Result) -> Result? {
        pending.answer(reply)
    }

    /// Answers with an error; false if it was answered before or the caller no longer waits.
    @discardableResult
    public func error(_ errno: Errno) -> Bool {
        pending.answer { request in request.error(errno) } ?? false
    }
}
