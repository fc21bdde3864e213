import CLinux
import Glibc
import LinuxSupport
import SystemPackage

/// A folder of the host, such as /dev, in which a namespace sees names that the host's folder has not.
///
/// No process can make a name in sysfs, and one made in /dev would be the host's. So a tmpfs takes the folder's place, and each
/// entry of the folder is mounted in it.
struct HostFolder {
    /// What stands under a name.
    enum Entry {
        /// A directory of a machine.
        case directory(of: String)
        /// A link.
        case link(to: String)
        /// A directory of links.
        case links([(name: String, target: String)])
    }

    /// The source of the tmpfs, by which a later view finds it.
    private static let source = "cdmfs-view"

    /// The folder, an absolute path without links.
    let path: String

    init(_ path: String) { self.path = path }

    /// Gives the folder entries, in place of those that have their names. Does nothing where the host has no such folder, or
    /// does not let this process see it.
    func add(_ entries: [(name: String, entry: Entry)]) throws(Failure) {
        guard !entries.isEmpty else { return }
        let descriptor = unsafe Glibc.open(path, O_PATH | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        if entries.allSatisfy({ isDirectory($0.name) && $0.entry.isDirectory }) {
            for (name, entry) in entries { try put(entry, name) }
            return
        }
        var status = stat()
        guard let names = DirectoryListing.names(in: FilePath(path)), unsafe fstat(descriptor, &status) == 0 else {
            return
        }
        let mode = String(status.st_mode & 0o7777, radix: 8)
        guard unsafe Glibc.mount(Self.source, path, "tmpfs", UInt(MS_NOSUID), "mode=\(mode)") == 0 else { return }
        let new = Set(entries.map(\.name))
        for name in names where !new.contains(name) { try carryOver(name, from: "/proc/self/fd/\(descriptor)") }
        for (name, entry) in entries { try put(entry, name) }
    }

    /// Keeps file systems of the host as they are, below a path that the view covers afterwards. A program may mount another proc or sysfs
    /// in a user namespace of its own only if one of its mount namespace is covered nowhere (mnt_already_visible()).
    static func keepWhole(_ names: [String], below path: String) {
        guard unsafe Glibc.mount(source, path, "tmpfs", UInt(MS_NOSUID), "mode=755") == 0 else { return }
        for name in names where unsafe mkdir("\(path)/\(name)", 0o755) == 0 {
            _ = unsafe Glibc.mount("/\(name)", "\(path)/\(name)", nil, UInt(MS_BIND), nil)
        }
    }

    /// Takes the folders of an earlier view away, with all that is mounted in them.
    static func removeAll() {
        for mount in ((try? MountInfo.all(of: getpid())) ?? []).reversed()
        where mount.type == "tmpfs" && mount.source == source {
            // In a user namespace they may be locked; there they stay.
            _ = unsafe umount2(mount.mountPoint, Int32(MNT_DETACH | UMOUNT_NOFOLLOW))
        }
    }

    private func isDirectory(_ name: String) -> Bool {
        var status = stat()
        return unsafe lstat("\(path)/\(name)", &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }

    /// Makes an entry of the host's folder one of the tmpfs, too.
    private func carryOver(_ name: String, from folder: String) throws(Failure) {
        let (old, new) = ("\(folder)/\(name)", "\(path)/\(name)")
        var status = stat()
        // What went meanwhile has gone here, too.
        guard unsafe lstat(old, &status) == 0 else { return }
        switch status.st_mode & S_IFMT {
        case S_IFLNK:
            var buffer = [UInt8](repeating: 0, count: Int(PATH_MAX))
            let length = unsafe buffer.withUnsafeMutableBytes {
                unsafe readlink(old, $0.baseAddress!.assumingMemoryBound(to: CChar.self), $0.count)
            }
            guard length > 0 else { return }
            try put(.link(to: String(decoding: buffer[..<length], as: UTF8.self)), name)
        case S_IFDIR: try put(.directory(of: old), name)
        default:
            let file = unsafe Glibc.open(new, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
            guard file >= 0 else { throw failure(name) }
            close(file)
            try bind(old, name)
        }
    }

    private func put(_ entry: Entry, _ name: String) throws(Failure) {
        let place = "\(path)/\(name)"
        switch entry {
        case .directory(let source):
            guard unsafe mkdir(place, 0o755) == 0 || Glibc.errno == EEXIST else { throw failure(name) }
            try bind(source, name)
        case .link(let target):
            guard unsafe symlink(target, place) == 0 else { throw failure(name) }
        case .links(let links):
            guard unsafe mkdir(place, 0o755) == 0 else { throw failure(name) }
            for link in links {
                guard unsafe symlink(link.target, "\(place)/\(link.name)") == 0 else { throw failure(name) }
            }
        }
    }

    private func bind(_ source: String, _ name: String) throws(Failure) {
        guard unsafe Glibc.mount(source, "\(path)/\(name)", nil, UInt(MS_BIND | MS_REC), nil) != 0 else { return }
        // What went meanwhile has gone here, too.
        guard Glibc.errno != ENOENT else { return }
        throw failure(name)
    }

    private func failure(_ name: String) -> Failure {
        let error = Errno.last
        return Failure(.failure, "run: \(path)/\(name): \(error)")
    }
}

extension HostFolder.Entry {
    fileprivate var isDirectory: Bool {
        if case .directory = self { true } else { false }
    }
}
