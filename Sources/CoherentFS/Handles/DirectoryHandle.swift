import CoherentMemory
import Fuse
import LinuxSupport
import SystemPackage

/// An open directory: what it had when the listing began, so that a listing ends, and neither repeats nor skips a name.
final class DirectoryHandle: OpenHandle, @unchecked Sendable {
    private struct State {
        /// The last place to list, where names have places that they keep.
        var last = UInt64(Int64.max) - 3
        /// Every name, where they have not. Empty until the listing begins.
        var entries: [DirectoryEntry] = []
    }

    private let directory: Inode
    private let inodes: InodeTable
    private let state = Mutex(State())

    init(_ directory: Inode, inodes: InodeTable) {
        self.directory = directory
        self.inodes = inodes
    }

    /// Lists from now on what there is now: rewinddir(3), too.
    private func begin(_ caller: Caller) throws(Errno) {
        directory.listed()
        if let last = directory.lastPlace {
            state.withLock { $0.last = last }
        } else {
            let now = try directory.entries(for: caller)
            state.withLock { $0.entries = now }
        }
    }

    /// Names from a place on; none at the end.
    private func entries(from place: UInt64) -> [(place: UInt64, entry: DirectoryEntry)] {
        let (entries, last) = state.withLock { ($0.entries, $0.last) }
        guard entries.isEmpty else {
            guard place < entries.count else { return [] }
            return (Int(place)..<min(entries.count, Int(place) + 128)).map {
                (UInt64($0), entries[$0])
            }
        }
        return place <= last ? directory.entries(at: place...last) : []
    }

    override func list(_ request: consuming Request, size: Int, offset: Int64, isPlus: Bool) {
        let caller = request.caller
        if offset == 0 {
            do throws(Errno) {
                try begin(caller)
            } catch {
                request.error(error)
                return
            }
        }
        var buffer = DirectoryBuffer(capacity: size, plus: isPlus)
        var told: [InodeNumber] = []
        var isFull = false
        for (place, name) in [".", ".."].enumerated() where place >= offset && !isFull {
            // One whose parent is gone is gone itself.
            let inode = place == 0 ? directory : directory.parent ?? directory
            let number = inode.attributes.inode
            isFull = !buffer.append(FileName(name), inode: number, type: .directory, next: Int64(place) + 1)
        }
        var place = UInt64(max(2, offset)) - 2
        while !isFull {
            let entries = entries(from: place)
            if entries.isEmpty { break }
            for (next, entry) in entries {
                isFull = !append(entry, at: next, to: &buffer, isPlus: isPlus, for: caller, &told)
                if isFull { break }
                place = next + 1
            }
        }
        if !request.directory(buffer) {
            for number in told { inodes.forget(number, count: 1) }
        }
    }

    /// Adds a name to an answer; false when it does not fit. One that has gone meanwhile is left out.
    private func append(
        _ entry: DirectoryEntry, at place: UInt64, to buffer: inout DirectoryBuffer, isPlus: Bool, for caller: Caller,
        _ told: inout [InodeNumber]
    ) -> Bool {
        // Behind the place itself, and behind the two names that come first.
        let next = Int64(place) + 3
        guard isPlus else { return buffer.append(entry.name, inode: entry.number, type: entry.type, next: next) }
        guard let (inode, timeout) = try? inodes.lookUp(entry.name, in: directory, for: caller) else { return true }
        guard buffer.append(entry.name, entry: Entry(inode, timeout: timeout), next: next) else {
            inodes.forget(inode.number, count: 1)
            return false
        }
        told.append(inode.number)
        return true
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
