import CListener
public import CoherentMemory
import Glibc
import LinuxSupport
public import SystemPackage

/// Answers the calls of the programs of a mount: those that `cdmfs run` has started, of all users.
///
/// A run hands over the listener of a filter (seccomp_unotify(2)). Every process may, so nothing of it is trusted: a call is of the thread
/// of which the kernel says it is, and has no more rights than that; whatever else a listener reports, the kernel does.
public final class ProgramServer: Sendable {
    private let world: any ProgramWorld
    private let directory = SpaceDirectory()
    private let namespaces = ProgramNamespaces()
    /// Closed at the other end when the server ends.
    private let stop: FileDescriptor
    private let isOver: Mutex<FileDescriptor?>
    private let listeners = Mutex(UserSlots(total: 128, share: 32, reserve: 32))

    /// Whether anonymous memory of programs can be the machine's: that takes userfaultfd(2) with the events of Linux 6.6, an architecture that
    /// agents know, and the right to trace.
    public static var hasMemory: Bool { clistener_check_agents() == 0 }

    /// - Throws: where the host has no more descriptors.
    public init(_ world: any ProgramWorld) throws(Errno) {
        guard let pipe = try? FileDescriptor.pipe() else { throw Errno(rawValue: errno) }
        self.world = world
        stop = pipe.readEnd
        isOver = Mutex(pipe.writeEnd)
    }

    deinit {
        close()
        try? stop.close()
    }

    /// Takes over a listener.
    ///
    /// - Parameters:
    ///   - process: the process that made the listener.
    ///   - listener: the number of its descriptor in `process`.
    ///   - keeper: the number there of a socket that is closed when no thread answers any more.
    ///   - user: who asks.
    /// - Throws: EINVAL for what is no listener, or no socket; EAGAIN where the user, or all, have too many; EBADF and EPERM where
    ///   the descriptors are not to be had.
    public func serve(process: Int32, listener: Int32, keeper: Int32, user: UInt32) throws(Errno) {
        guard listeners.withLock({ $0.take(for: user) }) else { throw .resourceTemporarilyUnavailable }
        do throws(Errno) {
            let file = try take(listener, of: process)
            do throws(Errno) {
                guard clistener_is_listener(file.rawValue) == 1 else { throw .invalidArgument }
                let socket = try take(keeper, of: process)
                do throws(Errno) {
                    let calls = try CallListener(
                        file, keeper: socket, stop: stop, world: world, directory: directory,
                        namespaces: namespaces, user: user
                    ) { [self] in end(user) }
                    try calls.start()
                } catch {
                    try? socket.close()
                    throw error == .notSocket ? .invalidArgument : error
                }
            } catch {
                try? file.close()
                throw error
            }
        } catch {
            end(user)
            throw error
        }
    }

    private func take(_ number: Int32, of process: Int32) throws(Errno) -> FileDescriptor {
        let file = clistener_take_file(process, number)
        guard file >= 0 else { throw Errno(rawValue: errno) }
        return FileDescriptor(rawValue: file)
    }

    private func end(_ user: UInt32) { listeners.withLock { $0.giveBack(by: user) } }

    /// Takes pages of an address space, or of shared memory, away from the programs that have it whose frames failed. It waits for a task that
    /// lives with the program.
    public func takeFailed(_ memory: Buffer, bytes: Range<UInt64>) {
        if let space = directory[memory] {
            space.takeFailed(bytes, in: world.machine)
        } else {
            directory.takeFailed(memory, bytes: bytes, in: world.machine)
        }
    }

    /// Has programs told of failed pages of a direct buffer that they map. It may wait for as long as one of them keeps its address space
    /// locked.
    public func watchFailures(of buffer: Buffer, bytes: Range<UInt64>) {
        // It is asked at each invalidation, most of which are for other reasons.
        guard hasPrograms, !world.machine.failedRanges(of: buffer, in: bytes).isEmpty else { return }
        for space in directory.all { space.watchFailures(of: buffer, bytes: bytes, in: world) }
    }

    /// The use of pages of an address space, or of shared memory, since it was asked for last; nil where it is not known. Waits a short time at
    /// most, for each program that has it.
    public func use(of memory: Buffer, pages: [Range<UInt64>]) -> ProgramUse? {
        guard let space = directory[memory] else {
            return directory.use(of: memory, pages: pages, node: world.node(ofTask:))
        }
        let ranges = pages.map { $0.lowerBound << Page.shift..<$0.upperBound << Page.shift }
        guard let stored = space.use.stored(ranges, of: space, areas: { space.ownAreas(in: $0) }) else { return nil }
        let process = space.state.withLock { $0.process } ?? 0
        let found = stored.ranges.map { $0.lowerBound >> Page.shift..<$0.upperBound >> Page.shift }
        return ProgramUse([
            .init(pages: RangeSet(found), origin: Origin(pid: process, node: world.node(ofTask: process)))
        ])
    }

    /// The memory of a task that is the machine's and no file's: its own at all addresses, and what it shares at some of them. Empty where that
    /// is the host's. It may wait for as long as the task keeps its address space locked.
    public func memory(ofTask task: Int32) -> [MappedBuffer] {
        guard let space = directory.space(of: task) else { return [] }
        let own = MappedBuffer(addresses: 0..<Machine.addressLimit, buffer: space.memory, offset: 0)
        return [own] + space.sharedMappings
    }

    /// The processes whose memory is known to be the machine's, and how many address spaces have no process that is known: forks have
    /// made them.
    public var processes: (known: [Int32], others: Int) {
        let processes = directory.all.map { $0.state.withLock { $0.process } }
        return (processes.compactMap { $0 }, processes.count { $0 == nil })
    }

    /// What a buffer is called that is memory of programs that run, as mappings are in /proc/PID/maps; nil for another one.
    public func name(of id: Buffer.ID) -> String? {
        if directory.contains(id) { return "[anon]" }
        return directory.object(of: id).map { $0.isHuge ? "[anon_hugepage]" : "[anon_shmem]" }
    }

    /// Whether there are programs.
    public var hasPrograms: Bool { !namespaces.isEmpty }

    /// Whether a thread of a user is one of the programs: of a process that has an agent, or in the namespace of a run. It does not wait.
    public func isProgram(_ thread: Int32, of user: UInt32) -> Bool {
        if namespaces.contains(thread, of: user) { return true }
        guard let process = ProcStatus.process(of: thread) else { return false }
        return directory.all.contains { $0.state.withLock { $0.process } == process }
    }

    /// Answers no more calls: the keepers do.
    public func close() {
        try? isOver.withLock { $0.take() }?.close()
    }
}
