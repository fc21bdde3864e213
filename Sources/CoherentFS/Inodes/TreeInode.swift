import AttributeTree
import CoherentMemory
import Fuse
import Glibc
import SystemPackage

/// A file, directory or link of the sys/ tree.
final class TreeInode: Inode, @unchecked Sendable {
    private let node: AttributeTree.Node
    private let tree: TreeCache
    /// What stat(2) shows; the kernel's own name for the inode may change from lookup to lookup.
    private let shownNumber: InodeNumber

    init(number: InodeNumber, shownAs shownNumber: InodeNumber? = nil, node: AttributeTree.Node, tree: TreeCache) {
        self.node = node
        self.tree = tree
        self.shownNumber = shownNumber ?? number
        super.init(number: number)
    }

    override var attributes: FileAttributes {
        var attributes =
            switch node {
            case .attribute(let attribute):
                FileAttributes(inode: shownNumber, type: .regular, permissions: UInt32(attribute.permissions.rawValue))
            case .stream(let stream):
                FileAttributes(inode: number, type: .regular, permissions: UInt32(stream.permissions.rawValue))
            case .directory(let directory):
                FileAttributes(inode: number, type: .directory, permissions: UInt32(directory.permissions.rawValue))
            case .link:
                FileAttributes(inode: number, type: .symbolicLink, permissions: 0o777)
            }
        switch node {
        case .attribute(let attribute): attributes.size = Int64(attribute.size)
        case .stream(let stream): attributes.size = Int64(stream.size)
        case .directory: attributes.linkCount = 2
        // As in sysfs, a link says no size.
        case .link: attributes.size = 0
        }
        tree.complete(&attributes)
        return attributes
    }

    // Nothing changes the attributes of a sys/ file.
    override var attributeTimeout: Double { TreeCache.forever }

    override var linkTarget: String? {
        if case .link(let target) = node { target } else { nil }
    }

    override func child(_ name: FileName) throws(Errno) -> (inode: Inode, timeout: Double)? {
        guard case .directory(let directory) = node else { throw .notDirectory }
        if let inode = tree.lasting(name, parent: number) { return (inode, TreeCache.forever) }
        guard let (child, isLasting) = directory.find(name.string) else { return nil }
        return (
            tree.inode(of: child, name: name, parent: number, isLasting: isLasting),
            isLasting && !child.startsJob ? TreeCache.forever : 0
        )
    }

    override func entries() throws(Errno) -> [(name: FileName, type: FileType)] {
        guard case .directory(let directory) = node else { throw .notDirectory }
        return directory.entries.map { name, kind in
            let type: FileType =
                switch kind {
                case .file: .regular
                case .directory: .directory
                case .link: .symbolicLink
                }
            return (FileName(name), type)
        }
    }

    override func open(flags: Int32, caller: Caller) throws(Errno) -> (handle: OpenHandle, options: OpenReply.Options) {
        if case .stream(let stream) = node { return try open(stream, flags: flags) }
        guard case .attribute(let attribute) = node else { throw .isDirectory }
        // The mode keeps ordinary users out; this is for root, whom sysfs refuses, too.
        let access = flags & O_ACCMODE
        if access != O_WRONLY, !attribute.isReadable { throw .permissionDenied }
        if access != O_RDONLY, !attribute.isWritable { throw .permissionDenied }
        return (AttributeHandle(attribute.opened(), services: tree.services), [.directIO])
    }

    private func open(_ stream: AttributeTree.Stream, flags: Int32) throws(Errno) -> (OpenHandle, OpenReply.Options) {
        guard flags & O_ACCMODE == O_RDONLY, let log = stream.source as? UeventLog else { throw .permissionDenied }
        return (UeventHandle(log), [.directIO, .nonSeekable])
    }

    override func change(_ changes: AttributeChanges, caller: Caller, isOpen: Bool) throws(Errno) {
        // `echo >` truncates and touch(1) sets times: both change nothing here.
        guard changes.mode == nil, changes.uid == nil, changes.gid == nil else { throw .notPermitted }
        if case .directory = node, changes.size != nil { throw .isDirectory }
    }

    override func makeDirectory(_ name: FileName, permissions: UInt32, caller: Caller) throws(Errno) -> Inode {
        guard case .directory(let directory) = node, let maker = directory.maker else { throw .notPermitted }
        guard name.string.utf8.count <= 255 else { throw .fileNameTooLong }
        try maker.make(name.string)
        guard let (child, isLasting) = directory.find(name.string) else { throw .noSuchFileOrDirectory }
        return tree.inode(of: child, name: name, parent: number, isLasting: isLasting)
    }

    override func remove(_ name: FileName, isDirectory: Bool) throws(Errno) {
        guard isDirectory, case .directory(let directory) = node, let maker = directory.maker else {
            throw .notPermitted
        }
        try maker.remove(name.string)
    }

    override func forgotten() { tree.drop(self) }
}

extension AttributeTree.Node {
    /// Whether this is an attribute whose writes may take long.
    fileprivate var startsJob: Bool {
        if case .attribute(let attribute) = self { attribute.startsJob } else { false }
    }
}

/// The inodes of the sys/ tree, which are made when they are looked up.
final class TreeCache: Sendable {
    /// A time-out for what never changes, seconds.
    static let forever = 86400.0

    private struct Key: Hashable {
        var parent: InodeNumber
        var name: FileName
    }

    private struct Entry {
        var inode: TreeInode
        var identity: Directory.Identity?
        var kind: AttributeTree.Node.Kind
        var isLasting: Bool
    }

    let services: Services
    private let born = Timestamp.now
    private let state = Mutex<(byKey: [Key: Entry], keys: [InodeNumber: Key])>(([:], [:]))

    /// A tree whose files belong to whoever mounts.
    init(services: Services) {
        self.services = services
    }

    func complete(_ attributes: inout FileAttributes) {
        attributes.uid = owner.uid
        attributes.gid = owner.gid
        attributes.atime = born
        attributes.mtime = born
        attributes.ctime = born
    }

    /// The inode of a name that stands for the same child for good, if the kernel knows it.
    func lasting(_ name: FileName, parent: InodeNumber) -> TreeInode? {
        state.withLock { state in
            guard let entry = state.byKey[Key(parent: parent, name: name)], entry.isLasting else { return nil }
            return entry.inode
        }
    }

    /// The inode of a child: the one the kernel knows, unless the name stands for another subject by now.
    func inode(
        of node: AttributeTree.Node, name: FileName, parent: InodeNumber, isLasting: Bool = true
    ) -> TreeInode {
        // The kernel holds an inode's lock for as long as a write to it is unanswered, and whoever waits for that lock
        // cannot be killed. So each open of a file whose writes take long has an inode of its own.
        if node.startsJob {
            return TreeInode(
                number: services.inodes.makeNumber(), shownAs: Self.number(of: name, in: parent), node: node, tree: self
            )
        }
        let kind = node.kind
        var identity: Directory.Identity?
        if case .directory(let directory) = node { identity = directory.identity }
        return state.withLock { state in
            let key = Key(parent: parent, name: name)
            if let entry = state.byKey[key], entry.kind == kind, entry.identity == identity { return entry.inode }
            let inode = TreeInode(number: services.inodes.makeNumber(), node: node, tree: self)
            state.byKey[key] = Entry(inode: inode, identity: identity, kind: kind, isLasting: isLasting)
            state.keys[inode.number] = key
            return inode
        }
    }

    /// A number for a name that is the same at every lookup (FNV-1a), apart from those that are counted up.
    private static func number(of name: FileName, in parent: InodeNumber) -> InodeNumber {
        var hash = 0xcbf2_9ce4_8422_2325 ^ parent.rawValue
        for byte in name.string.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return InodeNumber(rawValue: hash | 1 << 63)
    }

    func drop(_ inode: TreeInode) {
        state.withLock { state in
            guard let key = state.keys.removeValue(forKey: inode.number) else { return }
            if state.byKey[key]?.inode === inode { state.byKey.removeValue(forKey: key) }
        }
    }
}
