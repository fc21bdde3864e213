import CListener
import CoherentMemory
import Glibc
import LinuxSupport
import MachineTopology
import SystemPackage

/// The thread of a program that makes a call.
///
/// Nothing of what it says is trusted: its memory is read and written as its own, and what is asked of /proc about it counts only while the
/// call waits, for until then its number is no other thread's.
final class CallingTask: CallContext {
    let task: Int32
    let world: any ProgramWorld
    let listener: Int32
    private let call: UInt64
    /// The address spaces of its run, where these are the machine's.
    let spaces: AddressSpaces?
    /// Readable when no thread answers any more.
    let stop: Int32
    /// Whether its memory may not be looked into from here.
    private(set) var isHidden = false

    init(
        _ call: clistener_call, of listener: Int32, in world: any ProgramWorld, spaces: AddressSpaces? = nil,
        stop: Int32 = -1
    ) {
        task = call.task
        self.call = call.id
        self.listener = listener
        self.world = world
        self.spaces = spaces
        self.stop = stop
    }

    var machine: Machine { world.machine }

    var node: Int { world.node(ofTask: task) }

    var cpu: Int { world.cpu(ofTask: task) }

    var isOver: Bool { clistener_is_waiting(listener, call) == 0 }

    private(set) lazy var status: TaskStatus? = try? TaskStatus(of: task)

    /// Capabilities of another user namespace than the daemon's have no power over the machine (capable()).
    func has(_ capability: TaskStatus.Capability) -> Bool {
        (status?.has(capability) ?? false)
            && linkTarget("/proc/\(task)/ns/user") == linkTarget("/proc/self/ns/user")
    }

    var isPrivileged: Bool { has(.nice) }

    var mayFailMemory: Bool { has(.administer) }

    func read(_ address: UInt64, _ count: Int) throws(Errno) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        guard count > 0 else { return bytes }
        let read = unsafe bytes.withUnsafeMutableBytes {
            unsafe clistener_peek(task, address, $0.baseAddress!, count)
        }
        guard read == count else { throw fault(read) }
        // Else they may be another thread's.
        guard !isOver else { throw .interrupted }
        return bytes
    }

    func write(_ bytes: [UInt8], to address: UInt64) throws(Errno) {
        guard !bytes.isEmpty else { return }
        // Writing there would not fail where the program itself may not even read.
        _ = try read(address, bytes.count)
        // Nor would it where the program may only read: /proc/PID/mem overrides that (FOLL_FORCE).
        guard MapsReader.mayStore(task, to: address..<address + UInt64(bytes.count)) else { throw .badAddress }
        var position = 0
        var deadline: ContinuousClock.Instant?
        while position < bytes.count {
            let written = unsafe bytes.withUnsafeBytes {
                unsafe clistener_poke(
                    listener, call, task, address + UInt64(position), $0.baseAddress! + position, bytes.count - position
                )
            }
            position += max(0, written)
            if written > 0 { continue }
            // Such a store does not wait as a program's does (get_user_pages_remote() without FOLL_UNLOCKABLE). It is tried again where the
            // page is write-protected once more, or events are to be read first.
            let error = fault(written)
            if let deadline, deadline < .now { throw error }
            if deadline == nil { deadline = .now + Self.patience } else { usleep(100) }
            guard !isOver, letStore(to: address + UInt64(position)) else { throw error }
        }
    }

    /// How long stores to memory of the caller are tried.
    private static let patience = Duration.seconds(1)

    /// Has a store to a page of the caller's memory that is write-protected go on; false where there is no frame for it, or no such page.
    private func letStore(to address: UInt64) -> Bool {
        guard let spaces, let space = spaces.space(of: task), !space.areas(in: address..<address + 1).isEmpty
        else { return false }
        space.settle()
        return (try? spaces.place(address & ~(Page.size - 1), of: space, by: Origin(pid: task, node: node))) != nil
    }

    func isPresent(_ page: UInt64, of process: Int32?) -> Bool {
        !PresentPages.of(process ?? task, in: page..<page + Page.size).isEmpty
    }

    private func fault(_ result: Int) -> Errno {
        if result < 0, errno == EPERM { isHidden = true }
        return .badAddress
    }

    /// The text at an address up to a NUL; nil for one that is longer than a path.
    func path(at address: UInt64) -> String? {
        var bytes: [UInt8] = []
        var position = address
        while bytes.count < Int(PATH_MAX) {
            // Never beyond a page that may be the last one.
            var part = [UInt8](repeating: 0, count: Int(min(256, 4096 - position & 4095)))
            let count = unsafe part.withUnsafeMutableBytes { buffer in
                unsafe clistener_peek(task, position, buffer.baseAddress!, buffer.count)
            }
            guard count > 0 else { return nil }
            if let end = part[..<count].firstIndex(of: 0) {
                guard !isOver else { return nil }
                return String(validating: bytes + part[..<end], as: UTF8.self)
            }
            bytes += part[..<count]
            position += UInt64(count)
        }
        return nil
    }

    func areas(of process: Int32?, at addresses: Range<UInt64>) throws(Errno) -> [MemoryArea] {
        let device = world.mountDevice
        let space = spaces?.space(of: process ?? task)
        // The kernel lets a program go on from munmap(2) and madvise(2) when it has told, not when that is dealt with.
        space?.settle()
        if let space, let spaces {
            ForkedPages.separate(space, in: addresses, of: machine)
            space.separateHugePages(in: spaces.directory)
        }
        let mappings = try MapsReader.mappings(of: process ?? task, at: addresses)
        return mappings.flatMap { space?.parts(of: $0) ?? [($0, nil)] }.flatMap { mapping, huge -> [MemoryArea] in
            huge?.pieces ?? [self.area(of: mapping, in: space, device)]
        }
    }

    private func area(of mapping: ProcMapping, in space: AddressSpace?, _ device: DeviceNumber?) -> MemoryArea {
        if let space, mapping.isOwnMemory {
            // Its offsets are addresses.
            return MemoryArea(
                addresses: mapping.addresses, content: .buffer(space.memory, offset: mapping.addresses.lowerBound),
                isOwn: true)
        }
        if let shared = space?.shared(at: mapping.addresses.lowerBound), mapping.isShared {
            let object = shared.attachment.object
            return MemoryArea(
                addresses: mapping.addresses,
                content: .buffer(
                    object.memory,
                    offset: mapping.addresses.lowerBound - shared.addresses.lowerBound + shared.offset),
                isMappedTwice: object.isMappedTwice)
        }
        guard let device, mapping.device == device, let buffer = world.buffer(ofInode: mapping.inode) else {
            return MemoryArea(addresses: mapping.addresses, content: .other)
        }
        return MemoryArea(addresses: mapping.addresses, content: .buffer(buffer, offset: mapping.offset))
    }

    func process(named number: Int32) throws(Errno) -> Int32? {
        guard number != 0 else { return nil }
        guard number > 0 else { throw .noSuchProcess }
        let process = try world.task(named: number, by: task).process
        if process == status?.process { return nil }
        guard mayLookInto(process) else { throw .notPermitted }
        return process
    }

    func thread(named number: Int32, toChange: Bool) throws(Errno) -> Int32 {
        guard number != 0 else { return task }
        guard number > 0 else { throw .noSuchProcess }
        let (thread, process) = try world.task(named: number, by: task)
        guard toChange, process != status?.process, !has(.nice) else { return thread }
        // check_same_owner()
        let other = try TaskStatus(of: thread)
        guard let user = status?.users.dropFirst().first, other.users.prefix(2).contains(user) else {
            throw .notPermitted
        }
        return thread
    }

    func affinityChanged(of thread: Int32) {
        // As far as the host has them, it runs there, too; elsewhere it runs anywhere.
        guard let cpus = try? machine.affinity(ofTask: thread) else { return }
        let known = cpus.intersection(.onlineCPUs)
        let mask = Array(known.isEmpty ? .onlineCPUs : known).map { Int32($0) }
        _ = unsafe mask.withUnsafeBufferPointer {
            unsafe clistener_run_on(listener, call, thread, $0.baseAddress!, Int32($0.count))
        }
    }

    /// Whether it may see what another process maps (PTRACE_MODE_READ).
    func mayLookInto(_ process: Int32) -> Bool {
        guard let status else { return false }
        if status.process == process || has(.trace) { return true }
        guard let other = try? TaskStatus(of: process) else { return false }
        // Of root, where the process forbids others to look into it (PR_SET_DUMPABLE), as it does once its user has changed.
        return status.isSameUser(as: other) && ProcFile.ownerOfFiles(of: process)?.user == status.users.first
    }

    func allowedNodes(of task: Int32) throws(Errno) -> IDSet {
        machine.effectiveMems(of: try machine.group(ofProcess: task))
    }

    func usableNodes(of task: Int32) throws(Errno) -> IDSet {
        machine.allowedNodes(of: try machine.group(ofProcess: task))
    }
}
