import AttributeTree
import CoherentMemory
import CoherentTree
import Dispatch
import Fuse
import MachineTopology
import SystemPackage
import Testing

@testable import CoherentFS

/// What has no user any more goes, with its descriptors and its address space.
@Suite("Lifetimes") struct LifetimeTests {
    /// Parts of a file system that are to go with it.
    private struct Parts {
        weak var fileSystem: CoherentFileSystem?
        weak var services: Services?
        weak var machine: Machine?
        weak var file: Inode?
        weak var attribute: Inode?
    }

    /// Uses a file system as a kernel would, and gives it up.
    private func use() throws -> Parts {
        let scene = try Scene()
        let file = try scene.makeFile("b", in: scene.makeDirectory("d"))
        try file.resize(to: 1 << 20, isOpen: true, by: Scene.alice)
        let attribute = try scene.inode("sys/kernel/cdm/buffers/d/b/policy")
        for inode in [file, attribute] { scene.services.inodes.remember(inode) }
        let submit = try scene.inode("sys/class/cdm/cdm0/queue/submit")
        _ = try submit.open(flags: 1, caller: Scene.root)
        _ = try scene.machine.makeGroup("g", in: scene.machine.rootGroup)
        #expect(scene.fileSystem.services.base.endJobs(within: 20))
        return Parts(
            fileSystem: scene.fileSystem, services: scene.services, machine: scene.machine, file: file,
            attribute: attribute)
    }

    @Test("A file system that nobody has goes with its machine and its inodes")
    func end() async throws {
        let parts = try use()
        // A job's thread may have its last hold of the machine for a moment longer.
        for _ in 0..<1000 where parts.machine != nil || parts.services != nil {
            try await Task.sleep(for: .milliseconds(10))
        }
        #expect(parts.fileSystem == nil)
        #expect(parts.services == nil)
        #expect(parts.machine == nil)
        #expect(parts.file == nil)
        #expect(parts.attribute == nil)
    }

    @Test("A lookup finds what the kernel knows, also when the kernel forgets it at the same moment")
    func forgetting() throws {
        let scene = try Scene()
        let inodes = scene.services.inodes
        let folder = try scene.inode("sys/devices/system/memory")
        DispatchQueue.concurrentPerform(iterations: 4) { _ in
            for _ in 0..<20_000 {
                guard let found = try? inodes.lookUp("memory0", in: folder, for: Scene.root)?.inode else {
                    Issue.record("not found")
                    return
                }
                let again = try? folder.child("memory0")?.inode
                inodes.forget(found.number, count: 1)
                if again !== found {
                    Issue.record("another inode of the same name")
                    return
                }
            }
        }
    }

    @Test("A device that went and came again is looked up once more, and then it is gone")
    func device() throws {
        let scene = try Scene()
        let file = try scene.inode("dev/cdm0")
        let device = try #require(scene.machine.devices.first)
        let caller = Caller(uid: 0, gid: 0, pid: 1, umask: 0)
        _ = try file.open(flags: 0, caller: caller)
        try scene.machine.remove(device, isForced: true)
        #expect(throws: Errno.operationNotSupportedByDevice) { try file.open(flags: 0, caller: caller) }
        try scene.machine.rescan()
        #expect(throws: Errno.staleNFSFileHandle) { try file.open(flags: 0, caller: caller) }
        #expect(throws: Errno.operationNotSupportedByDevice) { try file.open(flags: 0, caller: caller) }
        #expect(throws: Errno.staleNFSFileHandle) { try file.open(flags: 0, caller: caller) }
        _ = try scene.inode("dev/cdm0").open(flags: 0, caller: caller)
        #expect(throws: Errno.staleNFSFileHandle) { try file.open(flags: 0, caller: caller) }
    }

    @Test("Without a name, a file handle leads nowhere, also while the kernel's FORGET is on the way")
    func handles() throws {
        let scene = try Scene()
        let inodes = scene.services.inodes
        for isDirectory in [false, true] {
            let inode: Inode = isDirectory ? try scene.makeDirectory("a") : try scene.makeFile("a")
            inodes.remember(inode)
            #expect(inodes.countLookup(of: inode.number) === inode)
            inodes.forget(inode.number, count: 1)
            try scene.buffers.remove("a", isDirectory: isDirectory)
            #expect(inodes.countLookup(of: inode.number) == nil)
            #expect(inodes[inode.number] === inode)
            inodes.forget(inode.number, count: 1)
            #expect(inodes[inode.number] == nil)
        }
    }
}
