internal import CURing
import Glibc
import LinuxSupport
import Synchronization
import SystemPackage

/// Room for one request at a time and its answer, which the kernel knows by its address.
///
/// It is at any time with the kernel, or with the ring's thread, or, once deferred, with the thread that answers, and then back on its way to
/// the ring's thread.
@safe
struct RingEntry: ~Copyable {
    /// What there is at most in front of the payload of a message: `fuse_in_header` and an operation's structure.
    private static let frontRoom = 40 + 128

    /// The kernel's queue that it belongs to: the number of the CPU that asks.
    let queue: Int
    unowned(unsafe) let ring: Ring
    private let base: UnsafeMutableRawPointer
    private let capacity: Int

    /// The request's number; 0 before the first.
    let unique = Atomic<UInt64>(0)

    /// The kernel counts the numbers of its requests up from 0; from here on they are those that a ring makes itself.
    static let firstPriming: UInt64 = 1 << 63

    /// Whether the request is one of the ring's own: see ``Ring``.
    var isPriming: Bool { unique.load(ordering: .relaxed) >= Self.firstPriming }

    // Beside the structure, which the ring's thread reads while another answers.

    /// What the answer is committed by.
    private(set) var commit: UInt64 {
        get { unsafe base.load(fromByteOffset: 1088, as: UInt64.self) }
        nonmutating set { unsafe base.storeBytes(of: newValue, toByteOffset: 1088, as: UInt64.self) }
    }

    private(set) var isAnswered: Bool {
        get { unsafe base.load(fromByteOffset: 1096, as: Bool.self) }
        nonmutating set { unsafe base.storeBytes(of: newValue, toByteOffset: 1096, as: Bool.self) }
    }

    /// How many bytes at the payload's start may be something else than 0.
    private var used: Int {
        get { unsafe base.load(fromByteOffset: 1112, as: Int.self) }
        nonmutating set { unsafe base.storeBytes(of: newValue, toByteOffset: 1112, as: Int.self) }
    }

    /// How many were ever stored to: the rest would be the host's shared zero page, which the kernel is slow to copy from.
    private var stored: Int {
        get { unsafe base.load(fromByteOffset: 1120, as: Int.self) }
        nonmutating set { unsafe base.storeBytes(of: newValue, toByteOffset: 1120, as: Int.self) }
    }

    /// Set by the ring's thread alone, before other threads know the request.
    var isDeferred: Bool {
        get { unsafe base.load(fromByteOffset: 1104, as: Bool.self) }
        nonmutating set { unsafe base.storeBytes(of: newValue, toByteOffset: 1104, as: Bool.self) }
    }

    /// Whether no request has come yet to an entry that was made while others may have been waiting.
    var isFresh: Bool {
        get { unsafe base.load(fromByteOffset: 1128, as: Bool.self) }
        nonmutating set { unsafe base.storeBytes(of: newValue, toByteOffset: 1128, as: Bool.self) }
    }

    /// Whether the request may be held for good: see ``Request/mayBeHeld``. Set by the ring's thread before other threads know the request.
    var mayBeHeld: Bool {
        get { unsafe base.load(fromByteOffset: 1136, as: Bool.self) }
        nonmutating set { unsafe base.storeBytes(of: newValue, toByteOffset: 1136, as: Bool.self) }
    }

    /// The inode that the request is about (`nodeid`).
    private(set) var node: UInt64 {
        get { unsafe base.load(fromByteOffset: 1144, as: UInt64.self) }
        nonmutating set { unsafe base.storeBytes(of: newValue, toByteOffset: 1144, as: UInt64.self) }
    }

    /// An entry with room for payloads of `capacity` bytes.
    init(_ ring: Ring, queue: Int, capacity: Int) throws(Errno) {
        let page = Int(sysconf(Int32(_SC_PAGESIZE)))
        let length = page + (capacity + page - 1) & ~(page - 1)
        let base = unsafe mmap(nil, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        guard let base = unsafe base, unsafe base != MAP_FAILED else { throw Errno.last }
        unsafe self.base = unsafe base
        self.capacity = length - page
        self.queue = queue
        unsafe self.ring = ring
        let vectors = unsafe self.vectors
        unsafe vectors[0] = iovec(iov_base: base, iov_len: MemoryLayout<curing_header>.size)
        unsafe vectors[1] = iovec(iov_base: payload, iov_len: self.capacity)
    }

    deinit {
        unsafe munmap(base, capacity + Int(sysconf(Int32(_SC_PAGESIZE))))
    }

    private var header: UnsafeMutablePointer<curing_header> {
        unsafe base.assumingMemoryBound(to: curing_header.self)
    }

    private var payload: UnsafeMutableRawPointer {
        unsafe base + Int(sysconf(Int32(_SC_PAGESIZE)))
    }

    /// What REGISTER tells the kernel.
    var vectors: UnsafeMutablePointer<iovec> {
        unsafe (base + 1024).assumingMemoryBound(to: iovec.self)
    }

    /// The request that the kernel has put here, as /dev/fuse would have given it: header, the operation's structure and payload in
    /// one piece. The first two are moved in front of the third, which stays where it is. Nil where it makes no sense.
    func takeRequest() -> UnsafeMutableRawBufferPointer? {
        let header = unsafe self.header
        let length = unsafe Int(UnsafeRawPointer(header).load(as: UInt32.self))
        let payloadSize = unsafe Int(header.pointee.payload_size)
        let operationSize = length - 40 - payloadSize
        // Whatever becomes of the request, its payload is here.
        used = min(max(used, payloadSize), capacity)
        stored = max(stored, used)
        guard 0...128 ~= operationSize, payloadSize <= capacity else { return nil }
        let message = unsafe payload - operationSize - 40
        unsafe message.copyMemory(from: header, byteCount: 40)
        unsafe (message + 40).copyMemory(from: UnsafeRawPointer(header) + 128, byteCount: operationSize)
        unsafe commit = header.pointee.commit_id
        isAnswered = false
        isDeferred = false
        node = unsafe message.loadUnaligned(fromByteOffset: 16, as: UInt64.self)
        // Where the operation's structure ends in no multiple of 8 bytes, the message begins at none.
        unsafe unique.store(
            message.loadUnaligned(fromByteOffset: 8, as: UInt64.self), ordering: .sequentiallyConsistent)
        return unsafe UnsafeMutableRawBufferPointer(start: message, count: length)
    }

    /// Takes an answer as it would have been written to /dev/fuse: `fuse_out_header` first. False where it is too long; the answer is
    /// EIO then. What comes from `zeros`, which are that, is stored only over what is not 0 already.
    func putAnswer(_ vectors: UnsafeBufferPointer<iovec>, zeros: UnsafeRawBufferPointer?) -> Bool {
        let header = unsafe self.header
        unsafe header.copyMemory(from: vectors[0])
        // Last: a thread that sees it may look at the rest.
        defer { isAnswered = true }
        let size = unsafe vectors.dropFirst().reduce(0) { unsafe $0 + $1.iov_len }
        guard size <= capacity else {
            unsafe UnsafeMutableRawPointer(header).storeBytes(of: -EIO, toByteOffset: 4, as: Int32.self)
            unsafe header.pointee.payload_size = 0
            return false
        }
        unsafe header.pointee.payload_size = UInt32(size)
        var start = 0
        for index in 1..<max(1, vectors.count) {
            let vector = unsafe vectors[index]
            guard let source = unsafe vector.iov_base else { continue }
            let end = unsafe start + vector.iov_len
            if unsafe zeros.map({ unsafe $0.holds(source, vector.iov_len) }) ?? false {
                let fresh = max(start, stored)
                if used > start { unsafe memset(payload + start, 0, min(used, end) - start) }
                if end > fresh { unsafe memset(payload + fresh, 0, end - fresh) }
                if end >= used { used = min(used, start) }
            } else {
                unsafe (payload + start).copyMemory(from: source, byteCount: end - start)
                used = max(used, end)
            }
            stored = max(stored, end)
            start = end
        }
        return true
    }

    /// Answers with a negated errno, or 0, what libfuse is not given.
    func answer(_ error: Int32) {
        var answer: (UInt32, Int32, UInt64) = unsafe (
            16, error, UnsafeRawPointer(header).load(fromByteOffset: 8, as: UInt64.self)
        )
        unsafe withUnsafeMutableBytes(of: &answer) { bytes in
            let vector = unsafe iovec(iov_base: bytes.baseAddress, iov_len: 16)
            unsafe withUnsafePointer(to: vector) { vector in
                _ = unsafe putAnswer(UnsafeBufferPointer(start: vector, count: 1), zeros: nil)
            }
        }
        unsafe commit = header.pointee.commit_id
    }
}

extension UnsafeRawBufferPointer {
    fileprivate func holds(_ start: UnsafeMutableRawPointer, _ length: Int) -> Bool {
        guard let base = baseAddress else { return false }
        return unsafe start >= base && start + length <= base + count
    }
}

extension UnsafeMutablePointer<curing_header> {
    /// Puts a `fuse_out_header` where the kernel looks for it.
    fileprivate func copyMemory(from vector: iovec) {
        guard let source = unsafe vector.iov_base else { return }
        unsafe UnsafeMutableRawPointer(self).copyMemory(from: source, byteCount: min(vector.iov_len, 128))
    }
}

/// Which entry this thread is about to answer.
///
/// libfuse hands an answer to a function that knows only the number of its request. The ring's thread says here what it serves, and
/// a thread that answers a deferred request what was deferred.
enum AnsweringEntry {
    private static let key: pthread_key_t = {
        var key = pthread_key_t()
        unsafe pthread_key_create(&key, nil)
        return key
    }()

    static var current: UnsafeMutablePointer<RingEntry>? {
        get { unsafe pthread_getspecific(key)?.assumingMemoryBound(to: RingEntry.self) }
        set { unsafe pthread_setspecific(key, newValue) }
    }

    /// Runs `body` with `entry` as the one to be answered, where there is one.
    static func with<Result>(_ entry: UnsafeMutablePointer<RingEntry>?, _ body: () -> Result) -> Result {
        guard let entry = unsafe entry else { return body() }
        let outer = unsafe current
        unsafe current = unsafe entry
        defer { unsafe current = unsafe outer }
        return body()
    }
}
