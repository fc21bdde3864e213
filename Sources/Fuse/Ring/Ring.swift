internal import CFuse3
import CLinux
internal import CURing
import Glibc
import LinuxSupport
import SystemPackage

/// A thread on a CPU of its own, with what the kernel puts requests into and takes answers from.
///
/// All that is done to the io_uring is done on that thread, for the kernel delivers to the thread that asked. Answers of other threads
/// wait in `answered` until it has been woken.
@safe
final class Ring: @unchecked Sendable {
    // Unchecked: `raw`, `entries` and `ready` belong to the ring's thread once it runs; what is shared is behind `shared`.
    @safe private struct Shared {
        var answered: [UnsafeMutablePointer<RingEntry>]
        var isStopping = false
        var hasEnded = false
    }

    /// The CPU it stays on.
    let cpu: Int
    private let queues: [Int]
    private let device: Int32
    private let options: RingOptions
    private unowned(unsafe) let set: RingSet
    private let raw: OpaquePointer
    private let wake: Int32
    private let wakeValue: UnsafeMutablePointer<UInt64>
    private let shared = unsafe Monitor(Shared(answered: []))
    private var entries: [UnsafeMutablePointer<RingEntry>]
    /// Of each queue: entries that no deferred request holds.
    private var ready: [Int: Int] = [:]
    /// Of each queue: those of them that some request has come to. The kernel gives what waits in a queue only to entries that are
    /// committed, not to one that is registered (fuse_uring_do_register()): so one of these must always be about to be.
    private var live: [Int: Int] = [:]
    /// Whether requests may wait in the queue of this CPU while it has no live entry.
    private var needsPriming = false
    private var primings: UInt64 = 0
    private var isLost = false
    private var priority: RingPriority

    init(_ set: RingSet, cpu: Int, queues: [Int], device: Int32, options: RingOptions) throws(Errno) {
        unsafe self.set = set
        self.cpu = cpu
        self.queues = queues
        self.device = device
        self.options = options
        priority = RingPriority(set.askers, set.keeper, cpu: cpu)
        unsafe entries = []
        wake = eventfd(0, Int32(EFD_CLOEXEC))
        guard wake >= 0 else { throw Errno.last }
        unsafe wakeValue = .allocate(capacity: 1)
        unsafe wakeValue.initialize(to: 0)
        var raw: OpaquePointer?
        let error = unsafe curing_open(&raw, UInt32(clamping: max(16, 2 * queues.count * options.depth)))
        guard error == 0, let raw = unsafe raw else {
            // `deinit` does not run for what was not made.
            close(wake)
            unsafe wakeValue.deallocate()
            throw Errno(rawValue: -error)
        }
        unsafe self.raw = unsafe raw
    }

    deinit {
        end()
        unsafe entries.forEach { entry in
            unsafe entry.deinitialize(count: 1)
            unsafe entry.deallocate()
        }
        close(wake)
        unsafe wakeValue.deallocate()
    }

    /// Closes the io_uring: the kernel takes back its entries, and deferred requests cannot be answered any more.
    private func end() {
        let isFirst = shared.withLock { shared in
            defer { shared.hasEnded = true }
            return !shared.hasEnded
        }
        if isFirst { unsafe curing_close(raw) }
    }

    // MARK: The ring's thread

    /// Offers the kernel the first entries, on the thread that will serve them.
    func register() throws(Errno) {
        // A CPU that has gone since leaves the thread where it is.
        _ = clinux_stay_on_cpu(Int32(cpu))
        for queue in queues {
            ready[queue] = 0
            for _ in 0..<options.depth { try addEntry(queue, isFresh: false) }
        }
        try armWake()
        let submitted = unsafe curing_submit(raw, 0)
        guard submitted >= 0 else { throw Errno(rawValue: -submitted) }
    }

    private func addEntry(_ queue: Int, isFresh: Bool) throws(Errno) {
        let entry = UnsafeMutablePointer<RingEntry>.allocate(capacity: 1)
        do throws(Errno) {
            unsafe entry.initialize(to: try RingEntry(self, queue: queue, capacity: options.payload))
        } catch {
            unsafe entry.deallocate()
            throw error
        }
        unsafe entry.pointee.isFresh = isFresh
        if !isFresh { live[queue, default: 0] += 1 }
        unsafe entries.append(entry)
        unsafe set.add(entry)
        let isQueued = unsafe curing_push_command(
            raw, device, UInt32(CURING_REGISTER), UInt32(queue), 0, entry.pointee.vectors,
            UInt64(UInt(bitPattern: entry)))
        guard isQueued else { throw .noBufferSpace }
        ready[queue, default: 0] += 1
    }

    private func armWake() throws(Errno) {
        guard unsafe curing_push_read(raw, wake, wakeValue, 0) else { throw .noBufferSpace }
    }

    /// Serves until the connection ends or `stop()`. Returns the errno of what should not have happened.
    func serve(_ session: OpaquePointer, isUp: () -> Void) -> Errno? {
        var failure: Errno?
        var hasAnnounced = false
        while failure == nil {
            do throws(Errno) {
                // What was refused is known at once.
                try unsafe drain(session)
                if isLost { break }
                if !hasAnnounced {
                    hasAnnounced = true
                    isUp()
                }
                let isStopping = shared.withLock { $0.isStopping }
                if isStopping {
                    unsafe curing_submit(raw, 0)
                    break
                }
                let result = submitAndWait()
                if result < 0, ![-EINTR, -EAGAIN, -EBUSY].contains(result) { throw Errno(rawValue: -result) }
            } catch {
                failure = error
            }
        }
        end()
        priority.end()
        return failure
    }

    /// Gives the kernel the answers, which wakes those who wait for them, and waits for the next request.
    private func submitAndWait() -> Int32 {
        priority.applyMoves()
        if needsPriming {
            // The new entries are the kernel's once they are submitted.
            let result = unsafe curing_submit(raw, 0)
            if result < 0 { return result }
            prime()
        }
        return unsafe curing_submit(raw, 1)
    }

    /// Makes a request of our own that comes to an entry without a request: its commit is what takes up those that wait.
    ///
    /// FUSE_NOTIFY_RETRIEVE of no bytes of a file has the kernel send FUSE_NOTIFY_REPLY by the queue of the CPU that this thread is on
    /// (fuse_retrieve(), fuse_uring_task_to_queue()). It takes regular files alone, and those that the kernel knows: what a request
    /// that is held is about mostly is one.
    private func prime() {
        needsPriming = false
        for index in unsafe entries.indices {
            let entry = unsafe entries[index]
            guard unsafe entry.pointee.isDeferred && entry.pointee.queue == cpu else { continue }
            primings += 1
            // struct fuse_out_header with FUSE_NOTIFY_RETRIEVE in place of an errno; struct fuse_notify_retrieve_out.
            let unique = RingEntry.firstPriming + (primings % (1 << 32)) << 16 + UInt64(cpu) << 1
            let message: [UInt64] = unsafe [48 | 5 << 32, 0, unique, entry.pointee.node, 0, 0]
            if unsafe message.withUnsafeBytes({ unsafe write(device, $0.baseAddress, $0.count) }) == 48 { return }
        }
    }

    private func drain(_ session: OpaquePointer) throws(Errno) {
        var data: UInt64 = 0
        var result: Int32 = 0
        while unsafe curing_pop(raw, &data, &result) {
            guard let entry = unsafe UnsafeMutablePointer<RingEntry>(bitPattern: UInt(data)) else {
                try commitAnswered()
                unsafe set.redeliverAll(session)
                try armWake()
                continue
            }
            if result == 0 {
                try unsafe serve(entry, session)
            } else if [-ENOTCONN, -ECONNABORTED, -ECANCELED, -ENOENT].contains(result) {
                // ENOENT: the connection was ended between its request and the answer. The others follow.
                if result != -ENOENT { isLost = true }
            } else {
                throw Errno(rawValue: -result)
            }
        }
    }

    private func serve(_ entry: UnsafeMutablePointer<RingEntry>, _ session: OpaquePointer) throws(Errno) {
        let queue = unsafe entry.pointee.queue
        if unsafe entry.pointee.isFresh {
            unsafe entry.pointee.isFresh = false
            live[queue, default: 0] += 1
        }
        let message = unsafe entry.pointee.takeRequest()
        guard let message = unsafe message, unsafe !entry.pointee.isPriming else {
            unsafe entry.pointee.answer(message == nil ? -EIO : 0)
            try unsafe commit(entry)
            return
        }
        // Only the queue of the CPU that this thread is on can be primed.
        unsafe entry.pointee.mayBeHeld = queue == cpu || live[queue, default: 0] > 1
        // The pid of struct fuse_in_header.
        unsafe priority.noteAsker(message.loadUnaligned(fromByteOffset: 32, as: UInt32.self))
        var buffer = unsafe fuse_buf()
        unsafe buffer.mem = message.baseAddress
        unsafe buffer.size = message.count
        unsafe TemporaryFile.translate(message)
        unsafe AnsweringEntry.current = unsafe entry
        unsafe fuse_session_process_buf(session, &buffer)
        unsafe AnsweringEntry.current = nil
        unsafe set.redeliver(entry, session)
        if unsafe entry.pointee.isDeferred {
            // Those who wait long must not be all that a CPU may ask for.
            ready[queue, default: 0] -= 1
            live[queue, default: 0] -= 1
            if ready[queue, default: 0] < options.depth {
                // Without memory for one more, the next who ask wait until one of the others has its answer.
                do throws(Errno) { try addEntry(queue, isFresh: true) } catch .noMemory {}
            }
            if queue == cpu, live[queue, default: 0] == 0 { needsPriming = true }
        } else {
            if unsafe !entry.pointee.isAnswered { unsafe entry.pointee.answer(-EIO) }
            try unsafe commit(entry)
        }
    }

    private func commit(_ entry: UnsafeMutablePointer<RingEntry>) throws(Errno) {
        let isQueued = unsafe curing_push_command(
            raw, device, UInt32(CURING_COMMIT_AND_FETCH), UInt32(entry.pointee.queue), entry.pointee.commit,
            nil,
            UInt64(UInt(bitPattern: entry)))
        guard isQueued else { throw .noBufferSpace }
    }

    private func commitAnswered() throws(Errno) {
        let answered = unsafe shared.withLock { shared in
            defer { unsafe shared.answered = [] }
            return unsafe shared.answered
        }
        for index in unsafe answered.indices {
            let entry = unsafe answered[index]
            unsafe ready[entry.pointee.queue, default: 0] += 1
            unsafe live[entry.pointee.queue, default: 0] += 1
            try unsafe commit(entry)
        }
    }

    // MARK: Other threads

    /// Hands over a deferred request that has its answer; false when no thread would take it.
    func complete(_ entry: UnsafeMutablePointer<RingEntry>) -> Bool {
        var poll = pollfd(fd: device, events: 0, revents: 0)
        if unsafe Glibc.poll(&poll, 1, 0) == 1, poll.revents & Int16(POLLERR) != 0 { return false }
        return shared.withLock { shared in
            if shared.hasEnded { return false }
            unsafe shared.answered.append(entry)
            // Within the lock: the descriptor is the ring's.
            if unsafe shared.answered.count == 1 { eventfd_write(wake, 1) }
            return true
        }
    }

    /// Has the thread look for interrupts of requests that it has.
    func recheck() {
        shared.withLock { shared in
            if !shared.hasEnded { eventfd_write(wake, 1) }
        }
    }

    /// Has the thread leave once it has answered what it serves.
    func stop() {
        shared.withLock { shared in
            shared.isStopping = true
            eventfd_write(wake, 1)
        }
    }
}
