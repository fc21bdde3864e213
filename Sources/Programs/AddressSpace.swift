import CListener
import CoherentMemory
import Dispatch
import Glibc
import LinuxSupport
import SystemPackage

/// The address space of a program (struct mm_struct): the frames that the machine has for it, and those who act in it.
///
/// First touches of its anonymous memory come through a userfaultfd(2), and so does what a fork, munmap(2) and madvise(2) do to it. An
/// agent, a task that shares it, executes the calls that map memory there, so that what they map is registered before a thread can
/// touch it.
///
/// No lock of this class is held while memory of the program is read: the read may be a first touch, which waits for the thread that
/// deals with events.
final class AddressSpace: Sendable {
    /// The mark of an address space, which a program can read and cannot guess of another one.
    struct Mark: Hashable, Sendable {
        let rawValue: UInt64

        init(rawValue: UInt64) { self.rawValue = rawValue }

        /// That of a task; nil for one whose address space has none, or that may not be looked into. It may wait for the thread that
        /// deals with events, and for as long as the task keeps its address space locked.
        init?(of task: Int32) {
            var mark: UInt64 = 0
            let count = unsafe withUnsafeMutableBytes(of: &mark) {
                unsafe clistener_peek(task, clistener_mark, $0.baseAddress!, 8)
            }
            guard count == 8, mark != 0 else { return nil }
            rawValue = mark
        }
    }

    let mark: Mark
    let memory: Buffer
    let faults: FileDescriptor

    struct State {
        /// What is registered. Neighbours are one range, whether or not they are one mapping.
        var areas = RangeSet<UInt64>()
        /// What of that is memory that others share.
        var shared = SharedAreas()
        /// What an mremap(2) is about to move: the kernel tells that these addresses are unmapped, and their pages move.
        var moving: Range<UInt64>?
        /// What has been mapped anew before the kernel has told that the mapping before is unmapped: what it tells then is old.
        var replaced = RangeSet<UInt64>()
        /// Where failed pages of direct buffers are mapped, as far as touches of them are reported.
        var failures: [MemoryArea] = []
        /// What is being taken away because its frames failed: the kernel tells that these addresses lose what they hold.
        var failing: Range<UInt64>?
        /// What is mapped from now on is locked (mlockall(2) with MCL_FUTURE).
        var locksFuture = false
        /// Whether pages may have no frame because an elder has one for them.
        var sharesPages = false
        /// The process, of one that has made no call yet, as far as it was looked for.
        var guess: Int32?
        var pageMap: PageMap?
        /// First touches in sequence that take frames, and those that take zeros.
        var stores = TouchSequences()
        var loads = TouchSequences()
        /// Windows of which a page was loaded from, or was stored to while the others were write-protected.
        var loadedWindows = TouchedWindows()
        var storedWindows = TouchedWindows()
        /// Calls that are repeated where a signal interrupts them.
        var repeated = RepeatedCalls()
        /// The end of the heap (brk(2)); nil until it grows.
        var heapEnd: UInt64?
        /// The socket of the agent; nil for an address space that a fork has made and that has mapped nothing yet.
        var agent: FileDescriptor?
        /// The user of the program.
        var user: UInt32 = 0
        /// The process, once it has made a call.
        var process: Int32?
        /// A process of the PID namespace whose numbers its threads have; nil where those are the daemon's.
        var namespace: Int32?
        var isOver = false
    }

    let state: Mutex<State>
    /// Held while a call is executed and what follows from it is done.
    let calls = Mutex<Void>(())
    /// Held while an agent is made.
    let injection = Mutex<Void>(())
    let use = PageUse()
    /// Held while events are read and dealt with: who has had it knows that what the kernel had told before is done.
    let events = Mutex<Void>(())

    /// It and those that forks have made of it, or of which forks have made it.
    let family: Family

    init(
        memory: Buffer, faults: FileDescriptor, state: State = State(), family: Family = Family()
    ) {
        mark = Mark(rawValue: .random(in: 1 ... .max))
        self.memory = memory
        self.faults = faults
        self.state = Mutex(state)
        self.family = family
        family.add(self)
    }

    deinit {
        try? faults.close()
        try? state.withLock { $0.agent }?.close()
    }

    /// What is registered of some addresses.
    func areas(in range: Range<UInt64>) -> RangeSet<UInt64> {
        state.withLock { $0.areas.intersection(RangeSet(range)) }
    }

    /// What is registered of some addresses and is the program's own.
    func ownAreas(in range: Range<UInt64>) -> RangeSet<UInt64> {
        state.withLock { state in
            let areas = state.areas.intersection(RangeSet(range))
            return state.shared.areas.isEmpty ? areas : areas.subtracting(state.shared.addresses)
        }
    }

    /// The shared memory of an address; nil for none.
    func shared(at address: UInt64) -> SharedArea? { state.withLock { $0.shared[address] } }

    /// Frees what addresses had that are mapped anew: the kernel tells of the end of a mapping when others can be there already
    /// (userfaultfd_unmap_complete()).
    func replace(_ range: Range<UInt64>, in machine: Machine) {
        let old = state.withLock { state in
            let old = state.areas.intersection(RangeSet(range))
            state.areas.subtract(old)
            state.replaced.formUnion(old)
            return old
        }
        for range in old.ranges {
            detach(range)
            machine.unmap(memory, bytes: range)
        }
    }

    /// Has first touches of addresses reported from now on. What is there already stays as it is.
    ///
    /// Own memory can be write-protected at once: what is so in part only is two mappings to the kernel, and mremap(2) of both is
    /// EFAULT. A fork copies the page tables of what can be, which takes long for shared memory: see ``PageUse``.
    ///
    /// - Returns: false for memory that is not anonymous, or that another userfaultfd has registered.
    @discardableResult
    func register(_ range: Range<UInt64>, isShared: Bool = false) -> Bool {
        guard !range.isEmpty,
            clistener_register(faults.rawValue, range.lowerBound, UInt64(range.count), isShared ? 0 : 1) == 0
        else { return false }
        state.withLock { $0.areas.insert(contentsOf: range) }
        return true
    }

    /// Leaves addresses to the kernel from now on: what is touched there has no frame.
    func unregister(_ range: Range<UInt64>) {
        guard clistener_unregister(faults.rawValue, range.lowerBound, UInt64(range.count)) == 0 else { return }
        state.withLock { $0.areas.remove(contentsOf: range) }
        detach(range)
    }

    /// Waits until events that the kernel has told are dealt with.
    func settle() { events.withLock { _ in } }

    /// Has the agent execute a call. EPIPE where it has ended. The caller holds the calls' lock.
    func execute(_ number: Int, _ arguments: [UInt64]) throws(Errno) -> UInt64 {
        guard let agent = state.withLock({ $0.isOver ? nil : $0.agent }) else { throw .brokenPipe }
        let padded = arguments + Array(repeating: 0, count: 6 - arguments.count)
        let result = unsafe padded.withUnsafeBufferPointer {
            unsafe clistener_command(agent.rawValue, number, $0.baseAddress!)
        }
        guard !(-4095..<0).contains(result) else { throw Errno(rawValue: Int32(-result)) }
        return UInt64(bitPattern: result)
    }

    /// Takes pages away from the program whose frames failed: touches of them are reported from now on, and refused (memory_failure()).
    ///
    /// It waits for the agent. An address space without one keeps what it has.
    ///
    /// - Parameter range: whole pages, of which those go that have failed.
    func takeFailed(_ range: Range<UInt64>, in machine: Machine) {
        calls.withLock { _ in
            for bytes in machine.failedRanges(of: memory, in: range) { empty(bytes) }
        }
    }

    /// The touch of a page whose frame failed, by a thread that waits for it; the next one is reported again. It waits for the agent.
    ///
    /// - Parameters:
    ///   - page: the address of the page.
    ///   - thread: the daemon's number of the thread.
    ///   - shift: the binary logarithm of the bytes that have failed.
    func failedTouch(of page: UInt64, by thread: Int32, shift: Int = Int(Page.shift)) -> FailedTouch {
        FailedTouch(by: thread, of: state.withLock { $0.user }, granularity: Int32(shift)) { [self] in
            refuse(page)
        } heal: { [self] in
            calls.withLock { _ in _ = empty(page..<page + Page.size) }
        }
    }

    /// Has who waits for a page that there is no frame for go on: SIGBUS, and EFAULT for a system call. So it is from now on.
    ///
    /// A page of zeros that programs load from is taken away before. That waits for the agent, so another thread does it.
    func refuse(_ page: UInt64) {
        switch clistener_poison(faults.rawValue, page, Page.size) {
        case 0: break
        case -EEXIST: DispatchQueue.global().async { [self] in takeAndRefuse(page) }
        default: clistener_wake(faults.rawValue, page, Page.size)
        }
    }

    private func takeAndRefuse(_ page: UInt64) {
        calls.withLock { _ in
            let range = page..<page + Page.size
            // Without an agent, as after a fork, it is left without a frame: who waits is not to wait for ever.
            guard empty(range) else {
                letStores(to: range)
                return
            }
            if clistener_poison(faults.rawValue, page, Page.size) < 0 {
                clistener_wake(faults.rawValue, page, Page.size)
            }
        }
    }

    /// Takes away what addresses hold whose frames failed, or the mark that touches of them fail. The caller holds the calls' lock.
    ///
    /// - Returns: false where there is no agent for that.
    @discardableResult
    func empty(_ bytes: Range<UInt64>) -> Bool {
        state.withLock { $0.failing = bytes }
        defer { state.withLock { $0.failing = nil } }
        let arguments = [bytes.lowerBound, UInt64(bytes.count), Self.dontNeedLocked]
        guard (try? execute(Int(CLISTENER_MADVISE), arguments)) != nil else { return false }
        settle()
        return true
    }

    /// MADV_DONTNEED_LOCKED (uapi/asm-generic/mman-common.h): also of memory that is locked.
    private static let dontNeedLocked: UInt64 = 24

    /// Lets the agent end. Descriptors are closed when no thread uses them any more.
    func end() {
        let agent = state.withLock { state in
            state.isOver = true
            return state.agent
        }
        if let agent { shutdown(agent.rawValue, Int32(SHUT_RDWR)) }
    }
}

/// The address spaces of all runs, and the memory that these share, by the numbers of their memory.
final class SpaceDirectory: Sendable {
    private struct Shared {
        weak var object: SharedMemory?
    }

    private let spaces = Mutex<[Buffer.ID: AddressSpace]>([:])
    private let objects = Mutex<[Buffer.ID: Shared]>([:])

    func contains(_ memory: Buffer.ID) -> Bool { spaces.withLock { $0[memory] != nil } }

    /// The shared memory of a number; nil for none.
    func object(of memory: Buffer.ID) -> SharedMemory? { objects.withLock { $0[memory]?.object } }

    func add(_ object: SharedMemory) { objects.withLock { $0[object.memory.id] = Shared(object: object) } }

    /// Forgets shared memory that has gone.
    func remove(_ memory: Buffer.ID) { objects.withLock { $0[memory] = nil } }

    subscript(memory: Buffer) -> AddressSpace? { spaces.withLock { $0[memory.id] } }

    /// The address space of a task; nil where its memory is the host's. It may wait as ``AddressSpace/Mark/init(of:)`` does.
    func space(of task: Int32) -> AddressSpace? {
        guard let mark = AddressSpace.Mark(of: task) else { return nil }
        return spaces.withLock { spaces in spaces.values.first { $0.mark == mark } }
    }

    /// The address spaces there are.
    var all: [AddressSpace] { spaces.withLock { Array($0.values) } }

    func add(_ space: AddressSpace) { spaces.withLock { $0[space.memory.id] = space } }

    func remove(_ space: AddressSpace) { _ = spaces.withLock { $0.removeValue(forKey: space.memory.id) } }
}
