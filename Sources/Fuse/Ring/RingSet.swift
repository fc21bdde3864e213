internal import CFuse3
import CLinux
internal import CURing
import Glibc
import LinuxSupport
import Synchronization
import SystemPackage

/// How rings are made.
struct RingOptions: Sendable {
    /// Entries for each CPU that may ask; more are made while requests are deferred.
    var depth = 8
    /// The longest payload, bytes: of WRITE and of READ, whichever is longer.
    var payload: Int
}

/// The rings of a session: between them they serve the queue of each CPU that there may be.
@safe
final class RingSet: @unchecked Sendable {
    // Unchecked: `rings` is set once, by `init`; the rest is behind locks.
    @safe private struct State {
        var entries: [UnsafeMutablePointer<RingEntry>]
        /// Interrupts of requests that the rings' threads had not seen, and when they came.
        var early: [(unique: UInt64, since: ContinuousClock.Instant)] = []
    }

    private let state = unsafe Monitor(State(entries: []))
    private let hasEarly = Atomic<Bool>(false)
    /// Whether the answer to INIT is to say that requests shall come this way.
    let isWanted = Atomic<Bool>(false)
    private(set) var rings: [Ring] = []
    let askers = AskerTable()
    let keeper = RingKeeper()
    private let zeros: UnsafeRawBufferPointer?

    /// One ring for each CPU that this process may run on; `zeros` as ``FileSystem/zeros``.
    init(device: Int32, options: RingOptions, zeros: UnsafeRawBufferPointer?) throws(Errno) {
        unsafe self.zeros = unsafe zeros
        var cpus = [Int32](repeating: 0, count: 8192)
        let count = unsafe clinux_allowed_cpus(&cpus, Int32(cpus.count))
        guard count > 0 else { throw Errno.last }
        let allowed = cpus.prefix(Int(count)).map { Int($0) }
        // A CPU without a thread of its own, for it may come online only later or is not for us, asks those of others.
        var queues: [Int: [Int]] = [:]
        for queue in 0..<Self.possibleCPUs {
            let cpu = allowed.contains(queue) ? queue : allowed[queue % allowed.count]
            queues[cpu, default: []].append(queue)
        }
        for cpu in allowed {
            guard let own = queues[cpu] else { continue }
            rings.append(try Ring(self, cpu: cpu, queues: own, device: device, options: options))
        }
    }

    /// As many queues the kernel has.
    private static var possibleCPUs: Int {
        let list = (try? SmallFile.read("/sys/devices/system/cpu/possible")).map {
            String(decoding: $0, as: UTF8.self)
        }
        let count = list?.split(whereSeparator: { $0 == "," || $0 == "\n" }).reduce(0) { count, range in
            let ends = range.split(separator: "-").compactMap { Int($0) }
            return ends.isEmpty ? count : count + ends[ends.count - 1] - ends[0] + 1
        }
        return max(count ?? 0, sysconf(Int32(_SC_NPROCESSORS_CONF)), 1)
    }

    func add(_ entry: UnsafeMutablePointer<RingEntry>) {
        state.withLock { unsafe $0.entries.append(entry) }
    }

    /// Has all threads leave.
    func stop() {
        for ring in rings { ring.stop() }
    }

    // MARK: Answers

    /// What libfuse calls in place of writev(2): the answer to a request that came over a ring goes back there.
    func answer(_ device: Int32, _ vectors: UnsafeMutableBufferPointer<iovec>) -> Int {
        let head = unsafe vectors[0].iov_base
        if let head = unsafe head, unsafe vectors[0].iov_len >= 16 {
            let unique = unsafe head.loadUnaligned(fromByteOffset: 8, as: UInt64.self)
            if let entry = unsafe AnsweringEntry.current, unsafe entry.pointee.unique.load(ordering: .relaxed) == unique
            {
                return unsafe put(entry, UnsafeBufferPointer(vectors))
            }
            let error = unsafe head.loadUnaligned(fromByteOffset: 4, as: Int32.self)
            if error == -EAGAIN, unique & 1 != 0 {
                keepInterrupt(unique & ~1)
                return 16
            }
            if unique == 2, isWanted.load(ordering: .relaxed) { unsafe Self.wantRings(vectors) }
        }
        return unsafe cfuse3_writev(device, vectors.baseAddress, Int32(vectors.count), nil)
    }

    private func put(_ entry: UnsafeMutablePointer<RingEntry>, _ vectors: UnsafeBufferPointer<iovec>) -> Int {
        let isDeferred = unsafe entry.pointee.isDeferred
        let fits = unsafe entry.pointee.putAnswer(vectors, zeros: zeros)
        if isDeferred, unsafe !entry.pointee.ring.complete(entry) {
            Glibc.errno = ENOENT
            return -1
        }
        guard fits else {
            Glibc.errno = EINVAL
            return -1
        }
        return unsafe vectors.reduce(0) { unsafe $0 + $1.iov_len }
    }

    /// FUSE_OVER_IO_URING: bit 9 of `flags2` in `struct fuse_init_out`, which FUSE_INIT_EXT makes valid. libfuse has a way to
    /// ask for it from 3.18 on, but then serves the rings itself.
    private static func wantRings(_ vectors: UnsafeMutableBufferPointer<iovec>) {
        guard vectors.count == 2, let answer = unsafe vectors[1].iov_base, unsafe vectors[1].iov_len >= 36 else {
            return
        }
        let flags = unsafe answer.loadUnaligned(fromByteOffset: 12, as: UInt32.self)
        let isExtended = flags & 1 << 30 != 0
        let more = unsafe isExtended ? answer.loadUnaligned(fromByteOffset: 32, as: UInt32.self) : 0
        unsafe answer.storeBytes(of: flags | 1 << 30, toByteOffset: 12, as: UInt32.self)
        unsafe answer.storeBytes(of: more | 1 << 9, toByteOffset: 32, as: UInt32.self)
    }

    // MARK: Interrupts

    // An interrupt comes over /dev/fuse and may be here before its request. libfuse then gives it back, for the kernel to send it
    // again; of requests that go over io_uring the kernel does not. So it is kept until the request has been seen.

    private func keepInterrupt(_ unique: UInt64) {
        let isKnown = state.withLock { state in
            state.early.append((unique, .now))
            hasEarly.store(true, ordering: .sequentiallyConsistent)
            return unsafe state.entries.contains {
                unsafe $0.pointee.unique.load(ordering: .sequentiallyConsistent) == unique
            }
        }
        // Seen meanwhile, and perhaps its thread has looked here already: that thread is woken to look again.
        if isKnown { for ring in rings { ring.recheck() } }
    }

    /// Has libfuse hear of the interrupt of a request that it has just been given, if that came first.
    func redeliver(_ entry: UnsafeMutablePointer<RingEntry>, _ session: OpaquePointer) {
        guard hasEarly.load(ordering: .sequentiallyConsistent) else { return }
        unsafe redeliver(session) { unsafe $0 == entry.pointee.unique.load(ordering: .relaxed) }
    }

    /// The same for all requests that the rings have.
    func redeliverAll(_ session: OpaquePointer) {
        guard hasEarly.load(ordering: .sequentiallyConsistent) else { return }
        let known = state.withLock { state in
            unsafe state.entries.map { unsafe $0.pointee.unique.load(ordering: .relaxed) }
        }
        unsafe redeliver(session) { known.contains($0) }
    }

    private func redeliver(_ session: OpaquePointer, _ isMeant: (UInt64) -> Bool) {
        let due = state.withLock { state -> [UInt64] in
            let due = state.early.filter { isMeant($0.unique) }.map(\.unique)
            // An old one is of a request that was answered before.
            state.early.removeAll { due.contains($0.unique) || ContinuousClock.now - $0.since > .seconds(1) }
            if state.early.isEmpty { hasEarly.store(false, ordering: .sequentiallyConsistent) }
            return due
        }
        for unique in due {
            // struct fuse_in_header with FUSE_INTERRUPT and the interrupt's own number; struct fuse_interrupt_in.
            var message: [UInt64] = [48 | 36 << 32, unique | 1, 0, 0, 0, unique]
            unsafe message.withUnsafeMutableBytes { bytes in
                var buffer = unsafe fuse_buf()
                unsafe buffer.mem = bytes.baseAddress
                unsafe buffer.size = 48
                unsafe fuse_session_process_buf(session, &buffer)
            }
        }
    }
}

/// What the workers reach the rings by: a reference that is not counted, for it would be what they wait for.
@safe
struct UnretainedRings {
    private let raw: Unmanaged<RingSet>

    init(_ rings: RingSet) { unsafe raw = Unmanaged.passUnretained(rings) }

    func answer(_ device: Int32, _ vectors: UnsafeMutableBufferPointer<iovec>) -> Int {
        unsafe raw._withUnsafeGuaranteedRef { unsafe $0.answer(device, vectors) }
    }
}
