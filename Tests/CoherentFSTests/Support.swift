import CoherentMemory
import CoherentTree
import Fuse
import Logging
import MachineTopology
import SystemPackage
import Testing

@testable import CoherentFS

// swift-system has a type of the same name.
typealias Inode = CoherentFS.Inode

/// A file system that is not mounted: what the kernel would ask for is called.
struct Scene {
    let fileSystem: CoherentFileSystem
    let buffers: BufferDirectory

    var services: Services { fileSystem.services }
    var machine: Machine { services.machine }

    /// Users without a task: no groups but their own, and no capabilities.
    static let alice = Caller(uid: 1000, gid: 1000, pid: 0, umask: 0)
    static let bob = Caller(uid: 2000, gid: 2000, pid: 0, umask: 0)
    static let root = Caller(uid: 0, gid: 0, pid: 0, umask: 0)

    init() throws {
        let topology = try Topology(
            toml: """
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
                """)
        fileSystem = CoherentFileSystem(
            machine: try Machine(topology: topology), logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        let root = try #require(fileSystem.services.inodes[.root])
        buffers = try #require(root.child("buffers")?.inode as? BufferDirectory)
    }

    /// The inode of a path from the root of the mount.
    func inode(_ path: String) throws -> Inode {
        try path.split(separator: "/").reduce(try #require(services.inodes[.root])) { inode, name in
            try #require(inode.child(FileName(String(name)))?.inode, "\(path): no \(name)")
        }
    }

    @discardableResult
    func makeDirectory(
        _ name: String, in directory: Inode? = nil, mode: UInt32 = 0o755, by caller: Caller = Scene.alice
    ) throws -> BufferDirectory {
        let made: Inode = try (directory ?? buffers).makeDirectory(FileName(name), permissions: mode, caller: caller)
        return try #require(made as? BufferDirectory)
    }

    @discardableResult
    func makeFile(
        _ name: String, in directory: Inode? = nil, mode: UInt32 = 0o600, by caller: Caller = Scene.alice
    ) throws -> BufferFile {
        let made = try (directory ?? buffers).makeFile(FileName(name), permissions: mode, caller: caller)
        return try #require(made as? BufferFile)
    }

    /// Every event that there is for a reader.
    func events(_ reader: UeventLog.Reader) -> [[String: String]] {
        var text: [UInt8] = []
        while let part = services.uevents.take(reader, size: 1 << 16) { text += part }
        return String(decoding: text, as: UTF8.self).split(separator: "\n\n").map { event in
            event.split(separator: "\n").reduce(into: [:]) { fields, line in
                let pair = line.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                fields[String(pair[0])] = String(pair[1])
            }
        }
    }
}
