import CLinux
import CoherentMemory
import Fuse
import Glibc
import SystemPackage

/// A directory below buffers/, or that directory itself.
final class BufferDirectory: Inode, @unchecked Sendable {
    private let services: Services
    private let metadata: Mutex<Metadata>
    // Guarded by the namespace lock, as is `isRemoved`: a rename changes two directories at once.
    private var children = NameTable<Inode>()
    private var isRemoved = false
    /// Where the directory stands; nil for buffers/ itself.
    private weak var parent: BufferDirectory?
    private var name: FileName?

    init(metadata: Metadata, services: Services) {
        self.services = services
        var metadata = metadata
        metadata.linkCount = 2
        self.metadata = Mutex(metadata)
        super.init(number: services.inodes.makeNumber())
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

    /// The buffers here and below, each with its path from here.
    func files() -> [(path: String, file: BufferFile)] { services.namespace.withLock { _ in files(below: "") } }

    private func files(below path: String) -> [(path: String, file: BufferFile)] {
        children.all.flatMap { name, child -> [(path: String, file: BufferFile)] in
            switch child {
            case let file as BufferFile: [(path + name.string, file)]
            case let directory as BufferDirectory: directory.files(below: path + name.string + "/")
            default: []
            }
        }
    }

    override func entries() -> [(name: FileName, type: FileType)] {
        services.namespace.withLock { _ in
            children.all.map { ($0.name, Self.type(of: $0.child)) }
        }
    }

    /// How many names are in it.
    var count: Int { services.namespace.withLock { _ in children.count } }

    override var lastPlace: UInt64? { services.namespace.withLock { _ in children.lastPlace } }

    override func entries(at places: ClosedRange<UInt64>) -> [(place: UInt64, name: FileName, type: FileType)] {
        services.namespace.withLock { _ in
            children.list(places, limit: 64).map { ($0.place, $0.name, Self.type(of: $0.child)) }
        }
    }

    private static func type(of child: Inode) -> FileType { child is BufferDirectory ? .directory : .regular }

    override func change(_ changes: AttributeChanges, caller: Caller, isOpen: Bool) throws(Errno) {
        guard changes.size == nil else { throw .isDirectory }
        metadata.withLock { $0.apply(changes, isDirectory: true) }
    }

    private func insert(_ name: FileName, _ make: (Metadata) -> Inode) throws(Errno) -> Inode {
        guard name.string.utf8.count <= 255 else { throw .fileNameTooLong }
        defer { tell() }
        return try services.namespace.withLock { _ throws(Errno) in
            guard !isRemoved else { throw .noSuchFileOrDirectory }
            guard children[name] == nil else { throw .fileExists }
            let inode = make(metadata.withLock { $0 })
            place(inode, under: name)
            note("add", name, inode)
            touch(subdirectories: inode is BufferDirectory ? 1 : 0)
            return inode
        }
    }

    /// Tells who is to know of a change of names. Without the namespace lock.
    private func tell() {
        services.uevents.deliver()
        services.changed(self)
    }

    /// Notes what became of a name; the caller holds the namespace lock and calls `tell` without it.
    private func note(_ action: String, _ name: FileName, _ child: Inode, from old: String? = nil) {
        services.uevents.post {
            var details = [("DEVTYPE", child is BufferDirectory ? "directory" : "buffer")]
            if let old { details.append(("DEVPATH_OLD", old)) }
            return Uevent(action: action, path: controlPath(of: name), subsystem: "cdm", details: details)
        }
    }

    /// The place below sys/ of the controls of a child. The caller holds the namespace lock.
    private func controlPath(of child: FileName) -> String {
        let folder =
            if let parent, let name { parent.controlPath(of: name) } else { "/kernel/cdm/buffers" }
        return folder + "/" + child.string
    }

    override func renamed() { metadata.withLock { $0.ctime = .now } }

    private func place(_ child: Inode, under name: FileName) {
        children.set(child, for: name)
        located(child, under: name)
    }

    private func located(_ child: Inode, under name: FileName) {
        guard let directory = child as? BufferDirectory else { return }
        directory.parent = self
        directory.name = name
    }

    private func touch(subdirectories: Int = 0) {
        metadata.withLock { metadata in
            metadata.modified()
            metadata.linkCount = UInt32(Int(metadata.linkCount) + subdirectories)
        }
    }

    override func makeFile(_ name: FileName, permissions: UInt32, caller: Caller) throws(Errno) -> Inode {
        try insert(name) { parent in
            BufferFile(
                metadata: Metadata(permissions: permissions, caller: caller, in: parent, isDirectory: false),
                services: services)
        }
    }

    override func makeDirectory(_ name: FileName, permissions: UInt32, caller: Caller) throws(Errno) -> Inode {
        try insert(name) { parent in
            BufferDirectory(
                metadata: Metadata(permissions: permissions, caller: caller, in: parent, isDirectory: true),
                services: services)
        }
    }

    override func remove(_ name: FileName, isDirectory: Bool) throws(Errno) {
        defer { tell() }
        let removed = try services.namespace.withLock { _ throws(Errno) -> Inode in
            guard let child = children[name] else { throw .noSuchFileOrDirectory }
            if let directory = child as? BufferDirectory {
                guard isDirectory else { throw .isDirectory }
                try directory.retire()
            } else if isDirectory {
                throw .notDirectory
            }
            children.remove(name)
            note("remove", name, child)
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
        defer {
            tell()
            if newParent !== self { newParent.tell() }
        }
        let replaced = try services.namespace.withLock { _ throws(Errno) -> Inode? in
            guard let child = children[name] else { throw .noSuchFileOrDirectory }
            guard !newParent.isRemoved else { throw .noSuchFileOrDirectory }
            let target = newParent.children[newName]
            if flags & UInt32(RENAME_EXCHANGE) != 0 {
                guard let target else { throw .noSuchFileOrDirectory }
                let (old, new) = (controlPath(of: name), newParent.controlPath(of: newName))
                place(target, under: name)
                newParent.place(child, under: newName)
                newParent.note("move", newName, child, from: old)
                note("move", name, target, from: new)
                let moves = (child is BufferDirectory ? 1 : 0) - (target is BufferDirectory ? 1 : 0)
                touch(subdirectories: self === newParent ? 0 : -moves)
                newParent.touch(subdirectories: self === newParent ? 0 : moves)
                child.renamed()
                target.renamed()
                return nil
            }
            if target === child { return nil }
            if let target {
                if flags & UInt32(RENAME_NOREPLACE) != 0 { throw .fileExists }
                if let directory = target as? BufferDirectory {
                    guard child is BufferDirectory else { throw .isDirectory }
                    try directory.retire()
                } else if child is BufferDirectory {
                    throw .notDirectory
                }
            }
            let old = controlPath(of: name)
            if let target { newParent.note("remove", newName, target) }
            if newParent === self {
                children.remove(newName)
                children.rename(name, to: newName)
                located(child, under: newName)
            } else {
                children.remove(name)
                newParent.place(child, under: newName)
            }
            newParent.note("move", newName, child, from: old)
            let isDirectory = child is BufferDirectory
            touch(subdirectories: isDirectory ? -1 : 0)
            newParent.touch(subdirectories: (isDirectory ? 1 : 0) - (target is BufferDirectory ? 1 : 0))
            child.renamed()
            return target
        }
        if let replaced { services.unlinked(replaced) }
    }
}
