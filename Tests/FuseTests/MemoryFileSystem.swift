import Dispatch
import Fuse
import Glibc
import LinuxSupport
import SystemPackage

/// One directory of files in memory. Some names behave in a way of their own, see `Kind`.
class MemoryFileSystem: FileSystem, @unchecked Sendable {
    enum Kind {
        case plain
        /// READ drops the request.
        case dropped
        /// Every WRITE is deferred: it waits in `deferred`.
        case slow
        /// READ bypasses the cache; POLL keeps its handle.
        case event
    }

    struct Node {
        var attributes: FileAttributes
        var kind: Kind
        var bytes: [UInt8] = []
        var extended: [String: [UInt8]] = [:]
    }

    struct State {
        var names: [FileName: InodeNumber] = [:]
        var nodes: [InodeNumber: Node] = [:]
        var next: UInt64 = 2
        var reads = 0
        var writeBacks = 0
        var deferred: [DeferredRequest] = []
        var pollHandles: [PollHandle] = []
        var connection: Connection?
        var isDestroyed = false
        var forgotten: UInt64 = 0
        /// CREATE is deferred like a slow WRITE.
        var defersCreation = false
    }

    let state = Locked(State())
    /// Counted up for each deferred request and each POLL with a handle.
    let arrived = DispatchSemaphore(value: 0)
    let isPlus: Bool

    init(readdirplus: Bool = false, files: [(FileName, Kind)] = []) {
        isPlus = readdirplus
        super.init()
        for (name, kind) in files { _ = state.withLock { $0.add(name, kind) } }
    }

    override var implementsReaddirplus: Bool { isPlus }

    override func initialize(_ connection: Connection) {
        state.withLock { $0.connection = connection }
    }

    override func destroy() {
        state.withLock { $0.isDestroyed = true }
    }

    override func lookup(_ request: consuming Request, parent: InodeNumber, name: FileName) {
        let entry = state.withLock { state in state.names[name].map { state.entry($0) } }
        if let entry { request.entry(entry) } else { request.error(.noSuchFileOrDirectory) }
    }

    override func forget(_ inode: InodeNumber, count: UInt64) {
        state.withLock { $0.forgotten += count }
    }

    override func getattr(_ request: consuming Request, inode: InodeNumber, file: OpenFile?) {
        let attributes = state.withLock { $0.attributes(inode) }
        if let attributes { request.attributes(attributes) } else { request.error(.noSuchFileOrDirectory) }
    }

    override func setattr(
        _ request: consuming Request, inode: InodeNumber, changes: AttributeChanges, file: OpenFile?
    ) {
        let attributes = state.withLock { state -> FileAttributes? in
            if let mode = changes.mode { state.nodes[inode]?.attributes.permissions = mode }
            if let uid = changes.uid { state.nodes[inode]?.attributes.uid = uid }
            if let mtime = changes.mtime { state.nodes[inode]?.attributes.mtime = mtime }
            if let size = changes.size, var bytes = state.nodes[inode]?.bytes {
                bytes.resize(Int(size))
                state.nodes[inode]?.bytes = bytes
            }
            return state.attributes(inode)
        }
        if let attributes { request.attributes(attributes) } else { request.error(.noSuchFileOrDirectory) }
    }

    override func create(
        _ request: consuming Request, parent: InodeNumber, name: FileName, mode: UInt32, file: OpenFile
    ) {
        let (entry, isDeferred) = state.withLock { ($0.add(name, .plain), $0.defersCreation) }
        if isDeferred {
            hold(request.deferred())
        } else if !request.created(entry, OpenReply()) {
            state.withLock { $0.names[name] = nil }
        }
    }

    override func unlink(_ request: consuming Request, parent: InodeNumber, name: FileName) {
        if state.withLock({ $0.names.removeValue(forKey: name) }) == nil {
            request.error(.noSuchFileOrDirectory)
        } else {
            request.ok()
        }
    }

    override func rename(
        _ request: consuming Request, parent: InodeNumber, name: FileName, newParent: InodeNumber, newName: FileName,
        flags: UInt32
    ) {
        state.withLock { $0.names[newName] = $0.names.removeValue(forKey: name) }
        request.ok()
    }

    override func open(_ request: consuming Request, inode: InodeNumber, file: OpenFile) {
        let kind = state.withLock { $0.nodes[inode]?.kind }
        request.opened(OpenReply(handle: 7, options: kind == .event ? .directIO : .keepCache))
    }

    override func read(_ request: consuming Request, inode: InodeNumber, size: Int, offset: Int64, file: OpenFile) {
        let (kind, bytes) = state.withLock { state -> (Kind?, ArraySlice<UInt8>) in
            state.reads += 1
            let bytes = state.nodes[inode]?.bytes ?? []
            return (state.nodes[inode]?.kind, bytes.dropFirst(Int(offset)).prefix(size))
        }
        if kind == .dropped { return }
        // Two pieces and one piece take different ways in the library.
        if bytes.count < 2 {
            unsafe request.data(bytes.span.bytes)
            return
        }
        let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
        defer { unsafe copy.deallocate() }
        unsafe bytes.withUnsafeBytes { bytes in unsafe copy.copyMemory(from: bytes) }
        let half = bytes.count / 2
        let vectors = UnsafeMutableBufferPointer<iovec>.allocate(capacity: 2)
        defer { unsafe vectors.deallocate() }
        unsafe vectors[0] = iovec(iov_base: copy.baseAddress, iov_len: half)
        unsafe vectors[1] = iovec(iov_base: copy.baseAddress! + half, iov_len: bytes.count - half)
        _ = unsafe request.vectors(UnsafeBufferPointer(vectors))
    }

    override func write(
        _ request: consuming Request, inode: InodeNumber, data: RawSpan, offset: Int64, file: OpenFile
    ) {
        let isSlow = state.withLock { state -> Bool in
            if file.isWriteBack { state.writeBacks += 1 }
            guard let count = state.nodes[inode]?.bytes.count else { return false }
            state.nodes[inode]!.bytes.resize(max(count, Int(offset) + data.byteCount))
            unsafe state.nodes[inode]!.bytes.withUnsafeMutableBytes { bytes in
                unsafe data.withUnsafeBytes { data in
                    unsafe UnsafeMutableRawBufferPointer(rebasing: bytes[Int(offset)...]).copyMemory(from: data)
                }
            }
            return state.nodes[inode]?.kind == .slow
        }
        if isSlow { hold(request.deferred()) } else { request.written(data.byteCount) }
    }

    private func hold(_ request: DeferredRequest) {
        state.withLock { $0.deferred.append(request) }
        arrived.signal()
    }

    /// Waits for the next deferred request and hands it over.
    func nextDeferred() -> DeferredRequest? {
        guard arrived.wait(timeout: .now() + 10) == .success else { return nil }
        return state.withLock { $0.deferred.removeFirst() }
    }

    override func poll(
        _ request: consuming Request, inode: InodeNumber, events: PollEvents, handle: PollHandle?, file: OpenFile
    ) {
        let hasChanged = state.withLock { state in
            if let handle { state.pollHandles.append(handle) }
            return state.nodes[inode]?.bytes.isEmpty == false
        }
        request.poll(hasChanged ? [.priority, .error] : [])
        if handle != nil { arrived.signal() }
    }

    override func readdir(_ request: consuming Request, inode: InodeNumber, size: Int, offset: Int64, file: OpenFile) {
        list(request, size, offset, plus: false)
    }

    override func readdirplus(
        _ request: consuming Request, inode: InodeNumber, size: Int, offset: Int64, file: OpenFile
    ) {
        list(request, size, offset, plus: true)
    }

    private func list(_ request: consuming Request, _ size: Int, _ offset: Int64, plus: Bool) {
        var buffer = DirectoryBuffer(capacity: size, plus: plus)
        let names = state.withLock { state in
            state.names.sorted { $0.key < $1.key }.map { ($0.key, state.entry($0.value)) }
        }
        for index in Int(offset)..<max(Int(offset), names.count + 2) {
            let next = Int64(index) + 1
            let fits =
                index < 2
                ? buffer.append(index == 0 ? "." : "..", inode: .root, type: .directory, next: next)
                : buffer.append(names[index - 2].0, entry: names[index - 2].1, next: next)
            if !fits { break }
        }
        request.directory(buffer)
    }

    override func setxattr(
        _ request: consuming Request, inode: InodeNumber, name: String, value: RawSpan, flags: Int32
    ) {
        let bytes = unsafe value.withUnsafeBytes { unsafe [UInt8]($0) }
        state.withLock { $0.nodes[inode]?.extended[name] = bytes }
        request.ok()
    }

    override func getxattr(_ request: consuming Request, inode: InodeNumber, name: String, size: Int) {
        guard let value = state.withLock({ $0.nodes[inode]?.extended[name] }) else {
            request.error(.noData)
            return
        }
        unsafe request.extendedAttribute(value.span.bytes, size: size)
    }
}

extension MemoryFileSystem.State {
    mutating func add(_ name: FileName, _ kind: MemoryFileSystem.Kind) -> Entry {
        let inode = InodeNumber(rawValue: next)
        next += 1
        names[name] = inode
        nodes[inode] = MemoryFileSystem.Node(
            attributes: FileAttributes(inode: inode, type: .regular, permissions: 0o644), kind: kind)
        return entry(inode)
    }

    func attributes(_ inode: InodeNumber) -> FileAttributes? {
        if inode == .root { return FileAttributes(inode: .root, type: .directory, permissions: 0o755) }
        guard var attributes = nodes[inode]?.attributes else { return nil }
        attributes.size = Int64(nodes[inode]!.bytes.count)
        return attributes
    }

    func entry(_ inode: InodeNumber) -> Entry {
        Entry(attributes: attributes(inode)!)
    }
}

extension [UInt8] {
    fileprivate mutating func resize(_ size: Int) {
        if size < count { removeLast(count - size) } else { append(contentsOf: repeatElement(0, count: size - count)) }
    }
}
