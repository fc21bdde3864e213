import AttributeTree
import CoherentMemory
import CoherentTree
import Fuse
import Glibc
import SystemPackage

/// A file, directory or link of the sys/ tree.
final class TreeInode: Inode, @unchecked Sendable {
    let item: Item
    /// Its name, and what the kernel calls the directory that has it.
    let name: FileName
    let parentNumber: InodeNumber
    private let tree: TreeCache
    /// What stat(2) and readdir(3) show; the kernel's own name for the inode may change from lookup to lookup.
    let shownNumber: InodeNumber
    /// Of a directory itself, else of the one that it is in: whose changes of the mode and owner go together.
    private let group: InodeNumber
    /// Whether no other lookup leads here.
    let isUnshared: Bool
    /// How long what it is a part of is there; nil for as long as the mount.
    private let lifetime: Lifetime?
    /// Whose the directory is that it is, or is in; nil for the user who mounts.
    private let ownership: (@Sendable () -> Directory.Ownership)?

    init(
        number: InodeNumber, name: FileName, parent parentNumber: InodeNumber, shownAs shownNumber: InodeNumber,
        in parent: InodeNumber, isUnshared: Bool = false, item: Item, tree: TreeCache,
        lifetime: Lifetime? = nil,
        inherited: (@Sendable () -> Directory.Ownership)? = nil
    ) {
        self.item = item
        if case .directory(let directory) = item {
            ownership = directory.ownership ?? inherited
        } else {
            ownership = inherited
        }
        self.name = name
        self.parentNumber = parentNumber
        self.lifetime = lifetime
        self.tree = tree
        self.shownNumber = shownNumber
        if case .directory = item { group = shownNumber } else { group = parent }
        self.isUnshared = isUnshared
        super.init(number: number)
    }

    override var attributes: FileAttributes {
        var attributes =
            switch item {
            case .attribute(let attribute):
                FileAttributes(inode: shownNumber, type: .regular, permissions: UInt32(attribute.permissions.rawValue))
            case .stream(let stream):
                FileAttributes(inode: shownNumber, type: .regular, permissions: UInt32(stream.permissions.rawValue))
            case .directory(let directory):
                FileAttributes(
                    inode: shownNumber, type: .directory, permissions: UInt32(directory.permissions.rawValue))
            case .link:
                FileAttributes(inode: shownNumber, type: .symbolicLink, permissions: 0o777)
            }
        switch item {
        case .attribute(let attribute): attributes.size = Int64(attribute.size)
        case .stream(let stream): attributes.size = Int64(stream.size)
        case .directory(let directory): attributes.linkCount = 2 + UInt32(clamping: directory.directoryCount)
        // As in sysfs, a link says no size.
        case .link: attributes.size = 0
        }
        tree.complete(&attributes)
        adopt(&attributes)
        tree.change(of: shownNumber, in: group)?.apply(to: &attributes)
        return attributes
    }

    /// Makes it whose the subject is, and no more open.
    private func adopt(_ attributes: inout FileAttributes) {
        guard let ownership = ownership?() else { return }
        switch item {
        case .attribute(let attribute) where attribute.isAdministrative: return
        case .directory(let directory) where directory.ownership != nil:
            attributes.permissions = UInt32(ownership.permissions.rawValue)
        default: break
        }
        (attributes.uid, attributes.gid) = (ownership.uid, ownership.gid)
    }

    // Every change of the attributes of a sys/ file comes through the kernel, unless it belongs to what may change hands: there
    // the kernel asks before it gives access. A link count that changes elsewhere is reported (`TreeCache.recount()`).
    override var attributeTimeout: Double { ownership == nil ? TreeCache.forever : 0 }

    override var linkTarget: String? {
        if case .link(let target) = item { target } else { nil }
    }

    override func child(_ name: FileName) throws(Errno) -> (inode: Inode, timeout: Double)? {
        try child(name, for: Client.nobody)
    }

    override func child(_ name: FileName, for caller: Caller) throws(Errno) -> (inode: Inode, timeout: Double)? {
        try child(name, for: Client(caller))
    }

    private func child(_ name: FileName, for client: Client) throws(Errno) -> (inode: Inode, timeout: Double)? {
        guard case .directory(let directory) = item else { throw .notDirectory }
        if isGone { return nil }
        if let inode = tree.lasting(name, parent: number) { return (inode, TreeCache.forever) }
        guard let found = directory.find(name.string, for: client) else { return nil }
        let inode = tree.inode(
            of: found.item, name: name, parent: number, shownAs: shownNumber(of: name, found.item), in: shownNumber,
            isLasting: found.isLasting, lifetime: found.lifetime, inherited: lifetime, ownership: ownership)
        // If it went meanwhile, the sweep may have missed it, and the kernel must not come to trust it.
        if inode.isGone { return nil }
        return (inode, found.isLasting && !inode.isUnshared ? TreeCache.forever : 0)
    }

    /// Whether the subject has gone (a kernfs node that is no longer active).
    var isGone: Bool { lifetime?.isOver ?? false }

    override var parent: Inode? { tree.parent(of: self) }

    override func entries() throws(Errno) -> [DirectoryEntry] { try entries(for: Client.nobody) }

    override func entries(for caller: Caller) throws(Errno) -> [DirectoryEntry] { try entries(for: Client(caller)) }

    private func entries(for client: Client) throws(Errno) -> [DirectoryEntry] {
        guard case .directory(let directory) = item else { throw .notDirectory }
        if isGone { return [] }
        return directory.entries(for: client).map {
            let name = FileName($0.name)
            return DirectoryEntry(name: name, type: FileType($0.kind), number: shownNumber(of: name, nil))
        }
    }

    /// What stat(2) calls a child: the same at every lookup. The directory of what may get another name is called by what it controls.
    private func shownNumber(of name: FileName, _ child: Item?) -> InodeNumber {
        if case .directory(let directory) = child, let controlled = directory.identity?.subject(as: ControlledFile.self)
        {
            return TreeCache.number(ofControlsOf: InodeNumber(rawValue: controlled.inode))
        }
        return TreeCache.number(of: name, in: shownNumber)
    }

    private var places: Directory.Places? {
        if case .directory(let directory) = item, !isGone { directory.places } else { nil }
    }

    override var lastPlace: UInt64? { places?.last() }

    override func entries(at places: ClosedRange<UInt64>) -> [(place: UInt64, entry: DirectoryEntry)] {
        guard case .directory(let directory) = item, let listed = self.places?.list(places) else { return [] }
        return listed.map {
            let name = FileName($0.name)
            let number = shownNumber(of: name, directory.lookup($0.name))
            return ($0.place, DirectoryEntry(name: name, type: FileType($0.kind), number: number))
        }
    }

    override func open(
        flags: Int32, caller: Caller
    ) throws(Errno) -> (handle: OpenHandle, options: OpenReply.Options) {
        let opener = Opener(task: Client(caller).task, uid: caller.uid, gid: caller.gid)
        if case .stream(let stream) = item { return try open(stream, flags: flags, by: opener) }
        guard case .attribute(let attribute) = item else { throw .isDirectory }
        if isGone { throw .operationNotSupportedByDevice }
        // The mode keeps ordinary users out; this is for root, whom sysfs refuses, too.
        let access = flags & O_ACCMODE
        if access != O_WRONLY, !attribute.isReadable { throw .permissionDenied }
        if access != O_RDONLY, !attribute.isWritable {
            ControlWrite(services: tree.services, client: Client(caller), place: .tree(self), bytes: [])
                .refused(.permissionDenied)
            throw .permissionDenied
        }
        if attribute.startsJob { try tree.open(self, by: caller.pid) }
        let handle = AttributeHandle(attribute.opened(by: opener), inode: self, services: tree.services)
        handle.backing = tree.services.unmappable.backing
        return (handle, [.directIO])
    }

    /// A handle that `open` gave is closed.
    func closed() {
        if item.startsJob { tree.close(self) }
    }

    private func open(
        _ stream: AttributeTree.Stream, flags: Int32, by opener: Opener
    ) throws(Errno) -> (OpenHandle, OpenReply.Options) {
        guard flags & O_ACCMODE == O_RDONLY, let source = stream.source as? any EventSource else {
            throw .permissionDenied
        }
        return (
            EventHandle(try source.openReader(by: Uevent.Viewer(opener)), held: tree.services.held),
            [.directIO, .nonSeekable]
        )
    }

    override func change(_ changes: AttributeChanges, caller: Caller, isOpen: Bool) throws(Errno) {
        if case .directory = item, changes.size != nil { throw .isDirectory }
        // `echo >` truncates and touch(1) sets times: both change nothing here.
        guard changes.mode != nil || changes.uid != nil || changes.gid != nil else { return }
        // As in sysfs, where everything is root's. Who else has files here may not make the daemon keep things.
        guard caller.uid == 0 || caller.uid == owner.uid else { throw .notPermitted }
        tree.keep(changes, of: shownNumber, in: group, lifetime)
    }

    override func makeDirectory(_ name: FileName, permissions: UInt32, caller: Caller) throws(Errno) -> Inode {
        guard case .directory(let directory) = item, let maker = directory.maker else { throw .notPermitted }
        guard name.string.utf8.count <= 255 else { throw .fileNameTooLong }
        try maker.make(name.string)
        guard let found = try child(name) else { throw .noSuchFileOrDirectory }
        return found.inode
    }

    override func remove(_ name: FileName, isDirectory: Bool) throws(Errno) {
        guard isDirectory, case .directory(let directory) = item, let maker = directory.maker else {
            throw .notPermitted
        }
        try maker.remove(name.string)
        tree.forgetChanges(in: shownNumber(of: name, nil))
    }

    override var isKept: Bool { tree.isKept(self) }

    override func forgotten() { tree.drop(self) }
}

extension FileType {
    fileprivate init(_ kind: Item.Kind) {
        switch kind {
        case .file: self = .regular
        case .directory: self = .directory
        case .link: self = .symbolicLink
        }
    }
}

extension Item {
    /// Whether this is an attribute whose writes may take long.
    var startsJob: Bool {
        if case .attribute(let attribute) = self { attribute.startsJob } else { false }
    }
}
