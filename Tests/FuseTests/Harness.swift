import CLinux
import Dispatch
import Fuse
import Glibc
import LinuxSupport
import SystemPackage
import Testing

/// Whether real mounts can be made. Under CI a machine without is a failure, not a reason to skip.
let canMount: Bool = unsafe geteuid() == 0 && (access("/dev/fuse", R_OK | W_OK) == 0 || getenv("CI") != nil)

/// Runs each test of a suite over each transport that the kernel has, one after the other.
struct EachTransport: SuiteTrait, TestTrait, TestScoping {
    @TaskLocal static var current = Transport.classic

    var isRecursive: Bool { true }

    private static let all: [Transport] =
        unsafe access("/sys/module/fuse/parameters/enable_uring", W_OK) == 0 ? [.classic, .ioUring] : [.classic]

    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
    ) async throws {
        for transport in Self.all {
            try await Self.$current.withValue(transport) { try await function() }
        }
    }
}

extension Trait where Self == EachTransport {
    /// Over each transport.
    static var overEachTransport: Self { Self() }
}

/// A mounted session in a directory of its own.
final class Mount: Sendable {
    let session: Session
    let path: String

    fileprivate init(_ session: Session, _ path: String) {
        self.session = session
        self.path = path
    }

    func file(_ name: String) -> String { path + "/" + name }

    /// Unmounts as a user does, from outside the session.
    func unmount() {
        unsafe #expect(umount2(path, Int32(MNT_DETACH)) == 0)
    }
}

/// Mounts `fileSystem`, runs `body`, and leaves nothing behind. When `body` takes more than two minutes, the connection is
/// aborted, which frees whoever hangs in the mount.
func withMount(
    _ fileSystem: FileSystem, workers: Int = 2, options: MountOptions = MountOptions(), _ body: (Mount) throws -> Void
) throws {
    let directory = temporaryDirectory()
    defer { unsafe rmdir(directory) }
    var options = options
    options.transport = EachTransport.current
    let session = try Session(fileSystem: fileSystem, options: options)
    try session.mount(at: FilePath(directory))
    let finished = DispatchSemaphore(value: 0)
    let watchdog = Client {
        if finished.wait(timeout: .now() + 120) == .success { return false }
        try? session.abortConnection()
        return true
    }
    defer {
        session.close()
        finished.signal()
        #expect(watchdog.result() == false, "the mount hung and was aborted")
    }
    try session.start(workers: workers)
    #expect(session.waitUntilServing())
    #expect(session.transport == options.transport)
    try body(Mount(session, directory))
}

func temporaryDirectory() -> String {
    var template = Array("/tmp/fuse-tests-XXXXXX".utf8CString)
    return unsafe template.withUnsafeMutableBufferPointer { buffer in
        unsafe String(cString: mkdtemp(buffer.baseAddress!)!)
    }
}

/// State behind a POSIX mutex: ThreadSanitizer does not see the one of Synchronization.
@safe
final class Locked<State>: @unchecked Sendable {
    // Unchecked: `state` is only touched with `mutex` held.
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private var state: State

    init(_ state: sending State) {
        self.state = state
        unsafe pthread_mutex_init(mutex, nil)
    }

    deinit {
        unsafe pthread_mutex_destroy(mutex)
        unsafe mutex.deallocate()
    }

    func withLock<Result>(_ body: (inout State) throws -> Result) rethrows -> Result {
        unsafe pthread_mutex_lock(mutex)
        defer { unsafe pthread_mutex_unlock(mutex) }
        return try body(&state)
    }
}

/// A thread of its own that uses a mount, for what may block.
final class Client<Value: Sendable>: Sendable {
    private struct State {
        var value: Value?
        var thread: pthread_t?
    }

    private let state = Locked(State())
    private let started = DispatchSemaphore(value: 0)
    private let done = DispatchSemaphore(value: 0)

    init(_ body: @escaping @Sendable () -> Value) {
        start(body)
    }

    private func start(_ body: @escaping @Sendable () -> Value) {
        startThread { [self] in
            // Threads of Dispatch, which run the tests, block signals.
            var signals = sigset_t()
            unsafe sigemptyset(&signals)
            unsafe sigaddset(&signals, SIGUSR2)
            unsafe pthread_sigmask(SIG_UNBLOCK, &signals, nil)
            state.withLock { $0.thread = pthread_self() }
            started.signal()
            let value = body()
            state.withLock { $0.value = value }
            done.signal()
        }
        started.wait()
    }

    /// What the body returned; nil when it has not after `seconds`.
    func result(seconds: Double = 10) -> Value? {
        guard done.wait(timeout: .now() + seconds) == .success else { return nil }
        done.signal()
        return state.withLock { $0.value }
    }

    /// Sends a signal whose handler does nothing, so that a blocking call returns with EINTR.
    func interrupt() {
        var action = sigaction()
        unsafe action.__sigaction_handler.sa_handler = { _ in }
        unsafe sigaction(SIGUSR2, &action, nil)
        state.withLock { state in _ = pthread_kill(state.thread!, SIGUSR2) }
    }
}

private final class ThreadBody: Sendable {
    let run: @Sendable () -> Void
    init(_ run: @escaping @Sendable () -> Void) { self.run = run }
}

private func startThread(_ body: @escaping @Sendable () -> Void) {
    let argument = unsafe Unmanaged.passRetained(ThreadBody(body)).toOpaque()
    var thread = pthread_t()
    let error = unsafe pthread_create(
        &thread, nil,
        { argument in
            unsafe Unmanaged<ThreadBody>.fromOpaque(argument!).takeRetainedValue().run()
            return nil
        }, argument)
    precondition(error == 0)
    pthread_detach(thread)
}

/// The outcome of a C call: its value, or the errno.
typealias Outcome = Result<Int, Errno>

func outcome(_ value: Int) -> Outcome {
    value < 0 ? .failure(Errno(rawValue: errno)) : .success(value)
}

func writeFile(_ path: String, _ text: String, flags: Int32 = O_WRONLY) -> Outcome {
    let descriptor = unsafe open(path, flags, 0o644)
    guard descriptor >= 0 else { return outcome(-1) }
    defer { close(descriptor) }
    let bytes = Array(text.utf8)
    return outcome(unsafe write(descriptor, bytes, bytes.count))
}

func readFile(_ path: String) -> Result<String, Errno> {
    let descriptor = unsafe open(path, O_RDONLY)
    guard descriptor >= 0 else { return .failure(Errno(rawValue: errno)) }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: 65536)
    let count = unsafe read(descriptor, &bytes, bytes.count)
    if count < 0 { return .failure(Errno(rawValue: errno)) }
    return .success(String(decoding: bytes.prefix(count), as: UTF8.self))
}

func names(in path: String) -> [String] {
    guard let directory = unsafe opendir(path) else { return [] }
    defer { unsafe closedir(directory) }
    var names: [String] = []
    while let entry = unsafe readdir(directory) {
        // The entry is as long as its name: the structure must not be copied.
        let name = unsafe UnsafeRawPointer(entry) + MemoryLayout<dirent>.offset(of: \.d_name)!
        names.append(unsafe String(cString: name.assumingMemoryBound(to: CChar.self)))
    }
    return names
}

/// Whether `condition` becomes true within 20 seconds.
func eventually(_ condition: () -> Bool) -> Bool {
    let deadline = ContinuousClock.now + .seconds(20)
    while !condition() {
        if ContinuousClock.now > deadline { return false }
        usleep(1000)
    }
    return true
}
