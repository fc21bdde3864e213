import AttributeTree
import CoherentMemory
import CoherentTree
import Fuse
import Glibc
import Logging
import MachineTopology
import SystemPackage
import TestSupport

@testable import CoherentFS

/// A small machine with files, groups and devices, without a mount.
final class World {
    static let topology = TopologyText.file(
        block: "2M",
        [
            TopologyText.ram(0, "16M", cpus: "0-1"),
            TopologyText.coherent(
                1, "8M", "device = \"cdm0\"", "contiguous = \"2M\"", "[[node.cache]]", "size = \"1M\""),
            TopologyText.coherent(2, "4M", "device = \"cdm1\"", "isolation = \"none\""),
        ], distances: [(0, 2, 30)])

    let fileSystem: CoherentFileSystem
    var machine: Machine { fileSystem.services.machine }

    init() throws {
        let machine = try Machine(topology: try Topology(toml: Self.topology))
        fileSystem = CoherentFileSystem(
            machine: machine, logger: Logger(label: "fuzz") { _ in SwiftLogNoOpLogHandler() })
        let nobody = Caller(uid: 1000, gid: 1000, pid: getpid(), umask: 0)
        let buffers = try inode("buffers")
        let folder = try buffers.makeDirectory("d", permissions: 0o755, caller: nobody)
        for (directory, name) in [(buffers, "a"), (folder, "b")] as [(CoherentFS.Inode, FileName)] {
            let file = try directory.makeFile(name, permissions: 0o644, caller: nobody)
            try (file as? MemoryFile)?.resize(to: 1 << 20, isOpen: true, by: nobody)
        }
        _ = try machine.makeGroup("g", in: machine.rootGroup)
        store(Array("fill a 0 65536 1\nfill d/b 4096 8192 2".utf8), in: "sys/class/cdm/cdm0/queue/submit")
    }

    /// Ends what the inputs have begun, and looks whether the machine is still whole.
    func end() {
        for device in machine.devices { try? device.queue.setLatency(0) }
        guard fileSystem.services.base.endJobs(within: 20) else { fatalError("a job does not end") }
        do { try machine.checkInvariants() } catch { fatalError("\(error)") }
    }

    func inode(_ path: String) throws -> CoherentFS.Inode {
        var inode = fileSystem.services.inodes[.root]!
        for name in path.split(separator: "/") {
            guard let child = try inode.child(FileName(String(name))) else { throw Errno.noSuchFileOrDirectory }
            inode = child.inode
        }
        return inode
    }

    /// One write(2), whose work, if it leaves some, is done at once.
    func store(_ bytes: [UInt8], in path: String) {
        guard let inode = try? inode(path) as? TreeInode, case .attribute(let attribute) = inode.item else { return }
        do throws(Errno) {
            if case .job(let job) = try attribute.opened().store(bytes, by: Client(task: getpid(), user: geteuid())) {
                try job.run(Cancellation())
            }
        } catch {
            precondition((1...511).contains(error.rawValue), "the kernel would refuse \(error.rawValue) as an errno")
        }
        // What takes as long as the model says would take too long.
        if path.hasSuffix("/pace"), bytes != Self.off { store(Self.off, in: path) }
    }

    private static let off = Array("off".utf8)

    /// The text of an attribute; nil where there is none.
    func show(_ path: String) -> String? {
        guard let inode = try? inode(path) as? TreeInode, case .attribute(let attribute) = inode.item else {
            return nil
        }
        return try? attribute.opened().show()
    }

    /// The attributes that can be written.
    static let writable: [String] = {
        var paths: [String] = []
        func visit(_ inode: CoherentFS.Inode, _ path: String) throws {
            if let tree = inode as? TreeInode, case .attribute(let attribute) = tree.item, attribute.isWritable {
                paths.append(path)
            }
            guard inode.attributes.type == .directory else { return }
            for name in try inode.entries().map(\.name) {
                guard let child = try inode.child(name) else { continue }
                try visit(child.inode, path.isEmpty ? name.string : path + "/" + name.string)
            }
        }
        do {
            let world = try World()
            try visit(try world.inode(""), "")
            world.end()
        } catch {
            fatalError("\(error)")
        }
        return paths.sorted()
    }()
}
