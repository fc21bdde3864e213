import Fuse
import Glibc
import LinuxSupport
import SystemPackage
import Testing

@Suite(
    .serialized, .enabled(if: canMount, "real mounts need root and /dev/fuse"), .overEachTransport,
    .timeLimit(.minutes(2)))
struct NotifierTests {
    @Test func anInvalidatedPageIsReadAgain() throws {
        let system = MemoryFileSystem(files: [("a", .plain)])
        system.state.withLock { $0.nodes[2]!.bytes = Array("old".utf8) }
        try withMount(system) { mount in
            #expect(readFile(mount.file("a")) == .success("old"))
            system.state.withLock { $0.nodes[2]!.bytes = Array("new".utf8) }
            #expect(readFile(mount.file("a")) == .success("old"))
            let reads = system.state.withLock { $0.reads }
            try #expect(mount.session.notifier.invalidate(2) == true)
            #expect(readFile(mount.file("a")) == .success("new"))
            #expect(system.state.withLock { $0.reads } == reads + 1)
            // An inode that the kernel never saw.
            try #expect(mount.session.notifier.invalidate(1234) == false)
        }
    }

    @Test func aMappedStoreComesBack() throws {
        let system = MemoryFileSystem(files: [("a", .plain)])
        system.state.withLock { $0.nodes[2]!.bytes = [UInt8](repeating: 0, count: 8192) }
        try withMount(system) { mount in
            let child = try Child(
                """
                import mmap, os, sys
                map = mmap.mmap(os.open(sys.argv[1], os.O_RDWR), 8192)
                map[5000] = 42
                print("stored", flush=True)
                input()
                print(map[5001], flush=True)
                input()
                """, mount.file("a"))
            #expect(child.line() == "stored")
            try #expect(mount.session.notifier.invalidate(2, offset: 4096, length: 4096) == true)
            system.state.withLock { $0.nodes[2]!.bytes[5001] = 43 }
            child.go()
            #expect(child.line() == "43")
            system.state.withLock { state in
                #expect(state.nodes[2]!.bytes[5000] == 42)
                #expect(state.writeBacks == 1)
            }
        }
    }

    @Test func storedBytesAreNotRead() throws {
        let system = MemoryFileSystem(files: [("a", .plain)])
        system.state.withLock { $0.nodes[2]!.bytes = [UInt8](repeating: 65, count: 4096) }
        try withMount(system) { mount in
            var status = stat()
            #expect(unsafe stat(mount.file("a"), &status) == 0)
            let bytes = [UInt8](repeating: 66, count: 4096)
            unsafe try #expect(mount.session.notifier.store(2, offset: 0, bytes.span.bytes) == true)
            #expect(readFile(mount.file("a")) == .success(String(repeating: "B", count: 4096)))
            #expect(system.state.withLock { $0.reads } == 0)
        }
    }

    @Test func namesAreDropped() throws {
        let system = MemoryFileSystem(files: [("a", .plain)])
        try withMount(system) { mount in
            #expect(readFile(mount.file("a")) == .success(""))
            try #expect(mount.session.notifier.invalidateEntry(.root, "a") == true)
            try #expect(mount.session.notifier.invalidateEntry(.root, "nobody") == false)
            #expect(readFile(mount.file("a")) == .success(""))
            system.state.withLock { $0.names["a"] = nil }
            try #expect(mount.session.notifier.deleteEntry(.root, "a", inode: 2) == true)
            #expect(readFile(mount.file("a")) == .failure(.noSuchFileOrDirectory))
        }
    }

    @Test func invalidationsUnderFaults() throws {
        let system = MemoryFileSystem(files: [("a", .plain)])
        let size = 64 * 4096
        system.state.withLock { $0.nodes[2]!.bytes = [UInt8](repeating: 0, count: size) }
        try withMount(system, workers: 3) { mount in
            let child = try Child(
                """
                import mmap, os, select, sys
                map = mmap.mmap(os.open(sys.argv[1], os.O_RDWR), 64 * 4096)
                rounds = lost = 0
                print("ready", flush=True)
                while not select.select([0], [], [], 0)[0]:
                    for at in range(0, 64 * 4096, 4096):
                        lost += map[at] != rounds % 256
                        map[at] = (rounds + 1) % 256
                    rounds += 1
                print("lost", lost, flush=True)
                """, mount.file("a"))
            #expect(child.line() == "ready")
            let deadline = ContinuousClock.now + .seconds(15)
            while system.state.withLock({ $0.writeBacks }) < 1000, .now < deadline {
                try mount.session.notifier.invalidate(2)
            }
            child.go()
            #expect(child.line() == "lost 0")
            #expect(system.state.withLock { $0.writeBacks } >= 1000)
        }
    }
}
