import CLinux
import Fuse
import Glibc
import LinuxSupport
import SystemPackage
import Testing

@Suite(
    .serialized, .enabled(if: canMount, "real mounts need root and /dev/fuse"), .overEachTransport,
    .timeLimit(.minutes(2)))
struct SessionTests {
    private func hasEnded(_ session: Session, milliseconds: Int32) -> Bool {
        var poll = pollfd(fd: session.endEvent.rawValue, events: Int16(POLLIN), revents: 0)
        return unsafe Glibc.poll(&poll, 1, milliseconds) == 1
    }

    @Test func stopAndCloseFreeBlockedClients() throws {
        let system = MemoryFileSystem(files: [("slow", .slow)])
        try withMount(system, workers: 4) { mount in
            let clients = (0..<3).map { _ in Client { writeFile(mount.file("slow"), "work") } }
            // The kernel lets one writer of a file through at a time.
            let request = try #require(system.nextDeferred())
            #expect(!hasEnded(mount.session, milliseconds: 0))
            mount.session.stop()
            #expect(hasEnded(mount.session, milliseconds: 0))
            mount.session.close()
            for client in clients {
                let result = try #require(client.result())
                // The last one is the kernel's for a request that is on its way to a ring that ends.
                let ends: [Errno] = [.connectionAbort, .socketNotConnected, .canceled]
                #expect(ends.contains { result == .failure($0) }, "\(result)")
            }
            #expect(request.answer { $0.written(4) } == nil)
            #expect(names(in: mount.path).isEmpty == false, "the mount point is an ordinary directory again")
        }
    }

    @Test func stopEndsIdleWorkers() throws {
        for _ in 0..<20 {
            try withMount(MemoryFileSystem(), workers: 4) { mount in
                let waiter = Client { mount.session.wait() }
                mount.session.stop()
                mount.session.stop()
                #expect(waiter.result() != nil)
            }
        }
    }

    @Test func anExternalUnmountEndsTheWorkers() throws {
        try withMount(MemoryFileSystem(files: [("a", .plain)]), workers: 3) { mount in
            mount.unmount()
            #expect(hasEnded(mount.session, milliseconds: 10000))
            mount.session.wait()
        }
    }

    @Test func aLazyUnmountEndsTheWorkersWithTheLastUser() throws {
        let system = MemoryFileSystem(files: [("a", .plain)])
        try withMount(system) { mount in
            let descriptor = unsafe open(mount.file("a"), O_RDWR)
            try mount.session.detach()
            #expect(readFile(mount.file("a")) == .failure(.noSuchFileOrDirectory))
            #expect(unsafe write(descriptor, "x", 1) == 1)
            #expect(!hasEnded(mount.session, milliseconds: 0))
            #expect(close(descriptor) == 0)
            #expect(hasEnded(mount.session, milliseconds: 10000))
        }
    }

    @Test func closingALazilyUnmountedSessionEndsIt() throws {
        let system = MemoryFileSystem(files: [("a", .plain)])
        try withMount(system) { mount in
            let descriptor = unsafe open(mount.file("a"), O_RDWR)
            defer { close(descriptor) }
            mount.unmount()
            mount.session.close()
            #expect(unsafe outcome(write(descriptor, "x", 1)) == .failure(.socketNotConnected))
        }
    }

    @Test func anotherMountOnTopIsLeftAlone() throws {
        try withMount(MemoryFileSystem()) { mount in
            #expect(unsafe Glibc.mount("none", mount.path, "tmpfs", 0, nil) == 0)
            mount.session.close()
            #expect(writeFile(mount.file("mine"), "x", flags: O_CREAT | O_WRONLY) == .success(1))
            unsafe #expect(umount2(mount.path, 0) == 0)
            unsafe umount2(mount.path, Int32(MNT_DETACH))
        }
    }

    @Test func mountErrorsAreOneLine() throws {
        let directory = temporaryDirectory()
        defer { unsafe rmdir(directory) }
        let file = directory + "/file"
        #expect(writeFile(file, "x", flags: O_CREAT | O_WRONLY) == .success(1))
        defer { unsafe unlink(file) }
        let expected: [(String, Errno)] = [
            (directory + "/missing", .noSuchFileOrDirectory), (file, .notDirectory), (file + "/below", .notDirectory),
            ("", .noSuchFileOrDirectory), (String(repeating: "x", count: 5000), .fileNameTooLong),
        ]
        for (path, errno) in expected {
            let session = try Session(fileSystem: MemoryFileSystem())
            let error = #expect(throws: MountError.self) { try session.mount(at: FilePath(path)) }
            #expect(error?.errno == errno, "\(path.prefix(60))")
            #expect(error?.reason.contains("\n") == false)
            session.close()
        }
        var options = MountOptions()
        options.others = ["frobnicate=7"]
        let error = #expect(throws: MountError.self) { try Session(fileSystem: MemoryFileSystem(), options: options) }
        #expect(error?.reason.contains("frobnicate=7") == true)
    }

    @Test func aDeadMountInTheWayIsNamed() throws {
        try withMount(MemoryFileSystem(files: [("a", .plain)])) { mount in
            // Busy: it cannot be unmounted, only cut off.
            let descriptor = unsafe open(mount.file("a"), O_RDWR)
            defer { close(descriptor) }
            try mount.session.abortConnection()
            mount.session.wait()
            let session = try Session(fileSystem: MemoryFileSystem())
            let error = #expect(throws: MountError.self) { try session.mount(at: FilePath(mount.path)) }
            #expect(error?.errno == .socketNotConnected)
        }
    }

    @Test func aFailedMountCanBeTriedAgain() throws {
        let directory = temporaryDirectory()
        defer { unsafe rmdir(directory) }
        let session = try Session(fileSystem: MemoryFileSystem())
        #expect(throws: MountError.self) { try session.mount(at: FilePath(directory + "/missing")) }
        try session.mount(at: FilePath(directory))
        try session.start(workers: 1)
        #expect(session.waitUntilServing())
        session.close()
        session.close()
    }

    @Test func theSwitchOfTheHostIsPutBack() throws {
        let file = "/sys/module/fuse/parameters/enable_uring"
        guard EachTransport.current == .ioUring, readFile(file) == .success("N\n") else { return }
        try withMount(MemoryFileSystem()) { _ in
            #expect(readFile(file) == .success("N\n"))
        }
    }

    @Test func whoIsMovedToAndFroIsKeptInPlace() throws {
        let cpus = allowedCPUs()
        guard EachTransport.current == .ioUring, cpus.count > 1, clinux_may_be_idle() == 1 else { return }
        try withMount(MemoryFileSystem(files: [("a", .plain)])) { mount in
            let client = Client {
                // Asks here and there, as one does whom the scheduler moves to idle CPUs.
                for _ in 0..<1000 {
                    for cpu in [cpus[0], cpus[1], cpus[0], cpus[1]] {
                        _ = clinux_stay_on_cpu(cpu)
                        _ = readFile(mount.file("a"))
                    }
                    if idleThreads > 0 { return true }
                }
                return false
            }
            #expect(client.result(seconds: 20) == true, "no ring makes way")
            // It has to be seen anew, or else the ring is for its CPU like everybody.
            let end = ContinuousClock.now + .seconds(10)
            while idleThreads > 0, ContinuousClock.now < end { sched_yield() }
            #expect(idleThreads == 0)
            #expect(readFile(mount.file("a")) == .success(""))
        }
    }

    private func allowedCPUs() -> [Int32] {
        var cpus = [Int32](repeating: 0, count: 8192)
        let count = unsafe clinux_allowed_cpus(&cpus, Int32(cpus.count))
        return Array(cpus.prefix(max(0, Int(count))))
    }

    /// Threads of this process that are of SCHED_IDLE.
    private var idleThreads: Int {
        names(in: "/proc/self/task").count { name in
            // Field 41 of stat; the third is the first behind the name in brackets.
            guard case .success(let text) = readFile("/proc/self/task/\(name)/stat"),
                let fields = text.split(separator: ")").last?.split(separator: " "), fields.count > 38
            else { return false }
            return fields[38] == "5"
        }
    }

    @Test func nothingIsLeftOpen() throws {
        func descriptors() -> Int { names(in: "/proc/self/fd").count }
        try withMount(MemoryFileSystem()) { _ in }
        let before = descriptors()
        for _ in 0..<5 { try withMount(MemoryFileSystem()) { _ in } }
        #expect(descriptors() == before)
    }
}
