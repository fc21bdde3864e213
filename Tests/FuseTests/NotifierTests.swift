import Fuse
import Glibc
import Synchronization
import SystemPackage
import Testing

@Suite(.serialized, .enabled(if: canMount, "real mounts need root and /dev/fuse"), .timeLimit(.minutes(2)))
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
            let client = Client { () -> UInt8? in
                let descriptor = unsafe open(mount.file("a"), O_RDWR)
                defer { close(descriptor) }
                guard
                    let map = unsafe mmap(nil, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0),
                    unsafe map != MAP_FAILED
                else { return nil }
                defer { unsafe munmap(map, 8192) }
                unsafe map.storeBytes(of: 42, toByteOffset: 5000, as: UInt8.self)
                guard (try? mount.session.notifier.invalidate(2, offset: 4096, length: 4096)) == true else { return nil }
                system.state.withLock { $0.nodes[2]!.bytes[5001] = 43 }
                return unsafe map.load(fromByteOffset: 5001, as: UInt8.self)
            }
            #expect(client.result() == 43)
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
            let stop = Flag()
            let client = Client { () -> Bool in
                let descriptor = unsafe open(mount.file("a"), O_RDWR)
                defer { close(descriptor) }
                guard
                    let map = unsafe mmap(nil, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0),
                    unsafe map != MAP_FAILED
                else { return false }
                defer { unsafe munmap(map, size) }
                var rounds: UInt32 = 0
                repeat {
                    rounds += 1
                    for page in 0..<64 {
                        guard unsafe map.load(fromByteOffset: page * 4096, as: UInt32.self) == rounds - 1 else { return false }
                        unsafe map.storeBytes(of: rounds, toByteOffset: page * 4096, as: UInt32.self)
                    }
                } while !stop.isSet
                return true
            }
            for _ in 0..<100 { try mount.session.notifier.invalidate(2) }
            stop.set()
            #expect(client.result() == true)
        }
    }
}

private final class Flag: Sendable {
    private let value = Atomic(false)
    var isSet: Bool { value.load(ordering: .acquiring) }
    func set() { value.store(true, ordering: .releasing) }
}
