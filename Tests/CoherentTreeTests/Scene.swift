import AttributeTree
import CoherentMemory
import LinuxSupport
import Logging
import MachineTopology
import SystemPackage
import Testing

@testable import CoherentTree

/// A tree over a machine that nobody has mounted, with buffers by name in one directory.
final class Scene {
    let machine: Machine
    let services: TreeServices
    let files = NamedBuffers()
    let root: Directory

    convenience init(coherent: Int = 2) throws {
        try self.init(
            Topology(
                blockSize: 2 << 20,
                nodes: [.ram(id: 0, memory: 16 << 20, cpus: [0, 1])]
                    + (1..<1 + coherent).map { .coherent(id: $0, memory: 8 << 20, contiguous: 2 << 20) }))
    }

    convenience init(_ toml: String) throws { try self.init(Topology(toml: toml)) }

    private init(_ topology: Topology) throws {
        machine = try Machine(topology: topology)
        services = TreeServices(machine: machine, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        services.attach(files)
        root = SystemTree(services: services, buffers: files).root
    }

    deinit { _ = services.endJobs(within: 20) }

    /// A buffer of zeros whose pages have frames.
    @discardableResult
    func makeBuffer(_ name: String, pages: UInt64) throws -> Buffer {
        let buffer = machine.makeBuffer()
        try machine.allocate(buffer, bytes: 0..<pages * Page.size, keepsSize: false, origin: Origin(pid: 0, node: 0))
        files.add(buffer, name)
        return buffer
    }

    /// The number of the first memory block of a node.
    func block(ofNode id: Int) throws -> UInt64 {
        try #require(machine.blockNumbers.first { machine.block(named: "memory\($0)")?.node.id == id })
    }

    /// What stands at a path below sys/.
    func item(_ path: String) throws -> Item {
        var item = Item.directory(root)
        for name in path.split(separator: "/") {
            guard case .directory(let directory) = item, let next = directory.lookup(String(name)) else {
                throw Errno.noSuchFileOrDirectory
            }
            item = next
        }
        return item
    }

    func attribute(_ path: String) throws -> BoundAttribute {
        guard case .attribute(let attribute) = try item(path) else { throw Errno.isDirectory }
        return attribute.opened()
    }

    func text(_ path: String) throws -> String { try attribute(path).show() }

    /// The text without its newline.
    func word(_ path: String) throws -> String {
        let text = try text(path)
        return text.hasSuffix("\n") ? String(text.dropLast()) : text
    }

    /// Stores, and waits for the job where it starts one.
    func store(_ text: String, in path: String) throws {
        switch try attribute(path).store(Array(text.utf8)) {
        case .done: return
        case .job(let job):
            if try services.jobs.runAtOnce(job) { return }
            let ended = Monitor<(isOver: Bool, error: Errno?)>((false, nil))
            guard services.jobs.start(job, Cancellation(), done: { error in ended.update { $0 = (true, error) } })
            else {
                throw Errno.resourceTemporarilyUnavailable
            }
            ended.wait { $0.isOver }
            if let error = ended.withLock({ $0.error }) { throw error }
        }
    }

    /// Every path below sys/ with what stands there; links are not followed.
    func walk(_ body: (String, Item) throws -> Void) rethrows { try walk(root, "", body) }

    private func walk(_ directory: Directory, _ path: String, _ body: (String, Item) throws -> Void)
        rethrows
    {
        for name in directory.names {
            guard let item = directory.lookup(name) else {
                Issue.record("\(path)/\(name) is listed and not there")
                continue
            }
            try body("\(path)/\(name)", item)
            if case .directory(let child) = item { try walk(child, "\(path)/\(name)", body) }
        }
    }
}

/// Files of buffers, as the front end would have them.
final class NamedBuffers: BufferFiles, BufferFolder {
    private struct Place: BufferPlace {
        let name: String
        var length: Int { name.utf8.count }
        func shown(to viewer: Credentials, escape: (String) -> String) -> String { escape(name) }
        func isOpen(to viewer: Credentials) -> Bool { true }
    }

    private let buffers = TracedMutex<[(name: String, buffer: Buffer)]>([])

    func add(_ buffer: Buffer, _ name: String) { buffers.withLock { $0.append((name, buffer)) } }

    private func first(where body: (String, Buffer) -> Bool) -> (place: Int, name: String, buffer: Buffer)? {
        let all = buffers.withLock { $0 }
        guard let place = all.firstIndex(where: { body($0.name, $0.buffer) }) else { return nil }
        return (place, all[place].name, all[place].buffer)
    }

    var hasMemoryOfPrograms: Bool { false }
    func memory(ofTask task: Int32) -> [MappedBuffer] { [] }
    var processesOfPrograms: (known: [Int32], others: Int) { ([], 0) }
    var openers: Set<Int32> { [] }

    func name(of buffer: Buffer.ID) -> Uevent.Value {
        first { $1.id == buffer }.map { .buffer(Place(name: $0.name)) } ?? .text("(deleted)")
    }

    func memory(named name: String) throws(Errno) -> Buffer {
        guard let found = first(where: { known, _ in known == name }) else { throw .noSuchFileOrDirectory }
        return found.buffer
    }

    func ownership(of buffer: Buffer) -> Directory.Ownership? { ownership }
    func file(ofInode inode: UInt64) -> (buffer: Buffer, isDevice: Bool)? { nil }
    func openFile(of buffer: Buffer) -> OpenFileUse? { nil }
    func partsHaveGone() {}
    func directoriesHaveChanged() {}
    func setPinned(_ isPinned: Bool, of buffer: Buffer, by writer: Int32) throws(Errno) {}
    func serve(listener: Int32, keeper: Int32, of process: Int32, user: UInt32) throws(Errno) {
        throw .operationNotSupportedByDevice
    }

    func setMapping(_ mode: MappingMode, of buffer: Buffer, by writer: Int32) throws(Errno) {}

    var inode: UInt64 { 3 }
    var ownership: Directory.Ownership {
        Directory.Ownership(permissions: .ownerReadWriteExecute, uid: 0, gid: 0)
    }
    var controlledCount: Int { buffers.withLock { $0.count } }
    var lastPlace: UInt64? { buffers.withLock { $0.isEmpty ? nil : UInt64($0.count - 1) } }

    func names(at places: ClosedRange<UInt64>) -> [(place: UInt64, name: String)] {
        buffers.withLock { all in
            all.indices.filter { places.contains(UInt64($0)) }.map { (UInt64($0), all[$0].name) }
        }
    }

    func entry(named name: String) -> BufferEntry? {
        first { known, _ in known == name }.map { .buffer($0.buffer, inode: 10 + UInt64($0.place)) }
    }
}
