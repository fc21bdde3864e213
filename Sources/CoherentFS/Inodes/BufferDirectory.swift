import AttributeTree
import CLinux
import CoherentMemory
import CoherentTree
import Fuse
import Glibc
import LinuxSupport
import Synchronization
import SystemPackage

/// Where a file or directory has its name.
struct Place {
    weak var directory: BufferDirectory?
    let name: FileName
}

/// A directory below buffers/, or that directory itself.
final class BufferDirectory: Inode, @unchecked Sendable {
    let services: Services
    private let metadata: Mutex<Metadata>
    // Guarded by the namespace lock, as is `isRemoved`: a rename changes two directories at once.
    private var children = NameTable()
    private var isRemoved = false
    var reach = Reach()
    /// The path as it was last asked for.
    var knownPath: DirectoryPath?
    /// Also nil for buffers/ itself.
    var place: Place?

    init(metadata: Metadata, services: Services) {
        self.services = services
        var metadata = metadata
        metadata.linkCount = 2
        self.metadata = Mutex(metadata)
        super.init(number: services.inodes.makeNumber())
    }

    /// One by one: each within the end of the one above it would take a stack as deep as the tree.
    deinit {
        var left = [children]
        children = NameTable()
        while let table = left.popLast() {
            for case let directory as BufferDirectory in table.all.map(\.child) {
                left.append(directory.children)
                directory.children = NameTable()
            }
        }
    }

    override func withMetadata<Result: Sendable>(
        _ body: (inout Metadata) throws(Errno) -> Result
    ) throws(Errno) -> Result {
        try metadata.withLock { metadata throws(Errno) in try body(&metadata) }
    }

    override var attributes: FileAttributes {
        var attributes = FileAttributes(inode: number, type: .directory, permissions: 0)
        metadata.withLock { $0.fill(&attributes) }
        return attributes
    }

    // Every change comes through the kernel, which then asks anew for what may have changed.
    override var attributeTimeout: Double { TreeCache.forever }

    override func child(_ name: FileName) throws(Errno) -> (inode: Inode, timeout: Double)? {
        guard name.string.utf8.count <= 255 else { throw .fileNameTooLong }
        // Names come and go only through the kernel, which therefore may trust them.
        return lookup(name).map { ($0, TreeCache.forever) }
    }

    /// The child of a name, nil where there is none.
    func lookup(_ name: FileName) -> Inode? { services.namespace.withLock { _ in children[name] } }

    override func entries() -> [DirectoryEntry] {
        services.namespace.withLock { _ in children.all.map { Self.entry($0.name, $0.child) } }
    }

    /// How many of its names have controls.
    var controlledCount: Int { services.namespace.withLock { _ in children.controlledCount } }

    override var lastPlace: UInt64? { services.namespace.withLock { _ in children.lastPlace } }

    override func entries(at places: ClosedRange<UInt64>) -> [(place: UInt64, entry: DirectoryEntry)] {
        services.namespace.withLock { _ in
            children.list(places, limit: 64).map { ($0.place, Self.entry($0.name, $0.child)) }
        }
    }

    private static func entry(_ name: FileName, _ child: Inode) -> DirectoryEntry {
        DirectoryEntry(name: name, type: type(of: child), number: child.number)
    }

    private static func type(of child: Inode) -> FileType {
        switch child {
        case is BufferDirectory: .directory
        case is SocketFile: .socket
        default: .regular
        }
    }

    override var parent: Inode? {
        services.namespace.withLock { _ in
            if let place { return place.directory }
            return isRemoved ? nil : services.inodes[.root]
        }
    }

    override func listed() {
        if services.accessTimes.directories { metadata.withLock { $0.accessed() } }
    }

    override var hasControls: Bool { true }

    override var isLasting: Bool { metadata.withLock { $0.linkCount } > 0 }

    override func unlinked() {
        if !services.inodes.knows(self) { forgotten() }
    }

    override func forgotten() {
        if !isLasting { _ = services.inodes.drop(self) }
    }

    override func change(_ changes: AttributeChanges, caller: Caller, isOpen: Bool) throws(Errno) {
        guard changes.size == nil else { throw .isDirectory }
        try metadata.withLock { metadata throws(Errno) in
            if let user = changes.uid { try charge?.transfer(to: user, by: caller.pid) }
            metadata.apply(changes, isDirectory: true)
        }
        // Who may see the paths through here may be another now.
        if changes.mode != nil || changes.uid != nil || changes.gid != nil { services.pathsChanged() }
    }

    /// Whose the directory is, and who may list and search it: the directory of its controls is no more open.
    var ownership: Directory.Ownership { metadata.withLock { $0.ownership } }

    private func insert(_ name: FileName, _ caller: Caller, _ make: (Metadata) -> Inode) throws(Errno) -> Inode {
        let charge = try InodeCharge(services.accounts.inodes, to: caller.uid, by: caller.pid)
        return try insert(name) { parent in
            let inode = make(parent)
            inode.charge = charge
            return inode
        }
    }

    @discardableResult
    private func insert(_ name: FileName, _ make: (Metadata) throws(Errno) -> Inode) throws(Errno) -> Inode {
        guard name.string.utf8.count <= 255 else { throw .fileNameTooLong }
        defer { services.uevents.deliver() }
        return try services.namespace.withLock { _ throws(Errno) in
            guard !isRemoved else { throw .noSuchFileOrDirectory }
            guard children[name] == nil else { throw .fileExists }
            try checkLength(of: name)
            let inode = try make(metadata.withLock { $0 })
            children.set(inode, for: name)
            located(inode, under: name)
            reachChanged(from: nil, to: length(of: inode, under: name))
            note("add", name, inode)
            touch(subdirectories: inode is BufferDirectory ? 1 : 0)
            return inode
        }
    }

    /// Notes what became of a name; the caller holds the namespace lock and calls `deliver` without it.
    private func note(_ action: String, _ name: FileName, _ child: Inode, from old: BufferPath? = nil) {
        guard child.hasControls else { return }
        services.uevents.post {
            var details: [Uevent.Detail] = [("DEVTYPE", .text(child is BufferDirectory ? "directory" : "buffer"))]
            if let old { details.append(("DEVPATH_OLD", .controls(old))) }
            return Uevent(
                action: action, place: .controls(path(of: child, under: name)), subsystem: "cdm", details: details)
        }
    }

    override func renamed() { metadata.withLock { $0.ctime = .now } }

    private func touch(subdirectories: Int = 0) {
        metadata.withLock { metadata in
            metadata.modified()
            metadata.linkCount = UInt32(Int(metadata.linkCount) + subdirectories)
        }
    }

    override func makeFile(_ name: FileName, permissions: UInt32, caller: Caller) throws(Errno) -> Inode {
        try insert(name, caller) { parent in
            BufferFile(
                metadata: Metadata(permissions: permissions, caller: caller, in: parent, isDirectory: false),
                services: services, caller: caller)
        }
    }

    override func makeTemporaryFile(permissions: UInt32, caller: Caller) throws(Errno) -> Inode {
        let parent = metadata.withLock { $0 }
        guard parent.linkCount > 0 else { throw .noSuchFileOrDirectory }
        let charge = try InodeCharge(services.accounts.inodes, to: caller.uid, by: caller.pid)
        let file = BufferFile(
            metadata: Metadata(permissions: permissions, caller: caller, in: parent, isDirectory: false),
            services: services, caller: caller, isTemporary: true)
        file.charge = charge
        return file
    }

    override func link(_ file: Inode, as name: FileName) throws(Errno) {
        guard let file = file as? BufferFile else { throw .notPermitted }
        try insert(name) { _ throws(Errno) in
            try file.linked()
            return file
        }
    }

    override func makeSocket(_ name: FileName, permissions: UInt32, caller: Caller) throws(Errno) -> Inode {
        try insert(name, caller) { parent in
            SocketFile(
                metadata: Metadata(permissions: permissions, caller: caller, in: parent, isDirectory: false),
                services: services)
        }
    }

    override func makeDirectory(_ name: FileName, permissions: UInt32, caller: Caller) throws(Errno) -> Inode {
        try insert(name, caller) { parent in
            BufferDirectory(
                metadata: Metadata(permissions: permissions, caller: caller, in: parent, isDirectory: true),
                services: services)
        }
    }

    override func remove(_ name: FileName, isDirectory: Bool) throws(Errno) {
        defer { services.uevents.deliver() }
        let removed = try services.namespace.withLock { _ throws(Errno) -> Inode in
            guard let child = children[name] else { throw .noSuchFileOrDirectory }
            if let directory = child as? BufferDirectory {
                guard isDirectory else { throw .isDirectory }
                try directory.retire()
            } else if isDirectory {
                throw .notDirectory
            }
            note("remove", name, child)
            take(name, child)
            touch(subdirectories: isDirectory ? -1 : 0)
            return child
        }
        services.unlinked(removed)
    }

    /// Closes an empty directory for good. The caller holds the namespace lock.
    private func retire() throws(Errno) {
        guard children.isEmpty else { throw .directoryNotEmpty }
        isRemoved = true
        metadata.withLock { $0.linkCount = 0 }
    }

    override func rename(_ name: FileName, to newName: FileName, in newParent: Inode, flags: UInt32) throws(Errno) {
        guard let newParent = newParent as? BufferDirectory else { throw .notPermitted }
        guard newName.string.utf8.count <= 255 else { throw .fileNameTooLong }
        guard flags & ~UInt32(RENAME_NOREPLACE | RENAME_EXCHANGE) == 0 else { throw .invalidArgument }
        defer { services.uevents.deliver() }
        let replaced = try services.namespace.withLock { _ throws(Errno) -> Inode? in
            guard let child = children[name] else { throw .noSuchFileOrDirectory }
            guard !newParent.isRemoved else { throw .noSuchFileOrDirectory }
            let target = newParent.children[newName]
            if flags & UInt32(RENAME_EXCHANGE) != 0 {
                guard let target else { throw .noSuchFileOrDirectory }
                try exchange(child, name, with: target, newName, in: newParent)
                return nil
            }
            if target === child { return nil }
            if target != nil, flags & UInt32(RENAME_NOREPLACE) != 0 { throw .fileExists }
            try move(child, name, over: target, to: newName, in: newParent)
            return target
        }
        if let replaced { services.unlinked(replaced) }
    }

    /// Two names change places (RENAME_EXCHANGE). The caller holds the namespace lock, as of what follows.
    private func exchange(
        _ child: Inode, _ name: FileName, with target: Inode, _ newName: FileName, in newParent: BufferDirectory
    ) throws(Errno) {
        try newParent.checkLength(of: newName, child)
        try checkLength(of: name, target)
        let (old, new) = (path(of: child, under: name), newParent.path(of: target, under: newName))
        let (length, newLength) = (length(of: child, under: name), newParent.length(of: target, under: newName))
        children.set(target, for: name)
        newParent.children.set(child, for: newName)
        located(target, under: name)
        newParent.located(child, under: newName)
        reachChanged(from: length, to: self.length(of: target, under: name))
        newParent.reachChanged(from: newLength, to: newParent.length(of: child, under: newName))
        newParent.note("move", newName, child, from: old)
        note("move", name, target, from: new)
        let moves = (child is BufferDirectory ? 1 : 0) - (target is BufferDirectory ? 1 : 0)
        touch(subdirectories: self === newParent ? 0 : -moves)
        newParent.touch(subdirectories: self === newParent ? 0 : moves)
        child.renamed()
        target.renamed()
    }

    /// A child gets another name, in the place of what may be under that.
    private func move(
        _ child: Inode, _ name: FileName, over target: Inode?, to newName: FileName, in newParent: BufferDirectory
    ) throws(Errno) {
        let isDirectory = child is BufferDirectory
        if let target, target is BufferDirectory != isDirectory { throw isDirectory ? .notDirectory : .isDirectory }
        try newParent.checkLength(of: newName, child)
        try (target as? BufferDirectory)?.retire()
        let old = path(of: child, under: name)
        if let target {
            newParent.note("remove", newName, target)
            newParent.take(newName, target)
        }
        let oldLength = length(of: child, under: name)
        if newParent === self {
            // In its place of the listing.
            children.rename(name, to: newName)
        } else {
            children.remove(name)
            newParent.children.set(child, for: newName)
        }
        newParent.located(child, under: newName)
        reachChanged(from: oldLength, to: nil)
        newParent.reachChanged(from: nil, to: newParent.length(of: child, under: newName))
        newParent.note("move", newName, child, from: old)
        touch(subdirectories: isDirectory ? -1 : 0)
        newParent.touch(subdirectories: (isDirectory ? 1 : 0) - (target is BufferDirectory ? 1 : 0))
        child.renamed()
    }

    /// Takes a name out for good.
    private func take(_ name: FileName, _ child: Inode) {
        reachChanged(from: length(of: child, under: name), to: nil)
        children.remove(name)
        setPlace(child, nil)
    }
}
