import AttributeTree
import CoherentMemory
import Fuse
import LinuxSupport
import MachineTopology
import Programs
import SystemPackage

/// The programs that `cdmfs run` has started, whose calls act on the machine.
final class MountedPrograms: Sendable {
    private let world: MountedWorld
    /// Made for the first of them.
    private let server = Mutex<ProgramServer?>(nil)

    init(machine: Machine, inodes: InodeTable, processes: ProcTasks, tasks: TaskLocator) {
        world = MountedWorld(machine: machine, inodes: inodes, processes: processes, tasks: tasks)
    }

    /// Answers no more calls.
    func close() { server.withLock { $0 }?.close() }

    static let attribute = Attribute<Services>.writeOnly(
        "programs", permissions: [.ownerWrite, .groupWrite, .otherWrite],
        summary: "Write LISTENER SOCKET, descriptors of the writer: the reported system calls act on the machine.",
        store: { services, text throws(Errno) in try services.programs.take(text) })

    private func take(_ text: AttributeText) throws(Errno) {
        let words = text.words
        guard words.count == 2, let listener = Int32(exactly: try words[0].integer()),
            let socket = Int32(exactly: try words[1].integer()), listener >= 0, socket >= 0
        else { throw .invalidArgument }
        guard text.writer > 0 else { throw .noSuchProcess }
        let server = try server.withLock { server throws(Errno) in
            if let server { return server }
            let new = try ProgramServer(world)
            server = new
            return new
        }
        try server.serve(process: text.writer, listener: listener, keeper: socket, user: text.client.user)
    }
}

/// What programs may reach of a mount.
private struct MountedWorld: ProgramWorld {
    let machine: Machine
    let inodes: InodeTable
    let processes: ProcTasks
    let tasks: TaskLocator

    var mountDevice: DeviceNumber? { processes.mount }

    func buffer(ofInode inode: UInt64) -> Buffer? {
        // What is mapped, the kernel has not forgotten.
        (inodes[InodeNumber(rawValue: inode)] as? MemoryFile)?.buffer
    }

    func node(ofTask task: Int32) -> Int { tasks.origin(ofTask: task).node }

    func cpu(ofTask task: Int32) -> Int { tasks.cpu(ofTask: task) ?? 0 }

    func task(named number: Int32, by task: Int32) throws(Errno) -> (task: Int32, process: Int32) {
        let own: Int32
        if let namespace = try PIDNamespace(of: task) {
            own = try namespace.ownNumber(of: number)
        } else {
            own = number
        }
        guard let description = processes.task(own) else { throw .noSuchProcess }
        return (own, description.process)
    }
}
