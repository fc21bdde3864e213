import Glibc
import LinuxSupport
import Synchronization
import SystemPackage
import Testing

/// Calls, files, threads and locks.
@Suite("Calls") struct CallTests {
    private static func fail(_ error: Errno) -> Int {
        Glibc.errno = error.rawValue
        return -1
    }

    @Test("A result below zero is its error, and a signal that interrupts is not one")
    func results() throws {
        #expect(try SystemCall.check(3) == 3)
        #expect(throws: Errno.badFileDescriptor) { try SystemCall.check(Self.fail(.badFileDescriptor)) }
        var calls = 0
        let result = try SystemCall.retry {
            calls += 1
            return calls < 3 ? Self.fail(.interrupted) : 5
        }
        #expect(result == 5 && calls == 3)
        #expect(throws: Errno.noSpace) { try SystemCall.retry { Self.fail(.noSpace) } }
    }

    @Test("A transfer goes on where it stopped, and ends early where nothing more comes")
    func transfers() throws {
        var places: [Int] = []
        let moved = try SystemCall.transfer(10) { done in
            places.append(done)
            return places.count == 2 ? Self.fail(.interrupted) : min(4, 10 - done)
        }
        #expect(moved == 10 && places == [0, 4, 4, 8])
        #expect(try SystemCall.transfer(10) { $0 < 4 ? 4 : 0 } == 4)
        #expect(try SystemCall.transfer(0) { _ in 1 } == 0)
    }

    @Test("A whole file, its beginning, and one that is not there")
    func files() throws {
        var template = Array("/tmp/linuxsupport-XXXXXX".utf8CString)
        let file = FileDescriptor(rawValue: unsafe mkstemp(&template))
        let path = FilePath(String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self))
        defer {
            try? file.close()
            unsafe unlink(path.string)
        }
        let bytes = (0..<200_000).map { UInt8(truncatingIfNeeded: $0 / 7) }
        _ = try file.writeAll(bytes)
        #expect(try SmallFile.read(path) == bytes)
        for limit in [0, 1, 4095, 4096, 4097, 199_999, 200_000, 200_001] {
            #expect(try SmallFile.read(path, limit: limit) == Array(bytes.prefix(limit)))
        }
        try SmallFile.write("ab", to: path)
        #expect(try SmallFile.text(path).utf8.prefix(3).elementsEqual([0x61, 0x62, 0]))
        #expect(throws: Errno.noSuchFileOrDirectory) { try SmallFile.read("/nowhere/at/all") }
        #expect(throws: Errno.noSuchFileOrDirectory) { try SmallFile.write("", to: "/nowhere/at/all") }
        #expect(try FileIdentity(cached: path.string) != FileIdentity(cached: "/proc"))
    }

    @Test("The names in a directory, and the numbers among them")
    func names() {
        #expect(DirectoryListing.names(in: "/proc/self/task")?.contains("\(getpid())") == true)
        #expect(DirectoryListing.names(in: "/proc/self/ns")?.contains("..") == false)
        #expect(DirectoryListing.numbers(in: "/proc/self/task")?.contains(getpid()) == true)
        #expect(DirectoryListing.numbers(in: "/proc/self/ns")?.isEmpty == true)
        #expect(DirectoryListing.numbers(in: "/nowhere") == nil && DirectoryListing.names(in: "/nowhere") == nil)
    }

    @Test("A thread runs with every signal blocked, and can be waited for")
    func threads() throws {
        let mask = TracedMutex<Bool?>(nil)
        let sum = TracedMutex(0)
        try SystemThread {
            var set = sigset_t()
            unsafe pthread_sigmask(SIG_SETMASK, nil, &set)
            let isBlocked = unsafe sigismember(&set, SIGTERM) == 1
            mask.withLock { $0 = isBlocked }
        }.join()
        #expect(mask.withLock { $0 } == true)
        let threads = try (1...4).map { number in
            try SystemThread { for _ in 0..<1000 { sum.withLock { $0 += number } } }
        }
        for thread in threads { thread.join() }
        #expect(sum.withLock { $0 } == 10_000)
    }

    @Test("Who waits for a state is woken by its change, or by the time")
    func monitor() throws {
        let turns = Monitor(0)
        let thread = try SystemThread {
            for turn in 0..<100 {
                turns.wait { $0 == 2 * turn + 1 }
                turns.update { $0 += 1 }
            }
        }
        for turn in 0..<100 {
            turns.update { $0 += 1 }
            turns.wait { $0 == 2 * turn + 2 }
        }
        thread.join()
        #expect(!turns.wait(milliseconds: 1) { $0 == 0 } && turns.wait(milliseconds: 1000) { $0 == 200 })
    }

    @Test("Jobs run at once, as many as there are")
    func jobs() {
        let threads = JobThreads()
        let arrived = Monitor(0)
        for index in 0..<8 {
            threads.run(isShort: index % 2 == 0) {
                arrived.update { $0 += 1 }
                arrived.wait { $0 == 8 }
            }
        }
        #expect(arrived.wait(milliseconds: 10_000) { $0 == 8 })
    }
}
