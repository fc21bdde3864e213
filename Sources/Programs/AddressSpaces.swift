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
    private let world: any ProgramWorld
    private let directory: SpaceDirectory
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

    /// Programs whose memory is the host's.
    enum Gap: String {
        case users = "memory of programs of other users than root is the host's: vm.unprivileged_userfaultfd is 0"
        case filters = "memory of programs whose seccomp filter forbids calls of an agent is the host's"
        case room = "memory of further programs is the host's: a run has at most 4096 address spaces"
    }

    private let state = Mutex(State())
    /// Touches for which there was no frame.
    private struct Retry {
        var attempts: Int
        var last: ContinuousClock.Instant
    }

    private struct Waiting {
        /// Pages that are to be touched once more.
        var pages: [(space: AddressSpace, page: UInt64)] = []
        /// How often that was tried.
        var retries: [Place: Retry] = [:]

        struct Place: Hashable {
            let space: AddressSpace.Mark
            let page: UInt64
        }
    }

    private let waiting = Mutex(Waiting())
    /// Whom the threads of this process serve that read memory of programs: their touches are those of the callers.
    private let served = Mutex<[Int32: Int32]>([:])

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

    /// How long, in milliseconds, an address space is kept after its end that a fork has made and that has made no call: nobody tells.
    private static let sweepInterval: Int32 = 100
    /// How long, in milliseconds, a touch waits for which there is no frame.
    private static let retryInterval: Int32 = 2
    /// So often such a touch is repeated before its process is killed.
    private static let retryLimit = 8

    private func run() {
        var tokens = [UInt64](repeating: 0, count: 16)
        while true {
            let orphans = state.withLock { state in
                state.spaces.values.filter { $0.state.withLock { $0.process == nil } }
            }
            let waiting = waiting.withLock { waiting in
                defer { waiting.pages = [] }
                return waiting.pages
            }
            let timeout = !waiting.isEmpty ? Self.retryInterval : orphans.isEmpty ? -1 : Self.sweepInterval
            let count = unsafe tokens.withUnsafeMutableBufferPointer {
                unsafe clistener_poll(poll.rawValue, $0.baseAddress!, Int32($0.count), timeout)
            }
            // The thread that waits there touches it again.
            for (space, page) in waiting { clistener_wake(space.faults.rawValue, page, Page.size) }
            for space in orphans where clistener_has_ended(space.faults.rawValue) == 1 { remove(space) }
            for token in tokens.prefix(Int(count)) {
                if token == 0 { return finish() }
                guard let space = state.withLock({ $0.spaces[token & ~Self.isEnd] }) else { continue }
                if token & Self.isEnd != 0 { remove(space) } else { read(space) }
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
    private func read(_ space: AddressSpace) {
        var events = [clistener_event](repeating: clistener_event(), count: 16)
        let isOver = space.events.withLock { _ in
            let count = unsafe events.withUnsafeMutableBufferPointer {
                unsafe clistener_read_events(space.faults.rawValue, $0.baseAddress!, Int32($0.count))
            }
            for event in events.prefix(Int(max(0, count))) { handle(event, of: space) }
            return count < 0
        }
        if isOver { remove(space) }
    }

    private func handle(_ event: clistener_event, of space: AddressSpace) {
        switch event.kind {
        case CLISTENER_FAULT: touch(event.start, of: space, by: event.thread)
        case CLISTENER_FORK: fork(space, FileDescriptor(rawValue: event.file))
        case CLISTENER_REMOVE: discard(event.start..<event.end, of: space)
        case CLISTENER_UNMAP: unmap(event.start..<event.end, of: space)
        default: break
        }
    }

    private func discard(_ range: Range<UInt64>, of space: AddressSpace) {
        var gone = RangeSet(range)
        if let failing = space.state.withLock({ $0.failing }) { gone.remove(contentsOf: failing) }
        for range in gone.ranges { world.machine.discard(space.memory, bytes: range) }
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
        inherited.shared = inherited.shared.inherited
        let child = AddressSpace(
            memory: memory, faults: faults, state: inherited, use: PageUse(hasBegun: space.use.hasBegun),
            family: space.family)
        guard enter(child) != nil else {
            world.machine.remove(memory)
            return
        }
        clistener_fill_mark(faults.rawValue, child.mark.rawValue)
        forks.watch(child)
    }

    // MARK: First touches

    /// Gives a page that was touched its frame, those around it too, and the program its memory (handle_mm_fault()).
    private func touch(_ address: UInt64, of space: AddressSpace, by thread: Int32) {
        let page = address & ~(Page.size - 1)
        if page == clistener_mark {
            if clistener_fill_mark(space.faults.rawValue, space.mark.rawValue) < 0 {
                clistener_wake(space.faults.rawValue, page, Page.size)
            }
            return
        }
        if let part = space.watchedFailure(at: page) { return touch(page, part, of: space, by: thread) }
        do throws(Errno) {
            try follow(page, of: space, by: origin(of: thread, in: space))
        } catch .noMemory where mayWait(page, of: space) {
            // Woken in a moment.
        } catch .noMemory {
            // As the OOM killer does, whoever touches it ends, and not whoever only looks into it.
            guard let process = space.state.withLock({ $0.process }),
                ProcStatus.process(of: number(of: thread, in: space)) == process
            else { return space.refuse(page) }
            world.note("no memory for a page of process \(process), by its policy or its nodes: killed")
            kill(process, SIGKILL)
        } catch .ioError {
            fail(space.failedTouch(of: page, by: number(of: thread, in: space)), page, of: space)
        } catch {
            space.refuse(page)
        }
    }

    /// Has a page touched once more in a moment for which there is no frame: a node whose blocks have just gone offline, or are about to come
    /// online, has none meanwhile.
    ///
    /// - Returns: false once that has been tried often enough, unless blocks are going offline.
    private func mayWait(_ page: UInt64, of space: AddressSpace) -> Bool {
        waiting.withLock { waiting in
            let now = ContinuousClock.now
            let place = Waiting.Place(space: space.mark, page: page)
            var retry = waiting.retries[place] ?? Retry(attempts: 0, last: now)
            if now - retry.last > .milliseconds(100) { retry.attempts = 0 }
            retry = Retry(attempts: retry.attempts + 1, last: now)
            guard retry.attempts <= Self.retryLimit || world.machine.isTakingBlocksOffline else {
                waiting.retries[place] = nil
                return false
            }
            if waiting.retries.count > 1024 { waiting.retries = [:] }
            waiting.retries[place] = retry
            waiting.pages.append((space, page))
            return true
        }
    }

    /// A touch of a page of a direct buffer that had failed.
    private func touch(_ page: UInt64, _ part: BufferPart, of space: AddressSpace, by thread: Int32) {
        guard !world.machine.failedRanges(of: part.buffer, in: part.bytes).isEmpty else {
            return space.forgetFailures(in: page..<page + Page.size)
        }
        let shift = part.buffer.failureShift
        fail(space.failedTouch(of: page, by: number(of: thread, in: space), shift: shift), page, of: space)
    }

    private func fail(_ touch: FailedTouch, _ page: UInt64, of space: AddressSpace) {
        if !world.failedTouches.begin(touch) { space.refuse(page) }
    }

    private func origin(of thread: Int32, in space: AddressSpace) -> Origin {
        let task = number(of: thread, in: space)
        return Origin(pid: task, node: world.node(ofTask: task))
    }

    /// The daemon's number of a thread that touches something: of the one whose call is answered where the daemon itself does it.
    private func number(of thread: Int32, in space: AddressSpace) -> Int32 {
        if let task = served.withLock({ $0[thread] }) { return task }
        guard let process = space.state.withLock({ $0.namespace }) else { return thread }
        return (try? world.task(named: thread, by: process).task) ?? thread
    }

    /// Gives the page of an address its frame and the program its memory.
    ///
    /// - Parameter length: the length of the window in bytes that gets frames with it, more than `fault_around` for what lies ahead.
    /// - Returns: the addresses that have frames now.
    /// - Throws: what the machine has against it.
    @discardableResult
    func place(
        _ page: UInt64, of space: AddressSpace, by origin: Origin, length: UInt64? = nil
    ) throws(Errno) -> Range<UInt64> {
        let place = Place(of: page, in: space)
        let window = window(around: page, length: length ?? world.faultAround, of: space, place)
        func give() throws(Errno) -> Range<UInt64> {
            let touched = try world.machine.touch(
                place.memory, at: place.offset(of: page), around: place.offsets(of: window), origin: origin)
            return fill(
                place.addresses(of: touched.bytes), page: page, isFresh: touched.isFresh, of: space, place)
        }
        guard let object = place.object else { return try give() }
        return try object.turn.withLock { _ throws(Errno) in try give() }
    }

    /// Memory that forks of a program are to share, and no other program.
    func makeSharedMemory(share: FrameShare?) -> SharedMemory {
        SharedMemory(world.machine, share: share, in: directory)
    }

    /// The same for a touch of a program, which may go on in sequence.
    private func follow(_ page: UInt64, of space: AddressSpace, by origin: Origin) throws(Errno) {
        let usual = world.faultAround
        let length = space.state.withLock { $0.sequences.length(at: page, usual: usual) }
        let bytes = try place(page, of: space, by: origin, length: length)
        space.state.withLock { $0.sequences.note(page, end: bytes.upperBound, length: length, usual: usual) }
    }

    /// Whose frames addresses have: those of the program's own memory, or of memory that it shares.
    private struct Place {
        let memory: Buffer
        private let shared: SharedArea?

        init(of page: UInt64, in space: AddressSpace) {
            shared = space.shared(at: page)
            memory = shared?.attachment.object.memory ?? space.memory
        }

        /// The shared memory; nil for own memory.
        var object: SharedMemory? { shared?.attachment.object }

        /// The addresses of the shared memory; nil for own memory.
        var limits: Range<UInt64>? { shared?.addresses }

        func offset(of address: UInt64) -> UInt64 {
            guard let shared else { return address }
            return address - shared.addresses.lowerBound + shared.offset
        }

        func offsets(of range: Range<UInt64>) -> Range<UInt64> {
            let start = offset(of: range.lowerBound)
            return start..<start + UInt64(range.count)
        }

        func addresses(of offsets: Range<UInt64>) -> Range<UInt64> {
            guard let shared else { return offsets }
            let start = offsets.lowerBound - shared.offset + shared.addresses.lowerBound
            return start..<start + UInt64(offsets.count)
        }
    }

    private func window(
        around page: UInt64, length: UInt64, of space: AddressSpace, _ place: Place
    ) -> Range<UInt64> {
        let size = world.faultAround
        let start = page & ~(size - 1)
        let whole = length > size ? page..<(page + length) & ~(size - 1) : start..<start + size
        if let limits = place.limits { return whole.clamped(to: limits) }
        // A stack grows to lower addresses, and nobody tells.
        if let own = space.ownAreas(in: whole).ranges.first(where: { $0.contains(page) }) { return own }
        let next = space.state.withLock { $0.shared.areas.map(\.addresses.lowerBound).filter { $0 > page }.min() }
        return page..<min(whole.upperBound, next ?? .max)
    }

    /// Fills pages that have frames with zeros; those that cannot be filled have none afterwards.
    ///
    /// - Returns: the addresses without those ahead that are of another mapping.
    private func fill(
        _ bytes: Range<UInt64>, page: UInt64, isFresh: Bool, of space: AddressSpace, _ place: Place
    ) -> Range<UInt64> {
        let faults = space.faults.rawValue
        var (position, end) = (bytes.lowerBound, bytes.upperBound)
        func giveUp(_ range: Range<UInt64>) {
            if isFresh { world.machine.discard(place.memory, bytes: place.offsets(of: range)) }
        }
        // How much is tried at once.
        var length = end - position
        var isFilled = false
        while position < end {
            length = min(length, end - position)
            let count = clistener_fill(faults, position, length)
            if count == -Int64(ENOENT), length > Page.size {
                // Not all of it is one mapping, and what is far ahead may be memory that is not to be touched.
                let near = (page + world.faultAround) & ~(world.faultAround - 1)
                if near < end {
                    giveUp(near..<end)
                    end = near
                }
                length = Page.size
                continue
            }
            length *= 2
            if count > 0 {
                if position <= page, page < position + UInt64(count) { isFilled = true }
                position += UInt64(count)
            } else if count == -Int64(EEXIST) || count == -Int64(ENOENT) {
                // It is there, and known, or not ours.
                if position != page || count == -Int64(ENOENT) { giveUp(position..<position + Page.size) }
                position += Page.size
            } else {
                giveUp(position..<end)
                break
            }
        }
        // Who was woken without a page touches it again.
        if !isFilled { clistener_wake(faults, page, Page.size) }
        return bytes.lowerBound..<end
    }
}
