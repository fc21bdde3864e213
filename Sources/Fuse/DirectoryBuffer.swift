internal import CFuse3

/// The answer to READDIR or READDIRPLUS while it is being filled.
@safe
public struct DirectoryBuffer: ~Copyable {
    private let memory: UnsafeMutableRawBufferPointer
    private(set) var count = 0
    private let isPlus: Bool

    /// An empty answer of at most `capacity` bytes, the size of the request; `plus` for READDIRPLUS.
    public init(capacity: Int, plus: Bool = false) {
        unsafe memory = .allocate(byteCount: capacity, alignment: 8)
        isPlus = plus
    }

    deinit {
        unsafe memory.deallocate()
    }

    /// Whether it is empty.
    public var isEmpty: Bool { count == 0 }

    /// Adds a name without attributes, in READDIRPLUS too: for `.` and `..`, which must not count as lookups.
    ///
    /// - Parameters:
    ///   - name: the name.
    ///   - inode: the inode.
    ///   - type: the kind of file.
    ///   - next: the offset at which a later READDIR continues after this name; not 0.
    /// - Returns: false if it does not fit. The buffer is then full; send it.
    public mutating func append(_ name: FileName, inode: InodeNumber, type: FileType, next: Int64) -> Bool {
        let bare = FileAttributes(inode: inode, type: type, permissions: 0)
        if isPlus {
            var entry = Entry(attributes: bare)
            entry.inode = 0
            return append(name, entry, next)
        }
        var stat = bare.stat
        return unsafe add { start, room in
            unsafe fuse_add_direntry(nil, start, room, name.string, &stat, Int(next))
        }
    }

    /// Adds a name with its entry. In READDIRPLUS that counts as one lookup, as the answer to LOOKUP does.
    ///
    /// - Parameters:
    ///   - name: the name.
    ///   - entry: what a lookup of the name would answer.
    ///   - next: the offset at which a later READDIR continues after this name; not 0.
    /// - Returns: false if it does not fit; then no lookup is counted.
    public mutating func append(_ name: FileName, entry: Entry, next: Int64) -> Bool {
        if isPlus { return append(name, entry, next) }
        return append(name, inode: entry.attributes.inode, type: entry.attributes.type, next: next)
    }

    private mutating func append(_ name: FileName, _ entry: Entry, _ next: Int64) -> Bool {
        var parameters = entry.parameters
        return unsafe add { start, room in
            unsafe fuse_add_direntry_plus(nil, start, room, name.string, &parameters, Int(next))
        }
    }

    private mutating func add(_ body: (UnsafeMutablePointer<CChar>?, Int) -> Int) -> Bool {
        let room = unsafe memory.count - count
        guard room > 0, let base = unsafe memory.baseAddress else { return false }
        let start = unsafe base.advanced(by: count).assumingMemoryBound(to: CChar.self)
        let size = unsafe body(start, room)
        guard size <= room else { return false }
        count += size
        return true
    }

    var bytes: UnsafeRawBufferPointer {
        unsafe UnsafeRawBufferPointer(rebasing: memory[..<count])
    }
}
