import AttributeTree
import CoherentMemory
import Dispatch
import Fuse
import Glibc
import Logging
import SystemPackage

/// A file, directory or link of the sys/ tree.
final class TreeInode: Inode, @unchecked Sendable {
    let node: AttributeTree.Node
    private let tree: TreeCache
    /// What stat(2) and readdir(3) show; the kernel's own name for the inode may change from lookup to lookup.
    let shownNumber: InodeNumber
    /// Of a directory itself, else of the one that it is in: whose changes of the mode and owner go together.
    private let group: InodeNumber
    /// Whether no other lookup leads here.
    let isUnshared: Bool
    /// How long what it is a part of is there; nil for as long as the mount.
    private let lifetime: Lifetime?
    /// Whose the directory is that it is, or is in; nil for whoever mounts.
    private let ownership: (@Sendable () -> Directory.Ownership)?

    init(
        number: InodeNumber, shownAs shownNumber: InodeNumber, in parent: InodeNumber, isUnshared: Bool = false,
        node: AttributeTree.Node, tree: TreeCache, lifetime: Lifetime? = nil,
        inherited: (@Sendable () -> Directory.Ownership)? = nil
    ) {
        self.node = node
        if case .directory(let directory) = node {
            ownership = directory.ownership ?? inherited
        } else {
            ownership = inherited
        }
        self.lifetime = lifetime
        self.tree = tree
        self.shownNumber = shownNumber
        if case .directory = node { group = shownNumber } else { group = parent }
        self.isUnshared = isUnshared
        super.init(number: number)
    }

    override var attributes: FileAttributes {
        var attributes =
            switch node {
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
        switch node {
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
        switch node {
        case .attribute(let attribute) where attribute.isAdministrative: return
        case .directory(let directory) where directory.ownership != nil:
            attributes.permissions = UInt32(ownership.permissions.rawValue)
        default: break
        }
        (attributes.uid, attributes.gid) = (ownership.uid, ownership.gid)
    }

    // Every change of the attributes of a sys/ file comes through the kernel, unless it belongs to what may change hands: there
    // the kernel asks before it lets anybody in. A link count that changes elsewhere is told of (`TreeCache.recount()`).
    override var attributeTimeout: Double { ownership == nil ? TreeCache.forever : 0 }

    override var linkTarget: String? {
        if case .link(let target) = node { target } else { nil }
    }

    override func child(_ name: FileName) throws(Errno) -> (inode: Inode, timeout: Double)? {
        guard case .directory(let directory) = node else { throw .notDirectory }
        if isGone { return nil }
        if let inode = tree.lasting(name, parent: number) { return (inode, TreeCache.forever) }
        guard let found = directory.find(name.string) else { return nil }
        let inode = tree.inode(
            of: found.node, name: name, parent: number, shownAs: shownNumber(of: name, found.node), in: shownNumber,
            isLasting: found.isLasting, lifetime: found.lifetime, inherited: lifetime, ownership: ownership)
        // If it went meanwhile, the sweep may have missed it, and the kernel must not come to trust it.
        if inode.isGone { return nil }
        return (inode, found.isLasting && !inode.isUnshared ? TreeCache.forever : 0)
    }

    /// Whether the subject has gone (a kernfs node that is no longer active).
    var isGone: Bool { lifetime?.isOver ?? false }

    override var parent: Inode? { tree.parent(of: self) }

    override func entries() throws(Errno) -> [DirectoryEntry] {
        guard case .directory(let directory) = node else { throw .notDirectory }
        if isGone { return [] }
        return directory.entries.map {
            let name = FileName($0.name)
            return DirectoryEntry(name: name, type: FileType($0.kind), number: shownNumber(of: name, nil))
        }
    }

    /// What stat(2) calls a child: the same at every lookup. The directory of what may get another name is called by what it controls.
    private func shownNumber(of name: FileName, _ child: AttributeTree.Node?) -> InodeNumber {
        if case .directory(let directory) = child, let controlled = directory.identity?.subject(as: InodeNumber.self) {
            return TreeCache.number(ofControlsOf: controlled)
        }
        return TreeCache.number(of: name, in: shownNumber)
    }

    private var places: Directory.Places? {
        if case .directory(let directory) = node, !isGone { directory.places } else { nil }
    }

    override var lastPlace: UInt64? { places?.last() }

    override func entries(at places: ClosedRange<UInt64>) -> [(place: UInt64, entry: DirectoryEntry)] {
        guard case .directory(let directory) = node, let listed = self.places?.list(places) else { return [] }
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
        if case .stream(let stream) = node { return try open(stream, flags: flags, by: opener) }
        guard case .attribute(let attribute) = node else { throw .isDirectory }
        if isGone { throw .operationNotSupportedByDevice }
        // The mode keeps ordinary users out; this is for root, whom sysfs refuses, too.
        let access = flags & O_ACCMODE
        if access != O_WRONLY, !attribute.isReadable { throw .permissionDenied }
        if access != O_RDONLY, !attribute.isWritable { throw .permissionDenied }
        if attribute.startsJob { try tree.open(self, by: caller.pid) }
        let handle = AttributeHandle(attribute.opened(by: opener), inode: self, services: tree.services)
        handle.backing = tree.services.unmappable.backing
        return (handle, [.directIO])
    }

    /// A handle that `open` gave is closed.
    func closed() {
        if node.startsJob { tree.close(self) }
    }

    private func open(
        _ stream: AttributeTree.Stream, flags: Int32, by opener: Opener
    ) throws(Errno) -> (OpenHandle, OpenReply.Options) {
        guard flags & O_ACCMODE == O_RDONLY, let log = stream.source as? UeventLog else { throw .permissionDenied }
        return (
            UeventHandle(log, opener: Credentials(opener), held: tree.services.held), [.directIO, .nonSeekable]
        )
    }

    override func change(_ changes: AttributeChanges, caller: Caller, isOpen: Bool) throws(Errno) {
        if case .directory = node, changes.size != nil { throw .isDirectory }
        // `echo >` truncates and touch(1) sets times: both change nothing here.
        guard changes.mode != nil || changes.uid != nil || changes.gid != nil else { return }
        // As in sysfs, where everything is root's. Who else has files here may not make the daemon keep things.
        guard caller.uid == 0 || caller.uid == owner.uid else { throw .notPermitted }
        tree.keep(changes, of: shownNumber, in: group, lifetime)
    }

    override func makeDirectory(_ name: FileName, permissions: UInt32, caller: Caller) throws(Errno) -> Inode {
        guard case .directory(let directory) = node, let maker = directory.maker else { throw .notPermitted }
        guard name.string.utf8.count <= 255 else { throw .fileNameTooLong }
        try maker.make(name.string)
        guard let found = try child(name) else { throw .noSuchFileOrDirectory }
        return found.inode
    }

    override func remove(_ name: FileName, isDirectory: Bool) throws(Errno) {
        guard isDirectory, case .directory(let directory) = node, let maker = directory.maker else {
            throw .notPermitted
        }
        try maker.remove(name.string)
        tree.forgetChanges(in: shownNumber(of: name, nil))
    }

    override func forgotten() { tree.drop(self) }
}

extension FileType {
    fileprivate init(_ kind: AttributeTree.Node.Kind) {
        switch kind {
        case .file: self = .regular
        case .directory: self = .directory
        case .link: self = .symbolicLink
        }
    }
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
        var startsJob: Bool
        /// The subject's own lifetime; what is below goes with it.
        var lifetime: Lifetime?

        var isGone: Bool { lifetime?.isOver ?? false }

        /// The file or directory below buffers/ whose controls it is.
        var controlled: InodeNumber? { identity?.subject(as: InodeNumber.self) }
    }

    let services: Services
    private let born = Timestamp.now
    private let forgetting = DispatchQueue(label: "cdmfs.forgetting", qos: .utility)
    private let state = Mutex(State())

    /// An inode whose writes take long, while it is open.
    ///
    /// The kernel holds an inode's lock for as long as a write to it is unanswered, and whoever waits for that lock cannot
    /// be killed. So each open of such a file has an inode of its own: one that comes to an inode that is open
    /// is refused once (ESTALE), upon which the kernel looks the name up again and finds another inode.
    private struct Use {
        var opens = 1
        /// Tasks that were refused. Who comes back all the same has no name to look up, as in /proc/self/fd.
        var refused: Set<Int32> = []
    }

    private struct State {
        /// Modes and owners that somebody gave, by the number of the directory and of what is in it.
        var changes: [InodeNumber: [InodeNumber: TreeChange]] = [:]
        var byKey = PartedTable<Key, Entry>()
        var keys = PartedTable<InodeNumber, Key>()
        /// The directories of controls that the kernel knows, by what they control.
        var controls = PartedTable<InodeNumber, Key>()
        /// The directories that the kernel knows in which others come and go.
        var changing: Set<InodeNumber> = []
        /// Those of them whose count the kernel is to forget.
        var outdated: Set<InodeNumber> = []
        var uses: [InodeNumber: Use] = [:]
        /// Names at which somebody was refused. From then on each lookup finds an inode of its own, for nobody is to
        /// be refused twice.
        var contended: Set<Key> = []
    }

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
            let key = Key(parent: parent, name: name)
            guard let entry = state.byKey[key], entry.isLasting, !entry.isGone else { return nil }
            if entry.startsJob, state.uses[entry.inode.number] != nil || state.contended.contains(key) { return nil }
            return entry.inode
        }
    }

    /// The inode of the whole tree.
    func inode(of root: Directory) -> TreeInode {
        inode(
            of: .directory(root), name: "sys", parent: .root, shownAs: Self.number(of: "sys", in: .root), in: .root)
    }

    /// The inode of a child: the one the kernel knows, unless the name stands for another subject by now.
    func inode(
        of node: AttributeTree.Node, name: FileName, parent: InodeNumber, shownAs shownNumber: InodeNumber,
        in shownParent: InodeNumber, isLasting: Bool = true, lifetime: Lifetime? = nil, inherited: Lifetime? = nil,
        ownership: (@Sendable () -> Directory.Ownership)? = nil
    ) -> TreeInode {
        let kind = node.kind
        let startsJob = node.startsJob
        var identity: Directory.Identity?
        if case .directory(let directory) = node { identity = directory.identity }
        return state.withLock { state in
            let key = Key(parent: parent, name: name)
            if let entry = state.byKey[key], entry.kind == kind, entry.identity == identity, !entry.isGone {
                guard startsJob, state.uses[entry.inode.number] != nil || state.contended.contains(key) else {
                    return entry.inode
                }
                return TreeInode(
                    number: services.inodes.makeNumber(), shownAs: shownNumber, in: shownParent, isUnshared: true,
                    node: node, tree: self, lifetime: lifetime ?? inherited, inherited: ownership)
            }
            let inode = TreeInode(
                number: services.inodes.makeNumber(), shownAs: shownNumber, in: shownParent, node: node, tree: self,
                lifetime: lifetime ?? inherited, inherited: ownership)
            state.byKey[key] = Entry(
                inode: inode, identity: identity, kind: kind, isLasting: isLasting, startsJob: startsJob,
                lifetime: lifetime)
            state.keys[inode.number] = key
            if let controlled = state.byKey[key]?.controlled { state.controls[controlled] = key }
            if case .directory(let directory) = node, directory.ownership == nil, directory.hasChangingDirectories {
                state.changing.insert(inode.number)
            }
            return inode
        }
    }

    /// A number for a name that is the same at every lookup, apart from those that are counted up.
    ///
    /// `Hasher` is seeded at random for each process: nobody can choose names of which one has the number of another.
    static func number(of name: FileName, in parent: InodeNumber) -> InodeNumber {
        var hasher = Hasher()
        hasher.combine(parent)
        hasher.combine(name)
        return InodeNumber(rawValue: UInt64(bitPattern: Int64(hasher.finalize())) | 1 << 63)
    }

    /// The same for the directory of the controls of something below buffers/, whose name may change.
    static func number(ofControlsOf controlled: InodeNumber) -> InodeNumber {
        number(of: "", in: controlled)
    }

    /// The directory that one is in.
    func parent(of inode: TreeInode) -> Inode? {
        state.withLock { $0.keys[inode.number]?.parent }.flatMap { services.inodes[$0] }
    }

    /// What somebody changed of the attributes of an inode; nil for nothing.
    func change(of number: InodeNumber, in group: InodeNumber) -> TreeChange? {
        state.withLock { $0.changes.isEmpty ? nil : $0.changes[group]?[number] }
    }

    /// Keeps a change for as long as what it is a change of is there (struct kernfs_iattrs).
    func keep(_ changes: AttributeChanges, of number: InodeNumber, in group: InodeNumber, _ lifetime: Lifetime?) {
        state.withLock { state in
            state.changes[group, default: [:]][number, default: TreeChange(lifetime: lifetime)].add(changes)
        }
    }

    /// Forgets what was changed in a directory that is gone.
    func forgetChanges(in group: InodeNumber) {
        state.withLock { state in
            if !state.changes.isEmpty { state.changes.removeValue(forKey: group) }
        }
    }

    /// Makes the kernel forget the names of what has gone. Never called from a worker: it may wait for one.
    ///
    /// No lookup slips through: the kernel holds the directory's lock over a lookup and its answer, and the notification
    /// waits for that.
    func sweep() {
        let gone = state.withLock { state -> [Key] in
            let gone = state.byKey.filter { $0.isGone }
            for (key, entry) in gone {
                state.byKey.removeValue(forKey: key)
                state.keys.removeValue(forKey: entry.inode.number)
            }
            state.changes = state.changes.mapValues { $0.filter { !$0.value.isGone } }.filter { !$0.value.isEmpty }
            return gone.map(\.key)
        }
        for key in gone { forget(key) }
    }

    private func forget(_ key: Key) {
        do throws(Errno) {
            try services.notifier.invalidateEntry(key.parent, key.name)
        } catch {
            services.logger.debug("invalidating \(key.name) in inode \(key.parent.rawValue): \(error)")
        }
    }

    /// Makes the kernel forget, soon, the controls of what has no name any more; it would keep them as long as it has memory.
    func unlinked(_ controlled: InodeNumber) {
        forgetChanges(in: Self.number(ofControlsOf: controlled))
        guard let key = state.withLock({ $0.controls.removeValue(forKey: controlled) }) else { return }
        // Not from a worker: it may wait for one.
        forgetting.start { [weak self] in self?.forget(key) }
    }

    /// Makes the kernel forget, soon, how many directories are in those of the machine.
    func recount() {
        let isFirst = state.withLock { state in
            let before = state.outdated.count
            state.outdated.formUnion(state.changing)
            return before == 0 && !state.outdated.isEmpty
        }
        // Not from a worker, which may not send notifications.
        if isFirst { forgetting.start { [weak self] in self?.forgetCounts() } }
    }

    private func forgetCounts() {
        let numbers = state.withLock { state in
            defer { state.outdated = [] }
            return state.outdated
        }
        for number in numbers { _ = try? services.notifier.invalidate(number, offset: -1) }
    }

    /// Counts an open of an inode whose writes take long; ESTALE where the kernel is to look for another.
    func open(_ inode: TreeInode, by task: Int32) throws(Errno) {
        let isRefused = state.withLock { state in
            // Only what lookups share is counted.
            guard let key = state.keys[inode.number] else { return false }
            guard state.uses[inode.number] != nil else {
                state.uses[inode.number] = Use()
                return false
            }
            guard state.uses[inode.number]!.refused.remove(task) == nil else {
                state.uses[inode.number]!.opens += 1
                return false
            }
            state.uses[inode.number]!.refused.insert(task)
            state.contended.insert(key)
            return true
        }
        if isRefused { throw .staleNFSFileHandle }
    }

    func close(_ inode: TreeInode) {
        state.withLock { state in
            guard let opens = state.uses[inode.number]?.opens else { return }
            if opens > 1 { state.uses[inode.number]!.opens -= 1 } else { state.uses.removeValue(forKey: inode.number) }
        }
    }

    func drop(_ inode: TreeInode) {
        services.trimmer.freedFile()
        state.withLock { state in
            state.changing.remove(inode.number)
            if !state.contended.isEmpty { state.contended = state.contended.filter { $0.parent != inode.number } }
            guard let key = state.keys.removeValue(forKey: inode.number) else { return }
            guard let entry = state.byKey[key], entry.inode === inode else { return }
            state.byKey.removeValue(forKey: key)
            if let controlled = entry.controlled, state.controls[controlled] == key {
                state.controls.removeValue(forKey: controlled)
            }
        }
    }
}
