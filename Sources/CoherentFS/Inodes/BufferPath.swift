import AttributeTree
import CoherentMemory
import CoherentTree
import Fuse
import Glibc

/// Where a directory below buffers/ is, or buffers/ itself, and who may look into it and those above it: at one moment.
///
/// Directories share what is above them, so that a path costs its own name alone, however deep it is. It never changes: a
/// directory that is renamed, or gets another mode, gets another path.
final class DirectoryPath: @unchecked Sendable {
    // Unchecked: `parent` changes at the end alone.

    /// The path of the directory above; nil for buffers/ itself.
    private(set) var parent: DirectoryPath?
    let name: FileName
    let ownership: Directory.Ownership
    /// Bytes of the path below buffers/.
    let length: Int
    /// Of which version of the paths it is; see ``Services/pathVersion``.
    let version: UInt64

    init(_ name: FileName, in parent: DirectoryPath?, _ ownership: Directory.Ownership, version: UInt64) {
        self.name = name
        self.parent = parent
        self.ownership = ownership
        self.version = version
        length = parent?.length(of: name) ?? 0
    }

    /// One by one: each within the end of the one below it would take a stack as deep as the path.
    deinit {
        var next = parent.take()
        while next != nil, isKnownUniquelyReferenced(&next) { next = next?.parent.take() }
    }

    /// Bytes of the path of what has a name here.
    func length(of name: FileName) -> Int { (length > 0 ? length + 1 : 0) + name.string.utf8.count }

    /// Whether a client may see the names in the directory, and those on the way to it.
    func isOpen(to viewer: Credentials) -> Bool {
        var directory: DirectoryPath? = self
        while let current = directory {
            guard viewer.mayLookInto(current.ownership) else { return false }
            directory = current.parent
        }
        return true
    }
}

/// The name of a buffer, or of a directory of buffers, at one moment.
struct BufferPath: BufferPlace {
    let directory: DirectoryPath
    let name: FileName
    let inode: InodeNumber

    /// Bytes of ``text``.
    var length: Int { directory.length(of: name) }

    /// The path below buffers/.
    var text: String {
        var names = [name.string]
        var directory = directory
        while let parent = directory.parent {
            names.append(directory.name.string)
            directory = parent
        }
        return names.reversed().joined(separator: "/")
    }

    /// What a client is shown: the path, as `escape` writes it, or the number of the inode for one who may not see the path.
    func shown(to viewer: Credentials, escape: (String) -> String) -> String {
        guard isOpen(to: viewer) else { return "\(Self.hidden)\(inode.rawValue)" }
        let text = escape(text)
        // A name that looks like what stands in the place of one has its first letter in octal.
        guard text.utf8.starts(with: Self.hidden.utf8) || text == Self.deleted, let first = text.utf8.first else {
            return text
        }
        return "\\\(first < 0o100 ? "0" : "")\(String(first, radix: 8))" + text.dropFirst()
    }

    func isOpen(to viewer: Credentials) -> Bool { directory.isOpen(to: viewer) }

    /// What stands before the number of an inode.
    static let hidden = "inode:"
    /// What stands for a buffer that has no name any more.
    static let deleted = "(deleted)"

    /// The longest path below buffers/, bytes: the controls there are end at PATH_MAX, seen from the root of the mount.
    static let maximumLength: Int = {
        let names = BufferAttributes.table.map(\.name) + BufferFailureAttributes.table.map(\.name)
        let longest = names.map(\.utf8.count).max() ?? 0
        return Int(PATH_MAX) - 1 - "sys/kernel/cdm/buffers/".utf8.count - 1 - longest
    }()
}

/// How many bytes the paths of what is in a directory take, seen from there: the longest is known at any time, so that a
/// directory can be moved without a walk through what is below it.
struct Reach {
    /// How many names there are for each length: of the name with what is below it.
    private var counts: [UInt16: UInt32] = [:]
    /// The longest; 0 for an empty directory.
    private(set) var longest = 0

    /// What a directory adds to the length of its own path.
    var tail: Int { longest > 0 ? 1 + longest : 0 }

    mutating func add(_ length: Int) {
        counts[UInt16(clamping: length), default: 0] += 1
        longest = max(longest, length)
    }

    mutating func remove(_ length: Int) {
        let key = UInt16(clamping: length)
        guard let count = counts[key] else { return }
        counts[key] = count > 1 ? count - 1 : nil
        if count == 1, length == longest { longest = Int(counts.keys.max() ?? 0) }
    }
}
