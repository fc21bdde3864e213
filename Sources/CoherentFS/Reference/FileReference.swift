import AttributeTree
import CoherentMemory
import Fuse
import Glibc
import Logging
import MachineTopology
public import SystemPackage

/// The reference of every file of a mount, made from the attribute tables of a machine that has each kind of file, and
/// from the manual's pages.
///
/// No machine is mounted for it. Names that differ between machines are placeholders: `nodeN`, `buffers/NAME`.
public struct FileReference: Sendable {
    /// The entries by path, in the order of the tree: a directory precedes its contents.
    public let entries: [Entry]
    private let indices: [String: Int]
    private let children: [String: [String]]

    /// A machine that has every file there can be. A topology's key that brings a file of its own belongs here, too.
    static let machine = """
        block_size = "2M"
        [[node]]
        id = 0
        kind = "ram"
        memory = "4M"
        cpus = "0"
        [[node]]
        id = 1
        kind = "coherent"
        memory = "4M"
        device = "cdm0"
        [[node.cache]]
        size = "1M"
        [[node]]
        id = 2
        kind = "coherent"
        memory = "4M"
        bus = "cxl"
        """

    /// Collects the entries.
    ///
    /// - Throws: the errno if the address space of a machine of 12 MiB is refused; none of it is touched.
    public init() throws(Errno) {
        let topology: Topology
        do throws(TopologyError) {
            topology = try Topology(toml: Self.machine)
        } catch {
            throw .invalidArgument
        }
        try self.init(topology)
    }

    init(_ topology: Topology) throws(Errno) {
        let fileSystem = CoherentFileSystem(
            machine: try Machine(topology: topology),
            logger: Logger(label: "reference") { _ in SwiftLogNoOpLogHandler() })
        let root = fileSystem.services.inodes[.root]!
        let nobody = Caller(uid: 0, gid: 0, pid: 0, umask: 0)
        if let buffers = try root.child(FileName("buffers"))?.inode {
            _ = try buffers.makeFile(FileName(Placeholder.buffer), permissions: 0o644, caller: nobody)
            _ = try buffers.makeDirectory(FileName(Placeholder.directory), permissions: 0o755, caller: nobody)
        }
        _ = try fileSystem.services.machine.makeGroup(
            Placeholder.group, in: fileSystem.services.machine.rootGroup)
        var walk = Walk()
        try walk.visit(root, at: "")
        // By the parts of the paths, so that a directory stands before what is in it, and that together.
        entries = walk.entries.sorted { left, right in
            left.path.split(separator: "/").lexicographicallyPrecedes(right.path.split(separator: "/"))
        }
        indices = Dictionary(uniqueKeysWithValues: entries.enumerated().map { ($1.path, $0) })
        children = Dictionary(
            grouping: entries.map(\.path).filter { !$0.isEmpty }, by: Entry.parent(of:))
    }

    /// The entry of a path with placeholders, from the root of the mount: `sys/devices/system/node/nodeN/distance`.
    public subscript(path: String) -> Entry? { indices[path].map { entries[$0] } }

    /// The contents of a directory, in order.
    public func children(of path: String) -> [Entry] { children[path, default: []].compactMap { self[$0] } }
}

/// Collects entries from the inodes that a mount would serve.
private struct Walk {
    var entries: [FileReference.Entry] = []
    private var known: Set<String> = []

    mutating func visit(_ inode: Inode, at path: String) throws(Errno) {
        if known.insert(path).inserted {
            entries.append(FileReference.Entry(path, inode))
        }
        guard inode.attributes.type == .directory else { return }
        for entry in try inode.entries() {
            guard let child = try inode.child(entry.name)?.inode else { continue }
            let general = Placeholder.general(entry.name.string)
            try visit(child, at: path.isEmpty ? general : "\(path)/\(general)")
        }
        // Every process has one, whether or not it is listed.
        if path == "sys/kernel/cdm/tasks", let own = try inode.child(FileName("\(getpid())"))?.inode {
            try visit(own, at: "\(path)/\(Placeholder.task)")
        }
    }
}
