import AttributeTree
import CoherentMemory
import CoherentTree
import Fuse
import LinuxSupport
import Synchronization
import SystemPackage

/// A name in the listing of a directory.
struct DirectoryEntry {
    var name: FileName
    var type: FileType
    /// What stat(2) calls its inode.
    var number: InodeNumber
}

/// A file, directory or link of the mount.
///
/// A class for identity: the kernel names it by its number until it forgets it. What is not overridden answers as
/// sysfs does: it cannot be made, removed or renamed.
class Inode: @unchecked Sendable {
    // Unchecked: `lookups` is guarded by the inode table, everything else by the subclass that has it.

    let number: InodeNumber
    /// What it counts as, of an inode whose number is limited. Set before the inode is reachable.
    var charge: InodeCharge?
    /// How often the kernel was told of the inode and has not forgotten it.
    fileprivate(set) var lookups: UInt64 = 0

    init(number: InodeNumber) { self.number = number }

    /// The inode that a lookup of its name finds now.
    var current: Inode { self }

    /// What stat(2) tells.
    var attributes: FileAttributes { FileAttributes(inode: number, type: .regular, permissions: 0) }

    /// Seconds for which the kernel may trust the attributes.
    var attributeTimeout: Double { 0 }

    /// Where a link leads; nil for what is no link.
    var linkTarget: String? { nil }

    /// A name in this directory, and for how many seconds the kernel may trust it; nil where there is none.
    func child(_ name: FileName) throws(Errno) -> (inode: Inode, timeout: Double)? { throw .notDirectory }

    /// The same for a client, where names differ from reader to reader.
    func child(_ name: FileName, for caller: Caller) throws(Errno) -> (inode: Inode, timeout: Double)? {
        try child(name)
    }

    /// The directory that a directory is in; nil where it is not known any more. The root is in itself.
    var parent: Inode? { nil }

    /// Every name in this directory.
    func entries() throws(Errno) -> [DirectoryEntry] { throw .notDirectory }

    /// The same for a client, where names differ from reader to reader.
    func entries(for caller: Caller) throws(Errno) -> [DirectoryEntry] { try entries() }

    /// The place of the last name of a directory whose names keep their places in the listing, so that it can be listed bit
    /// by bit; nil where a listing takes every name at once.
    var lastPlace: UInt64? { nil }

    /// Names in such places, in their order; not all of them where there are many.
    func entries(at places: ClosedRange<UInt64>) -> [(place: UInt64, entry: DirectoryEntry)] { [] }

    /// The directory is listed.
    func listed() {}

    /// Opens a file. ESTALE makes the kernel look the name up again, once.
    func open(flags: Int32, caller: Caller) throws(Errno) -> (handle: OpenHandle, options: OpenReply.Options) {
        try open(flags: flags)
    }

    /// Opens a file, whatever the caller may do.
    func open(flags: Int32) throws(Errno) -> (handle: OpenHandle, options: OpenReply.Options) { throw .isDirectory }

    /// Changes attributes. `isOpen` tells ftruncate(2) from truncate(2) and O_TRUNC.
    func change(_ changes: AttributeChanges, caller: Caller, isOpen: Bool) throws(Errno) { throw .notPermitted }

    /// Makes a regular file.
    func makeFile(_ name: FileName, permissions: UInt32, caller: Caller) throws(Errno) -> Inode { throw .notPermitted }

    /// Makes a regular file in this directory that has no name yet (O_TMPFILE): EOPNOTSUPP where there can be none.
    func makeTemporaryFile(permissions: UInt32, caller: Caller) throws(Errno) -> Inode { throw .notSupported }

    /// Makes a socket.
    func makeSocket(_ name: FileName, permissions: UInt32, caller: Caller) throws(Errno) -> Inode {
        throw .notPermitted
    }

    /// Gives a file that was made without a name its first one.
    func link(_ file: Inode, as name: FileName) throws(Errno) { throw .notPermitted }

    /// Makes a directory.
    func makeDirectory(_ name: FileName, permissions: UInt32, caller: Caller) throws(Errno) -> Inode {
        throw .notPermitted
    }

    /// Removes the name of a file, or of an empty directory.
    func remove(_ name: FileName, isDirectory: Bool) throws(Errno) { throw .notPermitted }

    /// Gives a child another name, here or in another directory; `flags` of renameat2(2).
    func rename(_ name: FileName, to newName: FileName, in newParent: Inode, flags: UInt32) throws(Errno) {
        throw .notPermitted
    }

    /// Runs `body` with what is stored of the file: owner, permissions, times, extended attributes. EOPNOTSUPP where nothing is.
    func withMetadata<Result: Sendable>(
        _ body: (inout Metadata) throws(Errno) -> Result
    ) throws(Errno) -> Result { throw .notSupported }

    /// The attributes that are extended attributes, too: `user.cdm.NAME`.
    var extendedAttributes: [BoundAttribute] { [] }

    /// Whether a user whom the file's permissions let write may set extended attributes.
    func mayStore(_ caller: Caller) -> Bool { true }

    /// Whether a change takes so long that others would miss the thread that serves requests.
    func isLong(_ changes: AttributeChanges) -> Bool { false }

    /// Whether it is there although the kernel does not know it: then a file handle leads back to it.
    var isLasting: Bool { false }

    /// Whether it was not given up between a lookup that found it and the count of that lookup.
    var isKept: Bool { true }

    /// Whether sys/kernel/cdm/buffers has a directory for each of its names.
    var hasControls: Bool { false }

    /// The file or directory got another name.
    func renamed() {}

    /// The last name is gone.
    func unlinked() {}

    /// The kernel knows the inode no longer.
    func forgotten() {}
}

/// The inodes that the kernel knows, and those that it knew and that are still there.
final class InodeTable: Sendable {
    private let inodes = Mutex(IDTable<Inode>())
    private let next = Atomic<UInt64>(InodeNumber.root.rawValue + 1)

    /// A number that no inode had before.
    func makeNumber() -> InodeNumber {
        InodeNumber(rawValue: next.wrappingAdd(1, ordering: .relaxed).oldValue)
    }

    /// Adds an inode that the kernel knows without having asked: the root.
    func add(root: Inode) {
        inodes.withLock { $0[root.number.rawValue] = root }
    }

    subscript(number: InodeNumber) -> Inode? { inodes.withLock { $0[number.rawValue] } }

    /// Counts a lookup, just before the kernel is told of it.
    func remember(_ inode: Inode) {
        inodes.withLock { inodes in
            inode.lookups += 1
            inodes[inode.number.rawValue] = inode
        }
    }

    /// The child of a name, and for how many seconds the kernel may trust it, with a lookup counted; nil where there is none.
    func lookUp(
        _ name: FileName, in directory: Inode, for caller: Caller
    ) throws(Errno) -> (inode: Inode, timeout: Double)? {
        while let found = try directory.child(name, for: caller) {
            remember(found.inode)
            if found.inode.isKept { return found }
            forget(found.inode.number, count: 1)
        }
        return nil
    }

    /// Takes lookups back.
    func forget(_ number: InodeNumber, count: UInt64) {
        guard number != .root else { return }
        let gone = inodes.withLock { inodes -> Inode? in
            guard let inode = inodes[number.rawValue] else { return nil }
            inode.lookups -= min(inode.lookups, count)
            guard inode.lookups == 0 else { return nil }
            if !inode.isLasting { inodes.remove(number.rawValue) }
            return inode
        }
        gone?.forgotten()
    }

    /// Counts a lookup of an inode by its number; nil where there is none.
    ///
    /// The kernel asks for what it does not know. A file without a name that is here all the same is one that the kernel has given
    /// up a moment ago: its FORGET is on the way.
    func countLookup(of number: InodeNumber) -> Inode? {
        let inode = inodes.withLock { inodes in
            let inode = inodes[number.rawValue]
            inode?.lookups += 1
            return inode
        }
        guard let inode, inode.attributes.linkCount == 0 else { return inode }
        forget(number, count: 1)
        return nil
    }

    /// Takes out what lasted and is no more. False where the kernel knows it again, by a file handle.
    func drop(_ inode: Inode) -> Bool {
        inodes.withLock { inodes in
            guard inode.lookups == 0 else { return false }
            inodes.remove(inode.number.rawValue)
            return true
        }
    }

    /// Forgets every inode, the root too: there are no more requests.
    func removeAll() {
        // Released outside the lock: the end of an inode may come back here.
        let gone = inodes.withLock { inodes in
            defer { inodes = IDTable() }
            return inodes.elements
        }
        withExtendedLifetime(gone) {}
    }

    /// Whether the kernel knows an inode.
    func knows(_ inode: Inode) -> Bool { inodes.withLock { _ in inode.lookups > 0 } }
}
