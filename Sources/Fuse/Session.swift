internal import CFuse3
import CLinux
import Glibc
import LinuxSupport
import Logging
import SystemPackage

/// A mount and the threads that serve it.
///
/// Call in this order: `init`, `mount(at:)` or `adopt(_:of:at:)`, `start(workers:)`, `waitUntilServing()`; then
/// `wait()`, or `stop()` from another thread, and `close()`. None of them may be called on a worker, that is from a
/// method of the `FileSystem`.
///
/// The process must not map files of its own mount: munmap(2) writes dirty pages back with the address space locked,
/// and the workers need the address space for that very WRITE.
@safe
public final class Session: @unchecked Sendable {
    // Unchecked: `raw` is set once and valid until the phase is `destroying`; what changes is behind `state`.
    private enum Phase { case open, closing, destroying, closed }

    private struct State {
        var phase = Phase.open
        var mountPoint: FilePath?
        var device: DeviceNumber?
        var rings: RingSet?
        var uringSwitch: UringSwitch?
    }

    /// The file system that is served.
    public let fileSystem: FileSystem
    private let raw: OpaquePointer
    private let pool: WorkerPool
    private let logger: Logger
    private let wanted: Transport
    private let payload: Int
    private let watch: AbandonmentWatch
    private let state = Monitor(State())

    /// A session without a mount.
    ///
    /// - Throws: a `MountError` if an option is unknown, or a resource is exhausted.
    public init(
        fileSystem: FileSystem, options: MountOptions = MountOptions(), logger: Logger = Logger(label: "cdmfs.fuse")
    ) throws(MountError) {
        self.fileSystem = fileSystem
        self.logger = logger
        wanted = options.transport
        payload = max(1 << 20, options.connection.maxWrite)
        do throws(Errno) { pool = try WorkerPool() } catch { throw MountError(error, "eventfd: \(error)") }
        watch = AbandonmentWatch(fileSystem.notifier)
        Log.install(logger)
        _ = Log.takeLastError()

        var arguments = unsafe fuse_args()
        for argument in options.arguments { unsafe fuse_opt_add_arg(&arguments, argument) }
        var operations = makeOperations(readdirplus: fileSystem.implementsReaddirplus)
        let session = unsafe cfuse3_session_new(
            &arguments, &operations, Unmanaged.passUnretained(fileSystem).toOpaque())
        unsafe fuse_opt_free_args(&arguments)
        guard let session = unsafe session else {
            throw MountError(.invalidArgument, options.rejection)
        }
        unsafe raw = unsafe session
        unsafe fileSystem.notifier.open(session, options.connection)
    }

    deinit {
        close()
    }

    /// Notifications from the daemon to the kernel.
    public var notifier: Notifier { fileSystem.notifier }

    /// The mount point, without links; nil before `mount(at:)`.
    public var mountPoint: FilePath? { state.withLock { $0.mountPoint } }

    /// The mount's device number; nil before `mount(at:)`.
    public var device: DeviceNumber? { state.withLock { $0.device } }

    /// Readable after the last worker has exited, because of `stop()` or because the mount is gone. For poll(2)
    /// together with other descriptors. It belongs to the session.
    public var endEvent: FileDescriptor { pool.endEvent }

    /// Mounts on an existing directory. Accesses wait until `start(workers:)`.
    ///
    /// - Throws: a `MountError` whose line names the mount point and the reason.
    public func mount(at path: FilePath) throws(MountError) {
        precondition(state.withLock { $0.phase == .open && $0.mountPoint == nil }, "a session is mounted once")
        let directory = try Self.resolve(path)
        try attach(directory.string, as: path, at: directory) { MountInfo.uppermost(at: directory)?.device }
    }

    /// Serves a mount that another process has made with `device`, an open `/dev/fuse`, perhaps in a mount namespace of
    /// its own. Replaces `mount(at:)`. The session takes ownership of the descriptor.
    ///
    /// The mount ends with the last namespace that has it; ``detach()`` does not reach it.
    ///
    /// - Parameters:
    ///   - device: the descriptor with which the mount was made.
    ///   - number: the device number of the mount.
    ///   - path: a path of the mount in this process's namespace, such as one below `/proc/PID/root`.
    /// - Throws: a `MountError`: `EBADF` if the descriptor is not open.
    public func adopt(_ device: FileDescriptor, of number: DeviceNumber, at path: FilePath) throws(MountError) {
        precondition(state.withLock { $0.phase == .open && $0.mountPoint == nil }, "a session is mounted once")
        try attach("/dev/fd/\(device.rawValue)", as: path, at: path) { number }
    }

    /// Has libfuse mount on `target`, or take the descriptor that `target` names, and prepares the rings.
    private func attach(
        _ target: String, as path: FilePath, at directory: FilePath, device: () -> DeviceNumber?
    ) throws(MountError) {
        let uringSwitch = try turnOnRings()
        _ = Log.takeLastError()
        Glibc.errno = 0
        guard unsafe fuse_session_mount(raw, target) == 0 else {
            let errno = Glibc.errno == 0 ? nil : Errno(rawValue: Glibc.errno)
            throw MountError(errno, "\(path): \(Log.takeLastError() ?? "mount failed")")
        }
        state.withLock { state in
            state.mountPoint = directory
            state.device = device()
            state.uringSwitch = uringSwitch
        }
        do throws(Errno) {
            if uringSwitch != nil { try makeRings() }
        } catch {
            if wanted == .ioUring { throw MountError(error, "transport=io_uring: \(error)") }
            logger.debug("FUSE over io_uring is not available: \(error)")
        }
        // Without it writes only take longer.
        if fileSystem.rings == nil { _ = unsafe cfuse3_session_complete_init(raw) }
    }

    /// The switch turned on, if this session is to use rings; nil if not.
    private func turnOnRings() throws(MountError) -> UringSwitch? {
        if wanted == .classic { return nil }
        do throws(Errno) {
            let uringSwitch = try UringSwitch()
            if uringSwitch.wasTurnedOn {
                logger.info(
                    "\(UringSwitch.path) is Y until this mount answers; it applies to all FUSE mounts of the host")
            }
            return uringSwitch
        } catch {
            if wanted == .ioUring {
                let reason = error == .noSuchFileOrDirectory ? "the kernel has no FUSE over io_uring" : "\(error)"
                throw MountError(error, "transport=io_uring: \(UringSwitch.path): \(reason)")
            }
            logger.debug("FUSE over io_uring is not available: \(UringSwitch.path): \(error)")
            return nil
        }
    }

    private func makeRings() throws(Errno) {
        let device = unsafe fuse_session_fd(raw)
        let rings = try unsafe RingSet(
            device: device, options: RingOptions(payload: payload), zeros: fileSystem.zeros)
        var hooks = fuse_custom_io()
        unsafe hooks.writev = { device, vectors, count, userdata in
            let buffers = unsafe UnsafeMutableBufferPointer(start: vectors, count: Int(count))
            return unsafe Unmanaged<FileSystem>.fromOpaque(userdata!)._withUnsafeGuaranteedRef { system in
                unsafe system.rings!.answer(device, buffers)
            }
        }
        unsafe hooks.read = { device, bytes, size, _ in unsafe read(device, bytes, size) }
        let error = unsafe fuse_session_custom_io(raw, &hooks, device)
        guard error == 0 else { throw Errno(rawValue: -error) }
        state.withLock { $0.rings = rings }
        fileSystem.rings = UnretainedRings(rings)
    }

    private static func resolve(_ path: FilePath) throws(MountError) -> FilePath {
        guard let resolved = unsafe realpath(path.string, nil) else {
            let error = Errno.last
            if error == .socketNotConnected {
                throw MountError(error, "\(path): the daemon of a mount here has exited; unmount it first")
            }
            throw MountError(error, "\(path): \(error)")
        }
        defer { unsafe free(resolved) }
        let directory = unsafe FilePath(platformString: resolved)
        var status = Glibc.stat()
        guard unsafe stat(resolved, &status) == 0 else {
            let error = Errno.last
            if error == .socketNotConnected {
                throw MountError(error, "\(path): the daemon of a mount here has exited; unmount it first")
            }
            throw MountError(error, "\(path): \(error)")
        }
        guard FileType(rawValue: status.st_mode) == .directory else {
            throw MountError(.notDirectory, "\(path): \(Errno.notDirectory)")
        }
        return directory
    }

    /// Starts `workers` threads (at least 1) that serve requests until the mount is gone or `stop()`. All signals are
    /// blocked on them.
    ///
    /// - Throws: errors of pthread_create(3); then no worker runs.
    public func start(workers: Int) throws(Errno) {
        precondition(state.withLock { $0.phase == .open && $0.mountPoint != nil }, "mount before start")
        var plan = unsafe WorkerPool.Plan(workers: workers, session: raw)
        (plan.rings, plan.requiresRings) = (state.withLock { $0.rings }, wanted == .ioUring)
        plan.onInit = { [notifier] in notifier.note($0) }
        plan.onInitialized = { [weak self] in
            self?.state.withLock { $0.uringSwitch?.release() }
        }
        plan.onBrokenRing = { [weak self] error in
            self?.logger.critical(
                "an io_uring ring is broken: \(error); the mount ends; mount again, or with transport=classic")
            _ = self?.abortByControlFile()
        }
        try pool.start(plan)
        watch.start()
    }

    /// How requests and answers are transferred; valid after `waitUntilServing()` has returned.
    public var transport: Transport { pool.usesRings ? .ioUring : .classic }

    /// The kernel's reason to refuse FUSE over io_uring, if it was requested and refused.
    public var ringFailure: Errno? { pool.ringFailure }

    /// Waits until the kernel has accepted the answer to INIT, so that the mount answers.
    ///
    /// - Returns: false if the mount ended before, or with `Transport.ioUring` if the kernel refuses it.
    public func waitUntilServing() -> Bool {
        pool.waitUntilServing()
    }

    /// Waits until all workers have exited.
    public func wait() {
        pool.wait()
    }

    /// Ends all workers and waits for them; requests in progress are completed, later ones wait for `close()`.
    public func stop() {
        let isOpen = state.withLock { state in
            let isOpen = state.phase == .open || state.phase == .closing
            if isOpen {
                pool.prepareToStop()
                unsafe fuse_session_exit(raw)
                state.rings?.stop()
            }
            return isOpen
        }
        if isOpen { pool.stop() }
    }

    /// Detaches the mount (`umount2` with `MNT_DETACH`): it disappears at once, and the workers exit after its last
    /// user. For an orderly end while the session serves.
    ///
    /// - Throws: `EINVAL` if it is not mounted any more, `EPERM` without the privilege.
    public func detach() throws(Errno) {
        guard let path = uppermost() else { throw .invalidArgument }
        if unsafe umount2(path.string, Int32(MNT_DETACH | UMOUNT_NOFOLLOW)) != 0 { throw Errno.last }
    }

    /// Ends the connection (`umount2` with `MNT_FORCE`): pending requests in the mount get `ECONNABORTED`, every later
    /// use `ENOTCONN`, and the workers exit; a mount that is not in use is unmounted as well. The last resort against a
    /// mount that hangs.
    ///
    /// - Throws: `EINVAL` if it is not mounted any more and the connection cannot be found, `EPERM` without the
    ///   privilege.
    public func abortConnection() throws(Errno) {
        if let path = uppermost() {
            // Busy: nothing was unmounted, but the connection ended first.
            if unsafe umount2(path.string, Int32(MNT_FORCE | UMOUNT_NOFOLLOW)) == 0 { return }
            let error = Errno.last
            if error == .resourceBusy { return }
            if !abortByControlFile() { throw error }
        } else if !abortByControlFile() {
            throw .invalidArgument
        }
    }

    private func abortByControlFile() -> Bool {
        // The number of a connection that is gone is soon another mount's.
        guard let device, !pool.isConnectionGone else { return false }
        do throws(Errno) {
            try SmallFile.write("1", to: FilePath("/sys/fs/fuse/connections/\(device.minor)/abort"))
            return true
        } catch {
            return false
        }
    }

    /// The mount point while the uppermost mount there is this one.
    private func uppermost() -> FilePath? {
        guard let path = mountPoint, let device, MountInfo.uppermost(at: path)?.device == device else { return nil }
        return path
    }

    /// Ends the session: workers, deferred requests (`ECONNABORTED`), notifications, the mount, in this order. A second
    /// call waits for the first and does nothing.
    public func close() {
        let isFirst = state.withLock { state in
            defer { if state.phase == .open { state.phase = .closing } }
            return state.phase == .open
        }
        guard isFirst else {
            state.wait { $0.phase == .closed }
            return
        }
        stop()
        watch.stop()
        notifier.revoke()
        if mountPoint != nil {
            // First the connection: a notification that waits for a page lets go of the device only then.
            do throws(Errno) { try abortConnection() } catch { logger.debug("\(mountPoint!): abort: \(error)") }
            do throws(Errno) { try detach() } catch { logger.debug("\(mountPoint!): unmount: \(error)") }
        }
        while !notifier.drain(milliseconds: 1000) {
            logger.warning("a notification to the kernel does not return; waiting for it")
        }
        releaseDevice()
        state.withLock { $0.phase = .destroying }
        unsafe fuse_session_destroy(raw)
        fileSystem.rings = nil
        state.withLock { state in
            state.uringSwitch?.release()
            state.rings = nil
        }
        state.update { $0.phase = .closed }
    }

    /// Closes `/dev/fuse`, which ends the connection if nothing else has.
    private func releaseDevice() {
        guard let path = mountPoint else { return }
        if MountInfo.uppermost(at: path)?.device == nil || uppermost() != nil {
            unsafe fuse_session_unmount(raw)
            return
        }
        // libfuse would unmount whatever is uppermost, which is another mount. It lets that be when poll(2) says POLLERR,
        // as it does of a connection that has ended, and of a pipe without a reader.
        var pipe: [Int32] = [-1, -1]
        guard unsafe pipe2(&pipe, O_CLOEXEC) == 0 else { return }
        Glibc.close(pipe[0])
        unsafe dup3(pipe[1], fuse_session_fd(raw), O_CLOEXEC)
        Glibc.close(pipe[1])
        unsafe fuse_session_unmount(raw)
    }
}

extension MountOptions {
    /// The line for options that libfuse refuses: it prints them in several messages.
    fileprivate var rejection: String {
        let reason = Log.takeLastError() ?? "libfuse rejects the mount options"
        return others.isEmpty ? reason : "unknown mount option among \(others.joined(separator: ","))"
    }
}
