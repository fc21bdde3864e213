import CFuse3
import CURing
import Foundation
import LinuxSupport
import SystemPackage

@testable import Fuse

/// A session without a kernel: requests are handed to libfuse as the kernel would, and its answers caught.
///
/// Of the two ways that requests come, the classic one ends in a message to /dev/fuse, for which a socket stands here; the other in
/// an entry of a ring, of which only the io_uring is missing.
@safe
final class Wire: @unchecked Sendable {
    // Unchecked: only `answers` is touched by more than one thread.

    /// An answer, without its header.
    struct Answer {
        var error: Int32
        var payload: [UInt8]
    }

    private let system: FileSystem
    private let session: OpaquePointer
    private let kernel: Int32
    private let answers = Monitor<[UInt64: [UInt8]]>([:])
    private let rings: RingSet?
    private let entry: UnsafeMutablePointer<RingEntry>?
    private var unique: UInt64 = 2

    /// - Parameter overRing: whether requests, INIT aside, come by way of a ring.
    init(_ system: FileSystem, overRing: Bool) throws {
        self.system = system
        var ends: [Int32] = [-1, -1]
        guard unsafe socketpair(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue), 0, &ends) == 0 else {
            throw Errno(rawValue: errno)
        }
        var room: Int32 = 4 << 20
        unsafe setsockopt(ends[0], SOL_SOCKET, SO_SNDBUFFORCE, &room, 4)
        kernel = ends[1]
        var arguments = unsafe fuse_args()
        for argument in MountOptions().arguments { unsafe fuse_opt_add_arg(&arguments, argument) }
        var operations = makeOperations(readdirplus: system.implementsReaddirplus)
        unsafe session = cfuse3_session_new(&arguments, &operations, Unmanaged.passUnretained(system).toOpaque())!
        unsafe fuse_opt_free_args(&arguments)
        unsafe system.notifier.open(session, ConnectionOptions())

        var hooks = fuse_custom_io()
        unsafe hooks.read = { device, bytes, size, _ in unsafe read(device, bytes, size) }
        if overRing {
            let rings = try unsafe RingSet(
                device: ends[0], options: RingOptions(payload: 1 << 20), zeros: system.zeros)
            let entry = UnsafeMutablePointer<RingEntry>.allocate(capacity: 1)
            unsafe entry.initialize(to: try RingEntry(rings.rings[0], queue: 0, capacity: 1 << 20))
            system.rings = UnretainedRings(rings)
            self.rings = rings
            unsafe self.entry = unsafe entry
            unsafe hooks.writev = { device, vectors, count, userdata in
                let buffers = unsafe UnsafeMutableBufferPointer(start: vectors, count: Int(count))
                let system = unsafe Unmanaged<FileSystem>.fromOpaque(userdata!).takeUnretainedValue()
                return unsafe system.rings!.answer(device, buffers)
            }
        } else {
            rings = nil
            unsafe entry = nil
            unsafe hooks.writev = { unsafe cfuse3_writev($0, $1, $2, $3) }
        }
        guard unsafe fuse_session_custom_io(session, &hooks, ends[0]) == 0 else { throw Errno.invalidArgument }
        Thread.detachNewThread { [kernel, answers] in Self.collect(kernel, answers) }
        // 7.38; a readahead of 128 KiB; every flag a kernel offers, but for those that change the layout of requests.
        let flags: UInt32 = 0x3fff_ffff & ~(1 << 29)
        let answer = call(26, fixed: words(7, 38, 131_072, flags))
        precondition(answer?.error == 0, "INIT is refused")
    }

    /// Takes answers off the socket until it is closed, so that whoever answers never waits.
    private static func collect(_ socket: Int32, _ answers: Monitor<[UInt64: [UInt8]]>) {
        var buffer = [UInt8](repeating: 0, count: 2 << 20)
        while true {
            let count = unsafe recv(socket, &buffer, buffer.count, 0)
            guard count > 0 else { break }
            let message = Array(buffer[..<count])
            precondition(count >= 16 && message.word(0) == count, "an answer of \(count) bytes")
            let unique = message.long(8)
            // 0 is a notification.
            if unique != 0 { answers.update { $0[unique] = message } }
        }
        close(socket)
    }

    /// Has everything answered that is not yet, and closes the session.
    func end() {
        system.notifier.revoke()
        while !system.notifier.drain(milliseconds: 1000) {}
        unsafe fuse_session_destroy(session)
        system.rings = nil
        if let entry = unsafe entry {
            unsafe entry.deinitialize(count: 1)
            unsafe entry.deallocate()
        }
    }

    /// Hands over a request. Nil where none is answered: FORGET, and what libfuse takes for an interrupt.
    ///
    /// - Parameters:
    ///   - fixed: the operation's structure.
    ///   - payload: what follows it: names, and data.
    func call(
        _ opcode: UInt32, node: UInt64 = 0, uid: UInt32 = 0, pid: UInt32 = 0, fixed: [UInt8] = [], payload: [UInt8] = []
    ) -> Answer? {
        defer { unique += 2 }
        let length = 40 + fixed.count + payload.count
        let header =
            words(UInt32(length), opcode) + longs(unique, node) + words(uid, uid, pid, 0)
        let isRing = unsafe entry != nil && opcode != 26
        if let entry = unsafe entry, isRing {
            unsafe process(header, fixed, payload, in: entry)
        } else {
            process(header + fixed + payload)
        }
        guard opcode != 2, opcode != 42 else { return nil }
        let answer = answer(to: unique, isRing)
        precondition((-511...0).contains(answer.error), "the kernel takes \(answer.error) for no errno: \(opcode)")
        precondition(answer.error == 0 || answer.payload.isEmpty, "an error with a payload: \(opcode)")
        return answer
    }

    private func process(_ message: [UInt8]) {
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: message.count, alignment: 8)
        defer { unsafe memory.deallocate() }
        unsafe memory.copyBytes(from: message)
        var buffer = unsafe fuse_buf()
        unsafe buffer.mem = memory.baseAddress
        unsafe buffer.size = memory.count
        unsafe fuse_session_process_buf(session, &buffer)
    }

    /// As the thread of a ring does it.
    private func process(
        _ header: [UInt8], _ fixed: [UInt8], _ payload: [UInt8], in entry: UnsafeMutablePointer<RingEntry>
    ) {
        unsafe entry.fill(header, fixed, payload, size: UInt32(payload.count))
        guard let message = unsafe entry.pointee.takeRequest() else { fatalError("a request makes no sense") }
        var buffer = unsafe fuse_buf()
        unsafe buffer.mem = message.baseAddress
        unsafe buffer.size = message.count
        unsafe AnsweringEntry.current = unsafe entry
        unsafe fuse_session_process_buf(session, &buffer)
        unsafe AnsweringEntry.current = nil
    }

    private func isAnswered(_ unique: UInt64, _ isRing: Bool, milliseconds: Int) -> Bool {
        guard let entry = unsafe entry, isRing else {
            return answers.wait(milliseconds: milliseconds) { $0[unique] != nil }
        }
        for _ in 0..<milliseconds * 10 where unsafe !entry.pointee.isAnswered { usleep(100) }
        return unsafe entry.pointee.isAnswered
    }

    private func answer(to unique: UInt64, _ isRing: Bool) -> Answer {
        if !isAnswered(unique, isRing, milliseconds: 500) {
            // FUSE_INTERRUPT, as for somebody whom a signal ends.
            process(words(48, 36) + longs(unique | 1, 0, 0, 0, unique))
            if !isAnswered(unique, isRing, milliseconds: 20_000) { fatalError("no answer") }
        }
        guard let entry = unsafe entry, isRing else {
            let message = answers.withLock { $0.removeValue(forKey: unique)! }
            return Answer(error: Int32(bitPattern: message.word(4)), payload: Array(message[16...]))
        }
        let message = unsafe entry.answer()
        precondition(message.long(8) == unique, "the answer to another request")
        return Answer(error: Int32(bitPattern: message.word(4)), payload: Array(message[16...]))
    }
}

extension UnsafeMutablePointer<RingEntry> {
    /// Puts a request where the kernel puts it (struct fuse_uring_req_header).
    func fill(_ header: [UInt8], _ fixed: [UInt8], _ payload: [UInt8], size: UInt32) {
        let start = unsafe pointee.vectors[0].iov_base!
        unsafe start.initializeMemory(as: UInt8.self, repeating: 0, count: MemoryLayout<curing_header>.size)
        unsafe UnsafeMutableRawBufferPointer(start: start, count: 128).copyBytes(from: header.prefix(128))
        unsafe UnsafeMutableRawBufferPointer(start: start + 128, count: 128).copyBytes(from: fixed.prefix(128))
        unsafe start.storeBytes(of: size, toByteOffset: 272, as: UInt32.self)
        let room = unsafe pointee.vectors[1]
        unsafe UnsafeMutableRawBufferPointer(start: room.iov_base, count: room.iov_len)
            .copyBytes(from: payload.prefix(room.iov_len))
    }

    /// The answer that it holds, with its header.
    func answer() -> [UInt8] {
        let start = unsafe UnsafeRawPointer(pointee.vectors[0].iov_base!)
        let size = unsafe Int(start.load(fromByteOffset: 272, as: UInt32.self))
        let room = unsafe pointee.vectors[1]
        unsafe precondition(size <= room.iov_len, "an answer of \(size) bytes in an entry of \(room.iov_len)")
        let header = unsafe UnsafeRawBufferPointer(start: start, count: 16)
        return unsafe Array(header) + Array(UnsafeRawBufferPointer(start: room.iov_base, count: size))
    }
}

/// Little-endian words, as every structure of FUSE is made of.
func words(_ values: UInt32...) -> [UInt8] {
    values.flatMap { value in (0..<4).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) } }
}

func longs(_ values: UInt64...) -> [UInt8] {
    values.flatMap { value in (0..<8).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) } }
}

extension [UInt8] {
    func word(_ offset: Int) -> UInt32 { (0..<4).reduce(0) { $0 | UInt32(self[offset + $1]) << ($1 * 8) } }
    func long(_ offset: Int) -> UInt64 { UInt64(word(offset)) | UInt64(word(offset + 4)) << 32 }
}
