import CLinux
import Dispatch
import Fuse
import Glibc
import LinuxSupport
import SystemPackage
import Testing

@Suite(
    .serialized, .enabled(if: canMount, "real mounts need root and /dev/fuse"), .overEachTransport,
    .timeLimit(.minutes(2)))
struct DeferredTests {
    @Test func anotherThreadAnswersOnce() throws {
        let system = MemoryFileSystem(files: [("slow", .slow)])
        try withMount(system, workers: 1) { mount in
            let client = Client { writeFile(mount.file("slow"), "work") }
            let request = try #require(system.nextDeferred())
            // The only worker is free meanwhile.
            #expect(names(in: mount.path).count == 3)
            #expect(request.caller.uid == 0 && request.caller.pid != 0)
            #expect(request.answer { $0.written(4) } == true)
            #expect(request.answer { $0.written(3) } == nil)
            #expect(!request.error(.ioError))
            #expect(client.result() == .success(4))
        }
    }

    @Test func manyWhoWaitKeepNobodyElseWaiting() throws {
        // More than a ring offers the kernel to begin with.
        let files = (0..<60).map { (FileName("slow \($0)"), MemoryFileSystem.Kind.slow) }
        let system = MemoryFileSystem(files: files)
        try withMount(system, workers: 1) { mount in
            let clients = (0..<60).map { index in Client { writeFile(mount.file("slow \(index)"), "work") } }
            let requests = try clients.map { _ in try #require(system.nextDeferred()) }
            #expect(names(in: mount.path).count == 62)
            #expect(writeFile(mount.file("quick"), "1", flags: O_CREAT | O_WRONLY) == .success(1))
            for request in requests { #expect(request.answer { $0.written(4) } == true) }
            for client in clients { #expect(client.result() == .success(4)) }
        }
    }

    @Test func thoseWhoWaitBehindDeferredRequestsAreServed() throws {
        // A ring takes up what came while all its entries were taken only when one of them is committed, and all of them are held.
        let count = 20
        let files = (0..<count).map { (FileName("slow \($0)"), MemoryFileSystem.Kind.slow) }
        let system = MemoryFileSystem(files: files)
        try withMount(system, workers: 1) { mount in
            // Not everybody has it at /sys/fs/fuse/connections.
            let control = temporaryDirectory()
            try #require(unsafe Glibc.mount("fusectl", control, "fusectl", 0, nil) == 0)
            defer {
                unsafe umount2(control, Int32(MNT_DETACH))
                unsafe rmdir(control)
            }
            let waiting = control + "/\(try #require(mount.session.device).minor)/waiting"
            let opened = (0..<count).map { unsafe open(mount.file("slow \($0)"), O_WRONLY) }
            defer { for file in opened { close(file) } }
            let clients = system.state.withLock { _ in
                // No handler gets on meanwhile. Each CPU has a queue of its own.
                let clients = opened.map { file in
                    Client {
                        _ = clinux_stay_on_cpu(0)
                        return outcome(unsafe write(file, "work", 4))
                    }
                }
                #expect(eventually { (try? readFile(waiting).get()) == "\(count)\n" })
                return clients
            }
            let requests = try clients.map { _ in try #require(system.nextDeferred()) }
            #expect(names(in: mount.path).count == count + 2)
            for request in requests { #expect(request.answer { $0.written(4) } == true) }
            for client in clients { #expect(client.result() == .success(4)) }
        }
    }

    @Test func onesLastReferenceIsEIO() throws {
        let system = MemoryFileSystem(files: [("slow", .slow)])
        try withMount(system) { mount in
            let client = Client { writeFile(mount.file("slow"), "work") }
            _ = try #require(system.nextDeferred())
            #expect(client.result() == .failure(.ioError))
        }
    }

    @Test func anInterruptCancels() throws {
        let system = MemoryFileSystem(files: [("slow", .slow)])
        try withMount(system) { mount in
            let client = Client { writeFile(mount.file("slow"), "work") }
            let request = try #require(system.nextDeferred())
            // From within the handler: the way a job that is simply cancelled answers.
            request.onInterrupt { request.error(.interrupted) }
            client.interrupt()
            #expect(client.result() == .failure(.interrupted))
            #expect(request.isInterrupted)
        }
    }

    @Test func anInterruptTellsTheJob() throws {
        let system = MemoryFileSystem(files: [("slow", .slow)])
        try withMount(system) { mount in
            let client = Client { writeFile(mount.file("slow"), "work") }
            let request = try #require(system.nextDeferred())
            let interrupted = DispatchSemaphore(value: 0)
            request.onInterrupt { interrupted.signal() }
            client.interrupt()
            #expect(interrupted.wait(timeout: .now() + 10) == .success)
            // Late: called at once, on this thread.
            let late = DispatchSemaphore(value: 0)
            request.onInterrupt { late.signal() }
            #expect(late.wait(timeout: .now()) == .success)
            #expect(request.answer { $0.error(.interrupted) } == true)
            #expect(client.result() == .failure(.interrupted))
        }
    }

    @Test func interruptsAndAnswersRace() throws {
        let system = MemoryFileSystem(files: [("slow", .slow)])
        try withMount(system) { mount in
            for round in 0..<300 {
                let client = Client { writeFile(mount.file("slow"), "work") }
                let request = try #require(system.nextDeferred())
                if round % 3 != 0 { request.onInterrupt { request.error(.interrupted) } }
                let other = Client { client.interrupt() }
                request.answer { $0.written(4) }
                #expect(other.result() != nil)
                let result = try #require(client.result())
                #expect(result == .success(4) || result == .failure(.interrupted))
            }
        }
    }

    @Test func anUndeliveredCreationIsKnown() throws {
        let system = MemoryFileSystem()
        system.state.withLock { $0.defersCreation = true }
        try withMount(system) { mount in
            let client = Client { writeFile(mount.file("new"), "x", flags: O_CREAT | O_WRONLY) }
            let request = try #require(system.nextDeferred())
            let entry = system.state.withLock { $0.entry(2) }
            try mount.session.abortConnection()
            #expect(client.result() == .failure(.connectionAbort))
            #expect(request.answer { $0.created(entry, OpenReply()) } == false)
        }
    }

    @Test func pollIsWoken() throws {
        let system = MemoryFileSystem(files: [("event", .event)])
        try withMount(system) { mount in
            let client = Client { () -> Int16 in
                let descriptor = unsafe open(mount.file("event"), O_RDONLY)
                defer { close(descriptor) }
                var poll = pollfd(fd: descriptor, events: Int16(POLLPRI), revents: 0)
                return unsafe Glibc.poll(&poll, 1, 15000) == 1 ? poll.revents : 0
            }
            #expect(system.arrived.wait(timeout: .now() + 10) == .success)
            let handle = try #require(
                system.state.withLock { state in
                    state.nodes[2]!.bytes = [1]
                    return state.pollHandles.last
                })
            try handle.notify()
            #expect(client.result() == Int16(POLLPRI | POLLERR))
        }
        // After the session: known, and harmless.
        let handle = try #require(system.state.withLock { $0.pollHandles.last })
        #expect(throws: Errno.operationNotSupportedByDevice) { try handle.notify() }
    }
}
