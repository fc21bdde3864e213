import CoherentMemory
import Dispatch
import Glibc
import LinuxSupport
import SystemPackage
import Testing

@testable import CoherentTree

/// Reads of processes that may not let themselves be read.
@Suite("Process inspector") struct ProcessInspectorTests {
    private let inspector = ProcessInspector()
    private let timeout = DispatchTimeInterval.milliseconds(20)

    private func task(_ id: Int32) -> TaskIdentity { TaskIdentity(id: id, startTime: 1) }

    private func read(
        _ id: Int32, of user: UInt32 = 1, _ body: @escaping @Sendable () -> Result<Int, Errno> = { .success(7) }
    ) -> Result<Int, Errno> {
        Result { () throws(Errno) in
            try inspector.read(task(id), of: { user }, timeout: timeout) { _ in body() }
        }
    }

    @Test("Who does not answer is not asked again before it has, and others are")
    func stuck() {
        let locked = DispatchSemaphore(value: 0)
        #expect(read(1) == .success(7))
        #expect(read(1) { .failure(.noSuchProcess) } == .failure(.noSuchProcess))
        #expect(
            read(1) {
                locked.wait()
                return .success(0)
            } == .failure(.timedOut))
        #expect(
            read(1) {
                Issue.record("asked again")
                return .success(0)
            } == .failure(.timedOut))
        #expect(read(2) == .success(7))
        locked.signal()
        while read(1) != .success(7) {}
    }

    @Test("A user keeps only so many threads waiting")
    func share() {
        let locked = DispatchSemaphore(value: 0)
        for id in Int32(1)...3 {
            #expect(
                read(id) {
                    locked.wait()
                    return .success(0)
                } == .failure(.timedOut))
        }
        #expect(
            read(4) {
                Issue.record("one too many")
                return .success(0)
            } == .failure(.timedOut))
        #expect(read(5, of: 2) == .success(7) && read(6, of: 0) == .success(7))
        for _ in 1...3 { locked.signal() }
        while read(4) != .success(7) {}
    }

    @Test("One that goes on is waited for, however long it takes")
    func slow() throws {
        let count = try inspector.read(task(1), of: { 1 }, timeout: .milliseconds(200)) { progress in
            for _ in 0..<6 {
                usleep(60_000)
                progress.step()
            }
            return .success(6)
        }
        #expect(count == 6)
    }
}

/// The tasks of the host.
@Suite("Tasks of the host") struct ProcTasksTests {
    /// A thread that does nothing until it is to end.
    private final class IdleThread: Sendable {
        private let end = DispatchSemaphore(value: 0)
        private let thread: SystemThread
        let id: Int32

        init() throws {
            let (end, begin) = (end, DispatchSemaphore(value: 0))
            let number = TracedMutex<Int32>(0)
            thread = try SystemThread {
                let text = try? SmallFile.text("/proc/thread-self/stat")
                number.withLock { $0 = text?.split(separator: " ").first.flatMap { Int32($0) } ?? 0 }
                begin.signal()
                end.wait()
            }
            begin.wait()
            id = number.withLock { $0 }
        }

        func join() {
            end.signal()
            thread.join()
        }
    }

    @Test(
        "A thread that was made just before a change of policy keeps what was so, and one made just after it has the new one"
    )
    func changes() throws {
        let machine = try Scene().machine
        machine.setTaskDirectory(ProcTasks())
        let policies = try (0...2).map {
            try MemoryPolicy(parsing: "prefer:\($0)", available: machine.nodesWithMemory)
        }
        for round in 0..<60 {
            try machine.setPolicy(policies[round % 3], ofTask: getpid())
            let before = try IdleThread()
            try machine.setPolicy(policies[(round + 1) % 3], ofTask: getpid())
            let after = try IdleThread()
            defer { [before, after].forEach { $0.join() } }
            #expect(try machine.policy(ofTask: before.id).nodes == policies[round % 3].nodes)
            #expect(try machine.policy(ofTask: after.id).nodes == policies[(round + 1) % 3].nodes)
        }
    }
}
