import CoherentMemory
import Fuse
import SystemPackage

/// An open directory: its names as they were when the listing began, so that a listing neither repeats nor skips one.
final class DirectoryHandle: OpenHandle, @unchecked Sendable {
    private let directory: Inode
    private let inodes: InodeTable
    /// Empty until the listing begins.
    private let entries = Mutex<[(name: FileName, type: FileType)]>([])

    /// What d_ino says of a name whose inode was not asked for.
    private static let unknown: InodeNumber = 0xffff_ffff

    init(_ directory: Inode, inodes: InodeTable) {
        self.directory = directory
        self.inodes = inodes
    }

    private static func entries(of directory: Inode) throws(Errno) -> [(name: FileName, type: FileType)] {
        [(".", .directory), ("..", .directory)] + (try directory.entries())
    }

    override func list(_ request: consuming Request, size: Int, offset: Int64, isPlus: Bool) {
        // From the start is as of now: rewinddir(3).
        if offset == 0 {
            do throws(Errno) {
                let now = try Self.entries(of: directory)
                entries.withLock { $0 = now }
            } catch {
                request.error(error)
                return
            }
        }
        let entries = entries.withLock { $0 }
        var buffer = DirectoryBuffer(capacity: size, plus: isPlus)
        var told: [InodeNumber] = []
        var place = Int(max(0, offset))
        while place < entries.count {
            let (name, type) = entries[place]
            let next = Int64(place + 1)
            if place < 2 || !isPlus {
                let number = place == 0 ? directory.number : Self.unknown
                guard buffer.append(name, inode: number, type: type, next: next) else { break }
            } else if let (inode, timeout) = try? directory.child(name) {
                let entry = Entry(inode, timeout: timeout)
                inodes.remember(inode)
                guard buffer.append(name, entry: entry, next: next) else {
                    inodes.forget(inode.number, count: 1)
                    break
                }
                told.append(inode.number)
            }
            place += 1
        }
        if !request.directory(buffer) {
            for number in told { inodes.forget(number, count: 1) }
        }
    }
}

extension Entry {
    /// What the kernel is told of an inode.
    init(_ inode: Inode, timeout: Double) {
        self.init(
            attributes: inode.attributes, entryTimeout: timeout, attributeTimeout: inode.attributeTimeout)
        self.inode = inode.number
    }
}
