import CoherentTree
import Fuse
import Glibc
import SystemPackage

/// A directory whose names are given once: the root and dev/.
final class FixedDirectory: Inode, @unchecked Sendable {
    private let children: [FileName: Inode]
    private let order: [FileName]
    private let born = Timestamp.now
    private let services: Services

    init(number: InodeNumber, children: [(FileName, Inode)], services: Services) {
        self.services = services
        self.children = Dictionary(uniqueKeysWithValues: children)
        order = children.map(\.0)
        super.init(number: number)
    }

    override var attributes: FileAttributes {
        var attributes = FileAttributes(inode: number, type: .directory, permissions: 0o755)
        attributes.uid = owner.uid
        attributes.gid = owner.gid
        attributes.linkCount = 2 + UInt32(children.values.count { $0.attributes.type == .directory })
        (attributes.atime, attributes.mtime, attributes.ctime) = (born, born, born)
        return attributes
    }

    // The root, and dev/ in it.
    override var parent: Inode? { services.inodes[.root] }

    override var isLasting: Bool { true }

    override var attributeTimeout: Double { TreeCache.forever }

    override func child(_ name: FileName) -> (inode: Inode, timeout: Double)? {
        children[name].map { ($0.current, TreeCache.forever) }
    }

    override func entries() -> [DirectoryEntry] {
        order.compactMap { name in
            children[name].map { child in
                let attributes = child.current.attributes
                return DirectoryEntry(name: name, type: attributes.type, number: attributes.inode)
            }
        }
    }
}
