import Fuse
import Glibc
import LinuxSupport
import SystemPackage
import Testing

/// What is zero and need not be copied: `FileSystem.zeros`.
@Suite(
    .serialized, .enabled(if: canMount, "real mounts need root and /dev/fuse"), .overEachTransport,
    .timeLimit(.minutes(2)))
struct ZerosTests {
    /// Answers whole blocks of zeros from the place for them, and everything else from another.
    @safe private final class SparseFileSystem: MemoryFileSystem, @unchecked Sendable {
        // Unchecked: nobody stores to the zeros.
        static let block = 4096
        private let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 * block, alignment: block)

        init() {
            unsafe room.initializeMemory(as: UInt8.self, repeating: 0)
            super.init(files: [("a", .event)])
        }

        deinit { unsafe room.deallocate() }

        override var zeros: UnsafeRawBufferPointer? { unsafe UnsafeRawBufferPointer(room) }

        override func read(
            _ request: consuming Request, inode: InodeNumber, size: Int, offset: Int64, file: OpenFile
        ) {
            let bytes = state.withLock { ($0.nodes[inode]?.bytes ?? []).dropFirst(Int(offset)).prefix(size) }
            let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count + 1, alignment: 1)
            defer { unsafe copy.deallocate() }
            unsafe copy.copyBytes(from: bytes)
            let starts = stride(from: 0, to: bytes.count, by: Self.block)
            let vectors = UnsafeMutableBufferPointer<iovec>.allocate(capacity: size / Self.block + 2)
            defer { unsafe vectors.deallocate() }
            var count = 0
            for start in starts {
                let part = unsafe UnsafeRawBufferPointer(rebasing: copy[start..<min(start + Self.block, bytes.count)])
                let isZero = unsafe part.allSatisfy { $0 == 0 }
                unsafe vectors[count] = iovec(
                    iov_base: isZero ? room.baseAddress! : copy.baseAddress! + start, iov_len: part.count)
                count += 1
            }
            _ = unsafe request.vectors(UnsafeBufferPointer(rebasing: vectors[..<count]))
        }
    }

    @Test func whatIsReadIsWhatWasWritten() throws {
        try withMount(SparseFileSystem(), workers: 2) { mount in
            let blocks = 48
            let result = Client { () -> String? in
                let file = unsafe open(mount.file("a"), O_RDWR)
                guard file >= 0 else { return "open: \(errno)" }
                defer { close(file) }
                var model = [UInt8](repeating: 0, count: blocks * 4096)
                var random: UInt64 = 1
                func below(_ limit: Int) -> Int {
                    random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                    return Int(random >> 33) % limit
                }
                guard unsafe pwrite(file, model, model.count, 0) == model.count else { return "pwrite: \(errno)" }
                for step in 0..<800 {
                    let start = below(model.count)
                    let length = 1 + below(below(3) == 0 ? model.count : 9000)
                    let range = start..<min(start + length, model.count)
                    if below(4) == 0 {
                        // Zeros often, or soon none would be left.
                        let bytes = [UInt8](repeating: UInt8(below(3) == 0 ? below(256) : 0), count: range.count)
                        guard unsafe pwrite(file, bytes, bytes.count, off_t(start)) == bytes.count else {
                            return "pwrite: \(errno)"
                        }
                        model.replaceSubrange(range, with: bytes)
                    } else {
                        var bytes = [UInt8](repeating: 0xa5, count: range.count)
                        guard unsafe pread(file, &bytes, bytes.count, off_t(start)) == bytes.count else {
                            return "pread: \(errno)"
                        }
                        if !bytes.elementsEqual(model[range]) { return "step \(step): wrong bytes in \(range)" }
                    }
                }
                return nil
            }.result(seconds: 60)
            #expect(result == .some(nil))
        }
    }
}
