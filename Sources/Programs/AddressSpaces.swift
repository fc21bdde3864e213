import CListener
import CoherentMemory
import Glibc
import LinuxSupport
import Synchronization
import SystemPackage

/// The address spaces of the programs of one run, and the thread that deals with what happens in them.
///
/// That thread waits for nothing but the machine: neither for an agent nor for memory of a program, which may wait for it.
final class AddressSpaces: Sendable {
    let world: any ProgramWorld
    let directory: SpaceDirectory
    private let forks: ForkedPages
    private let limit: Int
    private let tell: @Sendable (String) -> Void
    private let poll: FileDescriptor
    /// Closed at the other end when the thread is to end.
    private let over: FileDescriptor
    private let end: Mutex<FileDescriptor?>

    private struct State {
        var spaces: [UInt64: AddressSpace] = [:]
        var tokens: [AddressSpace.Mark: UInt64] = [:]
        /// Descriptors that become readable at the end of the process of a space, by its token.
        var ends: [UInt64: FileDescriptor] = [:]
        var nextToken: UInt64 = 2
        /// Processes that can have no agent, with the times at which they began.
        var refused: [Int32: UInt64] = [:]
        /// What the user of the run knows already.
        var told: Set<Gap> = []
        /// So many filters a task may have in which one is too strict for an agent.
        var strictDepth = Int.max
        var isOver = false
    }

    /// What is not as on the host, or not the machine's.
    enum Gap: String {
        case listeners =
            "a program cannot have a seccomp listener of its own (EBUSY): a filter chain has at most one, which cdmfs uses"
        case users = "memory of programs of other users than root is the host's: vm.unprivileged_userfaultfd is 0"
        case filters = "memory of programs whose seccomp filter forbids calls of an agent is the host's"
        case room = "memory of further programs is the host's: a run has at most 4096 address spaces"
    }

    private let state = Mutex(State())
    /// Touches for which there is no frame at the moment.
    let waiting = Mutex(WaitingTouches())
    /// The calls in texts of files that are repeated where a signal interrupts them.
    let textCalls = Mutex<[TextCalls: [TextCalls.Place]]>([:])
    /// The callers that threads of this process serve and whose memory they read: the touches are the callers'.
    let served = Mutex<[Int32: Int32]>([:])

    /// - Parameters:
    ///   - limit: so many there are at most.
    ///   - tell: says a line to the user of the run.
    /// - Throws: where the host has no more descriptors or threads.
    init(
        _ world: any ProgramWorld, in directory: SpaceDirectory, limit: Int = AddressSpaces.limit,
        tell: @escaping @Sendable (String) -> Void
    ) throws(Errno) {
        let poll = clistener_make_poll()
        guard poll >= 0 else { throw .last }
        self.world = world
        self.directory = directory
        self.limit = limit
        self.tell = tell
        forks = ForkedPages(world)
        self.poll = FileDescriptor(rawValue: poll)
        guard let pipe = try? FileDescriptor.pipe() else {
            Glibc.close(poll)
            throw .last
        }
        for end in [pipe.readEnd, pipe.writeEnd] { _ = fcntl(end.rawValue, F_SETFD, FD_CLOEXEC) }
        over = pipe.readEnd
        end = Mutex(pipe.writeEnd)
        clistener_add_to_poll(poll, over.rawValue, 0)
        try SystemThread { [self] in run() }.detach()
    }

    deinit {
        try? poll.close()
        try? over.close()
    }

    /// Ends all: the programs that are left go on with memory of the host.
    func close() { try? end.withLock { $0.take() }?.close() }

    /// Notes whose calls the calling thread answers now.
    func serve(_ task: Int32) { served.withLock { $0[clistener_own_thread()] = task } }

    // MARK: Finding

    /// The address space of a task; nil for one that has no mark of this run. It may wait for the thread that deals with events.
    func space(of task: Int32) -> AddressSpace? {
        guard let mark = AddressSpace.Mark(of: task) else { return nil }
        return state.withLock { state in state.tokens[mark].flatMap { state.spaces[$0] } }
    }

    // MARK: Coming and going

    /// Whether a process may have an agent: not one of those that could not have one.
    func isRefused(_ process: Int32, startTime: UInt64) -> Bool {
        state.withLock { $0.refused[process] == startTime }
    }

    /// Says once that the memory of some programs is the host's.
    func tell(of gap: Gap) {
        if state.withLock({ $0.told.insert(gap).inserted }) { tell(gap.rawValue) }
    }

    /// Notes that a process can have no agent.
    func refuse(_ process: Int32, startTime: UInt64) {
        state.withLock { state in
            if state.refused.count > 4096 { state.refused = [:] }
            state.refused[process] = startTime
        }
    }

    /// Notes that a filter which is the one of this number in a chain forbids calls of agents. False where one is known that early.
    func noteStrictFilter(depth: Int) -> Bool {
        state.withLock { state in
            guard depth < state.strictDepth else { return false }
            state.strictDepth = depth
            return true
        }
    }

    /// Whether the calls of an agent are allowed to a task with so many filters.
    func allowsAgents(filters: Int) -> Bool { state.withLock { filters < $0.strictDepth } }

    /// Forgets what a process had before an exec: its agent keeps it.
    func removeOld(of process: Int32) {
        for old in state.withLock({ Array($0.spaces.values) }) where old.state.withLock({ $0.process }) == process {
            remove(old)
        }
    }

    /// Takes an address space up that has got an agent, or one more.
    ///
    /// - Parameter isForeign: whether the process is of another PID namespace than the daemon.
    /// - Returns: false where it is too late.
    func add(_ space: AddressSpace, agent: FileDescriptor, process: Int32, isForeign: Bool = false) -> Bool {
        space.state.withLock { state in
            state.agent = agent
            state.process = process
            state.namespace = isForeign ? process : nil
        }
        let watch = clistener_watch_end(process)
        guard watch >= 0 else { return false }
        let token = enter(space) { state, token in state.ends[token] = FileDescriptor(rawValue: watch) }
        guard let token else {
            Glibc.close(watch)
            return false
        }
        return clistener_add_to_poll(poll.rawValue, watch, token | Self.isEnd) == 0
    }

    private static let isEnd: UInt64 = 1 << 63
    /// So many address spaces a run has, for each takes descriptors of the daemon. The memory of more is the host's.
    static let limit = 4096

    /// Whether one more may come.
    var hasRoom: Bool { state.withLock { $0.spaces.count < limit } }

    /// Gives a space a token, if it has none, and waits for its events; nil where all is over, or there are too many.
    private func enter(_ space: AddressSpace, _ edit: (inout State, UInt64) -> Void = { _, _ in }) -> UInt64? {
        let (token, isNew) = state.withLock { state -> (UInt64?, Bool) in
            guard !state.isOver else { return (nil, false) }
            if let token = state.tokens[space.mark] {
                edit(&state, token)
                return (token, false)
            }
            guard state.spaces.count < limit else { return (nil, false) }
            let token = state.nextToken
            state.nextToken += 1
            state.spaces[token] = space
            state.tokens[space.mark] = token
            edit(&state, token)
            return (token, true)
        }
        if isNew { directory.add(space) }
        if let token, isNew { clistener_add_to_poll(poll.rawValue, space.faults.rawValue, token) }
        return token
    }

    /// Forgets an address space, and frees what it had.
    func remove(_ space: AddressSpace) {
        let watch = state.withLock { state -> FileDescriptor? in
            // One that had no room has none.
            guard let token = state.tokens.removeValue(forKey: space.mark) else { return nil }
            state.spaces[token] = nil
            return state.ends.removeValue(forKey: token)
        }
        space.end()
        directory.remove(space)
        space.detach(0..<UInt64.max)
        clistener_remove_from_poll(poll.rawValue, space.faults.rawValue)
        try? watch?.close()
        world.machine.remove(space.memory)
    }

    // MARK: Events

    /// How long, in milliseconds, an address space is kept after its end that a fork has made and that has made no call: its end is not reported.
    private static let sweepInterval: Int32 = 100

    /// A touch that comes after so short a time is likely to be followed by another one.
    private static let shortWait = Duration.microseconds(200)

    private func run() {
        var tokens = [UInt64](repeating: 0, count: 16)
        var isSoon = false
        while true {
            let orphans = state.withLock { state in
                state.spaces.values.filter { $0.state.withLock { $0.process == nil } }
            }
            let waiting = waiting.withLock { $0.take() }
            let timeout = !waiting.isEmpty ? WaitingTouches.interval : orphans.isEmpty ? -1 : Self.sweepInterval
            let start = ContinuousClock.now
            let count = unsafe tokens.withUnsafeMutableBufferPointer {
                unsafe clistener_poll(poll.rawValue, $0.baseAddress!, Int32($0.count), timeout, isSoon ? 1 : 0)
            }
            let isShort = .now - start < Self.shortWait
            isSoon = false
            // The thread that waits there touches it again.
            for (space, page) in waiting { clistener_wake(space.faults.rawValue, page, Page.size) }
            for space in orphans where clistener_has_ended(space.faults.rawValue) == 1 { remove(space) }
            for token in tokens.prefix(Int(count)) {
                if token == 0 { return finish() }
                guard let space = state.withLock({ $0.spaces[token & ~Self.isEnd] }) else { continue }
                if token & Self.isEnd != 0 { remove(space) } else if read(space), isShort { isSoon = true }
            }
        }
    }

    private func finish() {
        let left = state.withLock { state in
            state.isOver = true
            return Array(state.spaces.values)
        }
        for space in left { remove(space) }
    }

    /// Reads events of a space and deals with them.
    ///
    /// - Returns: whether there are touches among them.
    private func read(_ space: AddressSpace) -> Bool {
        var events = [clistener_event](repeating: clistener_event(), count: 16)
        let count = space.events.withLock { _ in
            let count = unsafe events.withUnsafeMutableBufferPointer {
                unsafe clistener_read_events(space.faults.rawValue, $0.baseAddress!, Int32($0.count))
            }
            for event in events.prefix(Int(max(0, count))) { handle(event, of: space) }
            return count
        }
        if count < 0 { remove(space) }
        return events.prefix(Int(max(0, count))).contains { $0.isTouch }
    }

    private func handle(_ event: clistener_event, of space: AddressSpace) {
        switch event.kind {
        case CLISTENER_LOAD: touch(event.start, of: space, by: event.thread, .load)
        case CLISTENER_STORE: touch(event.start, of: space, by: event.thread, .store)
        case CLISTENER_PROTECTED_STORE: touch(event.start, of: space, by: event.thread, .protectedStore)
        case CLISTENER_FORK: fork(space, FileDescriptor(rawValue: event.file))
        case CLISTENER_REMOVE: discard(event.start..<event.end, of: space)
        case CLISTENER_UNMAP: unmap(event.start..<event.end, of: space)
        default: break
        }
    }

    private func discard(_ range: Range<UInt64>, of space: AddressSpace) {
        var gone = RangeSet(range)
        if let failing = space.state.withLock({ $0.failing }) { gone.remove(contentsOf: failing) }
        for range in gone.ranges {
            world.machine.discard(space.memory, bytes: range)
            space.discardHuge(range)
        }
    }

    private func unmap(_ range: Range<UInt64>, of space: AddressSpace) {
        let gone = space.state.withLock { state in
            var gone = RangeSet(range)
            if let moving = state.moving { gone.remove(contentsOf: moving) }
            gone.subtract(state.replaced)
            state.replaced.remove(contentsOf: range)
            state.areas.subtract(gone)
            state.failures = state.failures.flatMap { $0.subtracting(range) }
            return gone
        }
        for range in gone.ranges { space.detach(range) }
        for range in gone.ranges { world.machine.unmap(space.memory, bytes: range) }
    }

    /// dup_mmap(): what the child has, the parent has had at that moment.
    private func fork(_ space: AddressSpace, _ faults: FileDescriptor) {
        let memory = world.machine.makeAddressSpace(share: space.memory.share)
        world.machine.copy(space.memory, to: memory)
        var inherited = space.state.withLock { $0 }
        (inherited.agent, inherited.process, inherited.moving) = (nil, nil, nil)
        // Locks are not inherited.
        (inherited.locksFuture, inherited.guess, inherited.pageMap) = (false, nil, nil)
        inherited.replaced = RangeSet()
        inherited.shared = inherited.shared.inherited(in: directory)
        let child = AddressSpace(
            memory: memory, faults: faults, state: inherited, family: space.family)
        guard enter(child) != nil else {
            child.detach(0..<UInt64.max)
            world.machine.remove(memory)
            return
        }
        clistener_fill_mark(faults.rawValue, child.mark.rawValue)
        forks.watch(child)
    }
}

extension clistener_event {
    fileprivate var isTouch: Bool { [CLISTENER_LOAD, CLISTENER_STORE, CLISTENER_PROTECTED_STORE].contains(kind) }
}
