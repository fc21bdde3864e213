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
        /// So many filters a task may have in which one is too strict for an agent.
        var strictDepth = Int.max
        var isOver = false
    }

    private let state = Mutex(State())
    /// Pages that are to be touched once more.
    private let waiting = Mutex<[(space: AddressSpace, page: UInt64)]>([])
    /// Whom the threads of this process serve that read memory of programs: their touches are those of the callers.
    private let served = Mutex<[Int32: Int32]>([:])

    /// - Parameter limit: so many there are at most.
    /// - Throws: where the host has no more descriptors or threads.
    init(_ world: any ProgramWorld, in directory: SpaceDirectory, limit: Int = AddressSpaces.limit) throws(Errno) {
        let poll = clistener_make_poll()
        guard poll >= 0 else { throw .last }
        self.world = world
        self.directory = directory
        self.limit = limit
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
    /// - Returns: false where it is too late.
    func add(_ space: AddressSpace, agent: FileDescriptor, process: Int32) -> Bool {
        let isForeign = (try? PIDNamespace(of: process) != nil) ?? false
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
    /// How long, in milliseconds, a touch waits for which there is no frame while a block goes offline.
    private static let retryInterval: Int32 = 2

    private func run() {
        var tokens = [UInt64](repeating: 0, count: 16)
        while true {
            let orphans = state.withLock { state in
                state.spaces.values.filter { $0.state.withLock { $0.process == nil } }
            }
            let waiting = waiting.withLock { pages in
                defer { pages = [] }
                return pages
            }
            let timeout = !waiting.isEmpty ? Self.retryInterval : orphans.isEmpty ? -1 : Self.sweepInterval
            let count = unsafe tokens.withUnsafeMutableBufferPointer {
                unsafe clistener_poll(poll.rawValue, $0.baseAddress!, Int32($0.count), timeout)
            }
            // Whoever waits there touches it again.
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
            state.areas.remove(contentsOf: range)
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
        do throws(Errno) {
            try placeOrWait(page, of: space, by: origin(of: thread, in: space))
        } catch .noMemory {
            // As the OOM killer does, whoever touches it ends, and not whoever only looks into it.
            guard let process = space.state.withLock({ $0.process }),
                ProcStatus.process(of: number(of: thread, in: space)) == process
            else { return refuse(page, of: space) }
            world.note("no memory for a page of process \(process), by its policy or its nodes: killed")
            kill(process, SIGKILL)
        } catch .ioError {
            fail(address, of: space, by: number(of: thread, in: space))
        } catch {
            refuse(page, of: space)
        }
    }

    /// Places a page. A node that has just gone, or comes back, has no frames for a moment: then it is tried again a few times.
    private func placeOrWait(_ page: UInt64, of space: AddressSpace, by origin: Origin) throws(Errno) {
        for _ in 0..<8 {
            do throws(Errno) {
                try place(page, of: space, by: origin)
                return
            } catch .noMemory {
                // What is free there may come back, and a node that has gone is in nobody's way.
                guard !world.machine.isTakingBlocksOffline else {
                    return waiting.withLock { $0.append((space, page)) }
                }
                usleep(useconds_t(Self.retryInterval) * 1000)
            }
        }
        try place(page, of: space, by: origin)
    }

    /// A touch of a page whose frame failed. Its thread is waited for by a thread of its own: there are as many as threads of programs that
    /// touch such pages.
    private func fail(_ address: UInt64, of space: AddressSpace, by thread: Int32) {
        do throws(Errno) {
            try SystemThread { space.failTouch(at: address, by: thread) }.detach()
        } catch {
            refuse(address & ~(Page.size - 1), of: space)
        }
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

    /// A page that there is no frame for: SIGBUS, and EFAULT for a system call.
    private func refuse(_ page: UInt64, of space: AddressSpace) {
        if clistener_poison(space.faults.rawValue, page, Page.size) < 0 {
            clistener_wake(space.faults.rawValue, page, Page.size)
        }
    }

    /// Gives the page of an address its frame and the program its memory.
    ///
    /// - Throws: what the machine has against it.
    @discardableResult
    func place(_ page: UInt64, of space: AddressSpace, by origin: Origin) throws(Errno) -> Range<UInt64> {
        let place = Place(of: page, in: space)
        let window = window(around: page, of: space, place)
        let touched = try world.machine.touch(
            place.memory, at: place.offset(of: page), around: place.offsets(of: window), origin: origin)
        let bytes = place.addresses(of: touched.bytes)
        fill(bytes, page: page, isFresh: touched.isFresh, of: space, place)
        return bytes
    }

    /// Whose frames addresses have: those of the program's own memory, or of memory that it shares.
    private struct Place {
        let memory: Buffer
        private let shared: SharedArea?

        init(of page: UInt64, in space: AddressSpace) {
            shared = space.shared(at: page)
            memory = shared?.attachment.object.memory ?? space.memory
        }

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

    private func window(around page: UInt64, of space: AddressSpace, _ place: Place) -> Range<UInt64> {
        let size = world.faultAround
        let start = page & ~(size - 1)
        let whole = start..<start + size
        if let limits = place.limits { return whole.clamped(to: limits) }
        // A stack grows to lower addresses, and nobody tells.
        if let own = space.ownAreas(in: whole).ranges.first(where: { $0.contains(page) }) { return own }
        let next = space.state.withLock { $0.shared.areas.map(\.addresses.lowerBound).filter { $0 > page }.min() }
        return page..<min(whole.upperBound, next ?? .max)
    }

    /// Fills pages that have frames with zeros; those that cannot be filled have none afterwards.
    private func fill(_ bytes: Range<UInt64>, page: UInt64, isFresh: Bool, of space: AddressSpace, _ place: Place) {
        let faults = space.faults.rawValue
        var position = bytes.lowerBound
        func giveUp(_ range: Range<UInt64>) {
            if isFresh { world.machine.discard(place.memory, bytes: place.offsets(of: range)) }
        }
        var isFilled = false
        while position < bytes.upperBound {
            var count = clistener_fill(faults, position, bytes.upperBound - position)
            // Not all of it is one mapping.
            if count == -Int64(ENOENT) { count = clistener_fill(faults, position, Page.size) }
            if count > 0 {
                if position <= page, page < position + UInt64(count) { isFilled = true }
                position += UInt64(count)
            } else if count == -Int64(EEXIST) || count == -Int64(ENOENT) {
                // It is there, and known, or not ours.
                if position != page || count == -Int64(ENOENT) { giveUp(position..<position + Page.size) }
                position += Page.size
            } else {
                giveUp(position..<bytes.upperBound)
                break
            }
        }
        // Who was woken without a page touches it again.
        if !isFilled { clistener_wake(faults, page, Page.size) }
    }
}
