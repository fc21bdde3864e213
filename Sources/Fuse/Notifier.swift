internal import CFuse3
import Glibc
import LinuxSupport
import Synchronization
import SystemPackage

/// Notifications from the daemon to the kernel: they drop cached data and names, and wake poll(2).
///
/// A notification may wait for a page that a request holds, and so for a worker. A worker that sends one could wait for
/// itself, in a state that no signal ends. So a notification from a worker, except `PollHandle.notify`, is a
/// programming error: it traps in debug builds and throws `EDEADLK` otherwise. After the session's end all of them
/// throw `ENODEV`.
public final class Notifier: Sendable {
    @safe private struct State {
        var session: OpaquePointer?
        var users = 0
        var pending: [ObjectIdentifier: PendingAnswer] = [:]
        var options = ConnectionOptions()
    }

    private let state = Monitor(State())
    private let mappedDirectIO = Atomic(false)

    init() {}

    /// Whether a file that is opened with ``OpenReply/Options/directIO`` can be mapped with `MAP_SHARED`, through the
    /// page cache (FUSE_DIRECT_IO_ALLOW_MMAP, Linux 6.6). Then the daemon can distinguish read(2) from a touch of a
    /// mapping.
    public var allowsMappedDirectIO: Bool { mappedDirectIO.load(ordering: .relaxed) }

    /// Drops an inode's pages from `offset` on from the page cache and from every mapping, together with the
    /// attributes. Dirty pages arrive as WRITE first.
    ///
    /// - Parameters:
    ///   - inode: the inode.
    ///   - offset: in bytes; negative: the attributes only.
    ///   - length: in bytes; 0: to the end.
    /// - Returns: false if the kernel does not know the inode, and so has cached nothing of it.
    /// - Throws: `ENODEV` without a session, and errors of the write to `/dev/fuse`.
    @discardableResult
    public func invalidate(_ inode: InodeNumber, offset: Int64 = 0, length: Int64 = 0) throws(Errno) -> Bool {
        unsafe try notify { session in
            unsafe fuse_lowlevel_notify_inval_inode(session, inode.rawValue, Int(offset), Int(length))
        }
    }

    /// Drops a name, so that its next use arrives as LOOKUP; open and mapped files are not affected.
    ///
    /// - Returns: false if the kernel has not cached the name.
    @discardableResult
    public func invalidateEntry(_ parent: InodeNumber, _ name: FileName) throws(Errno) -> Bool {
        unsafe try notify { session in
            unsafe fuse_lowlevel_notify_inval_entry(session, parent.rawValue, name.string, name.string.utf8.count)
        }
    }

    /// Reports that the daemon has removed a name, which inotify(7) reports to its watchers.
    ///
    /// - Returns: false if the kernel has not cached the name.
    @discardableResult
    public func deleteEntry(
        _ parent: InodeNumber, _ name: FileName, inode: InodeNumber
    ) throws(Errno) -> Bool {
        unsafe try notify { session in
            let length = name.string.utf8.count
            return unsafe fuse_lowlevel_notify_delete(
                session, parent.rawValue, inode.rawValue, name.string, length)
        }
    }

    /// Puts bytes into the page cache, as if they had been read.
    ///
    /// - Returns: false if the kernel does not know the inode.
    @discardableResult
    public func store(_ inode: InodeNumber, offset: Int64, _ bytes: RawSpan) throws(Errno) -> Bool {
        try Self.refuseWorkers()
        let result = unsafe bytes.withUnsafeBytes { bytes in
            unsafe withSession { session in
                var vector = fuse_bufvec()
                vector.count = 1
                unsafe vector.buf.size = bytes.count
                unsafe vector.buf.mem = UnsafeMutableRawPointer(mutating: bytes.baseAddress)
                unsafe vector.buf.fd = -1
                return unsafe fuse_lowlevel_notify_store(
                    session, inode.rawValue, Int(offset), &vector, fuse_buf_copy_flags(rawValue: 0))
            }
        }
        return try Self.outcome(result)
    }

    private func notify(_ body: (OpaquePointer) -> Int32) throws(Errno) -> Bool {
        try Self.refuseWorkers()
        return try Self.outcome(unsafe withSession(body))
    }

    private static func refuseWorkers() throws(Errno) {
        if WorkerThread.isCurrent {
            assertionFailure("a notification from a worker waits for itself")
            throw .deadlock
        }
    }

    private static func outcome(_ result: Int32) throws(Errno) -> Bool {
        if result == -ENOENT { return false }
        if result != 0 { throw Errno(rawValue: -result) }
        return true
    }

    /// Runs `body` while the session cannot go away; `-ENODEV` when there is none.
    func withSession(_ body: (OpaquePointer) -> Int32) -> Int32 {
        let session = unsafe state.withLock { state -> OpaquePointer? in
            if unsafe state.session != nil { state.users += 1 }
            return unsafe state.session
        }
        guard let session = unsafe session else { return -ENODEV }
        defer { state.update { $0.users -= 1 } }
        return unsafe body(session)
    }

    // MARK: The session's side

    /// What INIT is to ask for.
    var options: ConnectionOptions { state.withLock { $0.options } }

    /// Notes what the kernel offers.
    func note(_ initialization: InitRequest) {
        mappedDirectIO.store(initialization.offers.contains(.mappedDirectIO), ordering: .relaxed)
    }

    func open(_ session: OpaquePointer, _ options: ConnectionOptions) {
        state.withLock { state in
            state.options = options
            unsafe precondition(state.session == nil, "a file system serves one session at a time")
            unsafe state.session = unsafe session
        }
    }

    /// Ends deferred requests and admits no more notifications.
    func revoke() {
        let pending = state.withLock { state in
            unsafe state.session = nil
            return Array(state.pending.values)
        }
        for answer in pending { _ = answer.answer { request in request.error(.connectionAbort) } }
        state.wait { $0.pending.isEmpty }
    }

    /// Waits until no notification is under way; false when one still is after `milliseconds`.
    func drain(milliseconds: Int) -> Bool {
        state.wait(milliseconds: milliseconds) { $0.users == 0 }
    }

    /// Interrupts deferred requests that no process waits for any more.
    func interruptAbandoned() {
        for answer in state.withLock({ Array($0.pending.values) }) { answer.interruptIfAbandoned() }
    }

    func register(_ answer: PendingAnswer) {
        state.withLock { $0.pending[ObjectIdentifier(answer)] = answer }
    }

    func unregister(_ answer: PendingAnswer) {
        state.update { state in
            _ = state.pending.removeValue(forKey: ObjectIdentifier(answer))
        }
    }
}

/// The waiters in poll(2) on an open file. It is kept from POLL until the event happens.
@safe
public final class PollHandle: @unchecked Sendable {
    // Unchecked: the handle never changes and is freed by `deinit` alone.
    private let raw: OpaquePointer
    private let notifier: Notifier

    init(_ raw: OpaquePointer, _ notifier: Notifier) {
        unsafe self.raw = unsafe raw
        self.notifier = notifier
    }

    deinit {
        unsafe fuse_pollhandle_destroy(raw)
    }

    /// Wakes the waiters in poll(2). The kernel then sends POLL again to get the events. Workers may call it: it does
    /// not wait.
    ///
    /// - Throws: `ENODEV` if the session has ended.
    public func notify() throws(Errno) {
        let result = unsafe notifier.withSession { _ in unsafe fuse_lowlevel_notify_poll(raw) }
        if result != 0, result != -ENOENT { throw Errno(rawValue: -result) }
    }
}
