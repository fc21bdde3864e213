import AttributeTree
import CoherentMemory
import SystemPackage

/// The path of something below buffers/, at one moment, which not every client may see.
package protocol BufferPlace: Sendable {
    /// Bytes of the path below buffers/.
    var length: Int { get }

    /// What a client is shown: the path, as `escape` writes it, or the number of the inode for one who may not see the path.
    func shown(to viewer: Credentials, escape: (String) -> String) -> String

    /// Whether a client may see the path.
    func isOpen(to viewer: Credentials) -> Bool
}

/// A directory of buffers, which has a counterpart below sys/kernel/cdm/buffers.
package protocol BufferFolder: AnyObject, Sendable {
    /// Its number on the mount.
    var inode: UInt64 { get }
    /// Whose it is, and its mode.
    var ownership: Directory.Ownership { get }
    /// The place of the last name; nil for none.
    var lastPlace: UInt64? { get }
    /// How many names have controls.
    var controlledCount: Int { get }

    /// Names that have controls, by their places; not all of them where there are many, but one at least if there is any.
    func names(at places: ClosedRange<UInt64>) -> [(place: UInt64, name: String)]

    /// What has a name; nil for none, and for what has no controls.
    func entry(named name: String) -> BufferEntry?
}

/// A file or directory below buffers/, as the identity of its controls.
package struct ControlledFile: Hashable, Sendable {
    /// Its number on the mount.
    package let inode: UInt64
}

/// What has a name in a directory of buffers.
package enum BufferEntry: Sendable {
    /// A directory.
    case folder(any BufferFolder)
    /// A buffer, and the number of its file on the mount.
    case buffer(Buffer, inode: UInt64)
}

/// The file of a buffer, as far as it is open.
package struct OpenFileUse: Sendable {
    /// The number of the file on the mount.
    package let inode: UInt64
    /// The threads that have it open, and when each opened it last, in ticks of ``ProcTasks/now``.
    package let openers: [Int32: UInt64]

    /// A file with its openers.
    package init(inode: UInt64, openers: [Int32: UInt64]) { (self.inode, self.openers) = (inode, openers) }
}

/// What the tree asks of the file system, which gives buffers their names and files.
package protocol BufferFiles: AnyObject, Sendable {
    /// The name of a buffer as in `blockers`: a path below buffers/, `/dev/cdmN`, or `(deleted)` where it has none.
    func name(of buffer: Buffer.ID) -> Uevent.Value

    /// Whose the file of a buffer is; nil where it has none.
    func ownership(of buffer: Buffer) -> Directory.Ownership?

    /// The memory of a file, by its path below buffers/, or below the mount point. ENOENT where there is no such file.
    func memory(named name: String) throws(Errno) -> Buffer

    /// The buffer of a file, by its number on the mount; nil where it is none of a buffer or device.
    func file(ofInode inode: UInt64) -> (buffer: Buffer, isDevice: Bool)?

    /// Who has the file of a buffer open; nil where it has none.
    func openFile(of buffer: Buffer) -> OpenFileUse?

    /// Pins the pages of a buffer where they are, or lets them go.
    func setPinned(_ isPinned: Bool, of buffer: Buffer, by writer: Int32) throws(Errno)

    /// Changes how a buffer is mapped.
    func setMapping(_ mode: MappingMode, of buffer: Buffer, by writer: Int32) throws(Errno)

    /// Answers the system calls of programs that map files.
    ///
    /// - Parameters:
    ///   - listener: the number of the descriptor of their listener (seccomp_unotify(2)) in a process.
    ///   - keeper: the number there of a socket that is closed at the end of the answers.
    ///   - process: that process.
    ///   - user: who asks.
    func serve(listener: Int32, keeper: Int32, of process: Int32, user: UInt32) throws(Errno)

    /// Whether anonymous memory of programs can be the machine's.
    var hasMemoryOfPrograms: Bool { get }

    /// The memory of a process that is the machine's and no file's: first its own at all addresses, then what it shares with others at some.
    /// Empty where that is the host's. It may wait for as long as the process keeps its address space locked.
    func memory(ofTask task: Int32) -> [MappedBuffer]

    /// The processes whose own memory is known to be the machine's, and how many more there are, which forks have made.
    var processesOfPrograms: (known: [Int32], others: Int) { get }

    /// Threads that have buffers open; not all of them where there are many buffers.
    var openers: Set<Int32> { get }

    /// A part of the machine has gone. Called from the thread that took it away, before it is reported.
    func partsHaveGone()

    /// Directories of sys/ came or went.
    func directoriesHaveChanged()
}

/// A machine without files: every buffer is without a name.
package final class NoFiles: BufferFiles, BufferFolder {
    /// No files.
    package init() {}

    package func name(of buffer: Buffer.ID) -> Uevent.Value { .text("(deleted)") }
    package func ownership(of buffer: Buffer) -> Directory.Ownership? { nil }
    package func memory(named name: String) throws(Errno) -> Buffer { throw .noSuchFileOrDirectory }
    package func file(ofInode inode: UInt64) -> (buffer: Buffer, isDevice: Bool)? { nil }
    package func openFile(of buffer: Buffer) -> OpenFileUse? { nil }
    package func partsHaveGone() {}
    package func directoriesHaveChanged() {}

    package func setPinned(_ isPinned: Bool, of buffer: Buffer, by writer: Int32) throws(Errno) {
        throw .operationNotSupportedByDevice
    }

    package func setMapping(_ mode: MappingMode, of buffer: Buffer, by writer: Int32) throws(Errno) {
        throw .operationNotSupportedByDevice
    }

    package func serve(listener: Int32, keeper: Int32, of process: Int32, user: UInt32) throws(Errno) {
        throw .operationNotSupportedByDevice
    }

    package var hasMemoryOfPrograms: Bool { false }
    package func memory(ofTask task: Int32) -> [MappedBuffer] { [] }
    package var processesOfPrograms: (known: [Int32], others: Int) { ([], 0) }
    package var openers: Set<Int32> { [] }
    package let inode: UInt64 = 0
    package var lastPlace: UInt64? { nil }
    package var controlledCount: Int { 0 }
    package var ownership: Directory.Ownership {
        Directory.Ownership(permissions: .ownerReadWriteExecute, uid: owner.uid, gid: owner.gid)
    }

    package func names(at places: ClosedRange<UInt64>) -> [(place: UInt64, name: String)] { [] }
    package func entry(named name: String) -> BufferEntry? { nil }
}
