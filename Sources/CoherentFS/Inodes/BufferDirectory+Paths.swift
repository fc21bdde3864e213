import Fuse
import Synchronization
import SystemPackage

/// The paths of what is in the directory. The caller holds the namespace lock.
extension BufferDirectory {
    /// Notes where a child stands now; nil where it has no name any more.
    func setPlace(_ child: Inode, _ place: Place?) {
        if let directory = child as? BufferDirectory {
            let isMove = directory.place != nil
            directory.place = place
            if isMove { services.pathsChanged() }
        } else {
            (child as? BufferFile)?.place = place
        }
    }

    func located(_ child: Inode, under name: FileName) {
        setPlace(child, Place(directory: self, name: name))
    }

    /// Where the directory is. Walks up no further than to what is known.
    var path: DirectoryPath {
        // Before anything is looked at: what changes meanwhile makes another version.
        let version = services.pathVersion.load(ordering: .acquiring)
        var unknown: [BufferDirectory] = []
        var directory: BufferDirectory? = self
        while let current = directory, current.knownPath?.version != version {
            unknown.append(current)
            directory = current.place?.directory
        }
        var path = directory?.knownPath
        for directory in unknown.reversed() {
            path = DirectoryPath(
                directory.place?.name ?? "", in: path, directory.ownership, version: version)
            directory.knownPath = path
        }
        return path!
    }

    /// The path of a child.
    func path(of child: Inode, under name: FileName) -> BufferPath {
        BufferPath(directory: path, name: name, inode: child.number)
    }

    /// Bytes that a child's paths take from here, with the longest of what is below it.
    func length(of child: Inode, under name: FileName) -> Int {
        name.string.utf8.count + ((child as? BufferDirectory)?.reach.tail ?? 0)
    }

    /// ENAMETOOLONG where a child, or what is below it, would have too long a path under a name.
    func checkLength(of name: FileName, _ child: Inode? = nil) throws(Errno) {
        let tail = (child as? BufferDirectory)?.reach.tail ?? 0
        guard path.length(of: name) + tail <= BufferPath.maximumLength else { throw .fileNameTooLong }
    }

    /// The paths of a child take another number of bytes than before; nil for a child that was not, or is not, here. The
    /// directories above learn of it as far as it changes anything for them.
    func reachChanged(from old: Int?, to new: Int?) {
        var (old, new) = (old, new)
        var directory: BufferDirectory? = self
        while let current = directory {
            let before = current.reach.tail
            if let old { current.reach.remove(old) }
            if let new { current.reach.add(new) }
            guard before != current.reach.tail, let place = current.place else { return }
            let length = place.name.string.utf8.count
            (old, new) = (length + before, length + current.reach.tail)
            directory = place.directory
        }
    }
}
