import AttributeTree
import CoherentMemory
import CoherentTree
import Dispatch
import Fuse
import Glibc
import LinuxSupport
import Logging
import SystemPackage

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
        var kind: Item.Kind
        var isLasting: Bool
        var startsJob: Bool
        /// The subject's own lifetime; what is below goes with it.
        var lifetime: Lifetime?

        var isGone: Bool { lifetime?.isOver ?? false }

        /// The file or directory below buffers/ whose controls it is.
        var controlled: InodeNumber? {
            identity?.subject(as: ControlledFile.self).map { InodeNumber(rawValue: $0.inode) }
        }
    }

    let services: Services
    private let born = Timestamp.now
    private let forgetting = DispatchQueue(label: "cdmfs.forgetting", qos: .utility)
    private let state = Mutex(State())

    private struct State {
        /// Modes and owners that users gave, by the number of the directory and of what is in it.
        var changes: [InodeNumber: [InodeNumber: TreeChange]] = [:]
        var byKey = PartedTable<Key, Entry>()
        var keys = PartedTable<InodeNumber, Key>()
        /// The directories of controls that the kernel knows, by what they control.
        var controls = PartedTable<InodeNumber, Key>()
        /// The directories that the kernel knows in which others come and go.
        var changing: Set<InodeNumber> = []
        /// Those of them whose count the kernel is to forget.
        var outdated: Set<InodeNumber> = []
        /// How many have an inode open whose writes take long.
        ///
        /// The kernel holds an inode's lock for as long as a write to it is unanswered, and a process that waits for that lock cannot
        /// be killed. So each open of such a file has an inode of its own: one that comes to an inode that is open
        /// is refused once (ESTALE), upon which the kernel looks the name up again and finds another inode.
        var opens: [InodeNumber: Int] = [:]
        /// Names at which a program was refused. From then on each lookup finds an inode of its own.
        var contended: Set<Key> = []

        /// Whether a file whose writes take long is open, or was when another program came.
        func isBusy(_ key: Key, _ entry: Entry?) -> Bool {
            contended.contains(key) || entry.map { opens[$0.inode.number] != nil } ?? false
        }
    }

    /// A tree whose files belong to the user who mounts.
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
            if entry.startsJob, state.isBusy(key, entry) { return nil }
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
        of item: Item, name: FileName, parent: InodeNumber, shownAs shownNumber: InodeNumber,
        in shownParent: InodeNumber, isLasting: Bool = true, lifetime: Lifetime? = nil, inherited: Lifetime? = nil,
        ownership: (@Sendable () -> Directory.Ownership)? = nil
    ) -> TreeInode {
        let kind = item.kind
        let startsJob = item.startsJob
        var identity: Directory.Identity?
        if case .directory(let directory) = item { identity = directory.identity }
        return state.withLock { state in
            let key = Key(parent: parent, name: name)
            let known = state.byKey[key].flatMap {
                $0.kind == kind && $0.identity == identity && !$0.isGone ? $0 : nil
            }
            // Also where the kernel has forgotten the inode that was open.
            let isUnshared = startsJob && state.isBusy(key, known)
            if let known, !isUnshared { return known.inode }
            let inode = TreeInode(
                number: services.inodes.makeNumber(), name: name, parent: parent, shownAs: shownNumber, in: shownParent,
                isUnshared: isUnshared, item: item, tree: self, lifetime: lifetime ?? inherited, inherited: ownership)
            if isUnshared { return inode }
            state.byKey[key] = Entry(
                inode: inode, identity: identity, kind: kind, isLasting: isLasting, startsJob: startsJob,
                lifetime: lifetime)
            state.keys[inode.number] = key
            if let controlled = state.byKey[key]?.controlled { state.controls[controlled] = key }
            if case .directory(let directory) = item, directory.ownership == nil, directory.hasChangingDirectories {
                state.changing.insert(inode.number)
            }
            return inode
        }
    }

    /// A number for a name that is the same at every lookup, apart from those that are counted up.
    ///
    /// `Hasher` is seeded at random for each process: no user can choose names of which one has the number of another.
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

    /// What users changed of the attributes of an inode; nil for nothing.
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
            services.logger.debug("cannot invalidate \(key.name) in inode \(key.parent.rawValue): \(error)")
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
        let isBack = services.refusals.take(task, from: inode.shownNumber)
        let isRefused = state.withLock { state in
            // Only what lookups share is counted.
            guard let key = state.keys[inode.number] else { return false }
            if state.opens[inode.number] != nil, !isBack {
                state.contended.insert(key)
                return true
            }
            state.opens[inode.number, default: 0] += 1
            return false
        }
        guard isRefused else { return }
        services.refusals.add(task, to: inode.shownNumber)
        throw .staleNFSFileHandle
    }

    func close(_ inode: TreeInode) {
        state.withLock { state in
            guard let opens = state.opens[inode.number] else { return }
            state.opens[inode.number] = opens > 1 ? opens - 1 : nil
        }
    }

    /// Forgets every inode: there are no more requests.
    func removeAll() {
        // Released outside the lock.
        let gone = state.withLock { state in
            defer { state = State() }
            return state.byKey.filter { _ in true }.map(\.value.inode)
        }
        withExtendedLifetime(gone) {}
    }

    /// Whether an inode that a lookup found is still the one of its name. Of one that no other lookup finds there is nothing to keep.
    func isKept(_ inode: TreeInode) -> Bool {
        inode.isUnshared || state.withLock { $0.keys[inode.number] != nil }
    }

    /// The kernel knows an inode no longer, unless it was looked up meanwhile.
    func drop(_ inode: TreeInode) {
        services.trimmer.freedFile()
        state.withLock { state in
            // The root of the tree is always there.
            guard inode.parentNumber != .root, !services.inodes.knows(inode) else { return }
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
