import AttributeTree
import CoherentMemory
import CoherentTree
import Dispatch
import Fuse
import Glibc
import LinuxSupport
import Synchronization
import SystemPackage

/// A file whose contents are simulated memory: a named buffer, or a device file.
class MemoryFile: Inode, @unchecked Sendable {
    /// From so many bytes on it takes long to give all their pages frames, or to take them back.
    static let manyBytes: UInt64 = 256 << 20
    /// Where that is done.
    static let bulk = DispatchQueue(label: "cdmfs.bulk", attributes: .concurrent)

    let buffer: Buffer
    let services: Services
    let metadata: Mutex<Metadata>
    let cached: CachedFile

    init(buffer: Buffer, metadata: Metadata, services: Services) {
        self.buffer = buffer
        self.services = services
        self.metadata = Mutex(metadata)
        let number = services.inodes.makeNumber()
        cached = CachedFile(number, owner: metadata.uid)
        super.init(number: number)
        services.pageCache.register(cached, as: buffer)
        services.files.withLock { $0[buffer.id] = WeakFile(file: self) }
    }

    deinit {
        cached.use.withLock { use in
            services.accounts.unpin(&use.charges)
            services.accounts.endDirect(&use.charges)
        }
    }

    override var attributes: FileAttributes {
        var attributes = FileAttributes(inode: number, type: .regular, permissions: 0)
        noteStores()
        metadata.withLock { $0.fill(&attributes) }
        attributes.size = Int64(buffer.size)
        attributes.blocks = Int64(buffer.residentPages) * 8
        return attributes
    }

    override func withMetadata<Result: Sendable>(
        _ body: (inout Metadata) throws(Errno) -> Result
    ) throws(Errno) -> Result {
        try metadata.withLock { metadata throws(Errno) in try body(&metadata) }
    }

    /// Notes a reader, by a file that was opened with some flags.
    ///
    /// What is in the page cache is read without a request. Therefore an open(2) for reading alone counts, too.
    @inline(__always)
    func accessed(flags: Int32) {
        guard services.accessTimes.files, flags & Self.withoutAccessTime == 0 else { return }
        metadata.withLock { $0.accessed() }
    }

    /// `O_NOATIME`, which Glibc's module leaves out.
    private static let withoutAccessTime: Int32 = 0o1000000

    override func open(flags: Int32, caller: Caller) throws(Errno) -> (handle: OpenHandle, options: OpenReply.Options) {
        services.machine.noteTask(caller.pid)
        try cached.open(by: caller.pid, at: services.processes.now)
        do throws(Errno) {
            let backing = try services.direct.backing(of: buffer, cached)
            let handle = try makeHandle(caller)
            handle.count(in: cached, opener: caller.pid, isWriter: flags & O_ACCMODE != O_RDONLY)
            handle.backing = backing
            if flags & O_ACCMODE == O_RDONLY { accessed(flags: flags) }
            // What is in the page cache is the truth about the page, so it is kept; and as memory has nothing to be
            // safe on, closing a file writes nothing back.
            var options: OpenReply.Options = [.keepCache, .noFlush]
            if backing != nil {
                options = [.directIO, .noFlush]
            } else if readsHoles(flags) {
                options.insert(.directIO)
            }
            return (handle, options)
        } catch {
            cached.close(by: caller.pid)
            throw error
        }
    }

    /// Whether read(2) of an open file is to go past the page cache, so that a hole stays one: who asks for a page of the page cache
    /// may be a mapping, and gets a page that has its frame.
    ///
    /// Not of what may be written to, for it is read at the speed of memory. And not while a program may have dirty pages: each
    /// mmap(2) of a file that goes past the page cache writes all of them back first (fuse_file_mmap()).
    private func readsHoles(_ flags: Int32) -> Bool {
        flags & O_ACCMODE == O_RDONLY && cached.writers.load(ordering: .relaxed) == 0
            && buffer.hasHoles && services.notifier.allowsMappedDirectIO
    }

    func makeHandle(_ caller: Caller) throws(Errno) -> MemoryHandle { MemoryHandle(self) }

    // As of a file's attributes on Linux, a user who may write to a file may not place it.
    override func mayStore(_ caller: Caller) -> Bool {
        let owner = metadata.withLock { $0.uid }
        return caller.uid == owner || Credentials(caller).areOwners(of: owner)
    }

    /// Whose the controls of the file are, and who may see them.
    var ownership: Directory.Ownership { metadata.withLock { $0.ownership } }

    override var extendedAttributes: [BoundAttribute] {
        let subject = Subject(services.base, buffer)
        return BufferAttributes.table.map { $0.bound(to: subject) }
    }

    /// Notes when programs have stored through mappings that the daemon does not see.
    private func noteStores() {
        guard let time = buffer.takeStoreTime() else { return }
        metadata.withLock { $0.modified(at: Timestamp(time)) }
    }

    override func change(_ changes: AttributeChanges, caller: Caller, isOpen: Bool) throws(Errno) {
        if let size = changes.size { try resize(to: size, isOpen: isOpen, by: caller) }
        noteStores()
        try metadata.withLock { metadata throws(Errno) in
            if let user = changes.uid { try transfer(to: user, by: caller) }
            metadata.apply(changes)
            if changes.size != nil {
                if changes.mtime == nil { metadata.modified() }
                if changes.mode == nil { metadata.dropPrivileges(by: caller) }
            }
        }
    }

    override func isLong(_ changes: AttributeChanges) -> Bool {
        guard let size = changes.size.flatMap(UInt64.init(exactly:)) else { return false }
        let old = buffer.size
        // What is new of a tracked buffer is a hole.
        return size < old ? old - size >= Self.manyBytes : buffer.mapping == .direct && size - old >= Self.manyBytes
    }

    func resize(to size: Int64, isOpen: Bool, by caller: Caller) throws(Errno) {
        guard size >= 0 else { throw .invalidArgument }
        try coverPin(upTo: UInt64(size), by: caller.pid)
        try services.machine.resize(buffer, to: UInt64(size), origin: services.tasks.origin(of: caller))
        if cached.isPinned.load(ordering: .relaxed) {
            cached.use.withLock { services.accounts.trim(&$0.charges, to: buffer.size) }
        }
    }

    /// Charges what a pinned buffer grows by, before it does.
    @inline(__always)
    func coverPin(upTo end: UInt64, by task: Int32) throws(Errno) {
        if cached.isPinned.load(ordering: .relaxed) { try growPin(to: end, by: task) }
    }

    private func growPin(to end: UInt64, by task: Int32) throws(Errno) {
        try cached.use.withLock { use throws(Errno) in
            guard use.charges.pin != nil else { return }
            // To a program that writes, EAGAIN would mean: try again.
            try services.accounts.pin(&use.charges, bytes: end, by: task, refusal: .diskQuotaExceeded)
        }
    }

    /// What the file takes is another user's from now on. EDQUOT where that one has too much then.
    private func transfer(to user: UInt32, by caller: Caller) throws(Errno) {
        try cached.use.withLock { use throws(Errno) in
            let old = use.charges.owner
            try services.accounts.chown(&use.charges, to: user, by: caller.pid)
            do throws(Errno) {
                try charge?.transfer(to: user, by: caller.pid)
            } catch {
                // Back it is no more than it was.
                try services.accounts.chown(&use.charges, to: old, by: caller.pid)
                throw error
            }
            // A device's memory has no owner.
            if buffer.fixedSize == nil { buffer.setShare(services.accounts.frames?[user]) }
        }
    }

    /// Gives up what the kernel was told of the buffer's bytes.
    func releaseBacking() { services.direct.release(cached) }
}

/// A file below buffers/.
final class BufferFile: MemoryFile, @unchecked Sendable {
    /// Where it stands; nil once it has no name any more. The namespace lock guards it.
    var place: Place?
    /// Whether it was made without a name.
    private let isTemporary: Bool

    init(metadata: Metadata, services: Services, caller: Caller, isTemporary: Bool = false) {
        self.isTemporary = isTemporary
        var metadata = metadata
        metadata.linkCount = isTemporary ? 0 : 1
        super.init(
            buffer: services.machine.makeBuffer(huge: services.base.memory.defaultHugeMode), metadata: metadata,
            services: services)
        buffer.setShare(services.accounts.frames?[metadata.uid])
        services.adopt(self, by: caller)
    }

    // The memory goes with the last open file, mapping or path descriptor.
    override func unlinked() {
        metadata.withLock { $0.unlinked() }
        if !services.inodes.knows(self) { forgotten() }
    }

    /// A file that was made without a name gets one; the kernel lets that happen once. EPERM for what has one.
    func linked() throws(Errno) {
        try metadata.withLock { metadata throws(Errno) in
            guard isTemporary, metadata.linkCount == 0 else { throw .notPermitted }
            metadata.linkCount = 1
            metadata.ctime = .now
        }
    }

    override var hasControls: Bool { true }

    override var isLasting: Bool { metadata.withLock { $0.linkCount } > 0 }

    override func renamed() { metadata.withLock { $0.ctime = .now } }

    // Who may read the file may search the directory of its controls.
    override var ownership: Directory.Ownership {
        var ownership = super.ownership
        for (read, search) in [
            (FilePermissions.ownerRead, FilePermissions.ownerExecute), (.groupRead, .groupExecute),
            (.otherRead, .otherExecute),
        ] {
            ownership.permissions.remove(search)
            if ownership.permissions.contains(read) { ownership.permissions.insert(search) }
        }
        ownership.permissions.formIntersection(FilePermissions(rawValue: 0o777))
        return ownership
    }

    override func forgotten() {
        guard !isLasting, services.inodes.drop(self) else { return }
        services.pageCache.unregister(buffer)
        _ = services.files.withLock { $0.remove(buffer.id) }
        services.machine.remove(buffer)
        releaseBacking()
        services.trimmer.freedFile()
    }
}

/// A file below dev/: the memory of one coherent device.
final class DeviceFile: MemoryFile, @unchecked Sendable {
    override var isLasting: Bool { true }

    private let device: Device
    /// Which coming of the device it is the file of: to the mappings of another it is dead.
    private let incarnation: UInt32
    /// The file of the device as it came last. Of the first file only.
    private let latest = Mutex<DeviceFile?>(nil)

    init(device: Device, services: Services, metadata: Metadata) {
        self.device = device
        incarnation = device.node.incarnation
        super.init(buffer: device.memory, metadata: metadata, services: services)
        services.processes.add(device, inode: number.rawValue)
    }

    /// A device that came back has a file of its own, for the mappings of the old one share its page cache.
    override var current: Inode {
        latest.withLock { latest in
            let file = latest ?? self
            guard device.isPresent, device.node.incarnation != file.incarnation else { return file }
            let made = DeviceFile(device: device, services: services, metadata: file.metadata.withLock { $0 })
            latest = made
            return made
        }
    }

    /// The name, as others than those who look into dev/ are told.
    var path: String { "/dev/\(device.name)" }

    // What a device has is no secret, as elsewhere in sysfs.
    override var ownership: Directory.Ownership {
        var ownership = super.ownership
        ownership.permissions = FilePermissions(rawValue: 0o755)
        return ownership
    }

    override func makeHandle(_ caller: Caller) throws(Errno) -> MemoryHandle {
        let place = TreeCache.number(of: FileName(device.name), in: .root)
        let isBack = services.refusals.take(caller.pid, from: place)
        guard device.isPresent else { throw .operationNotSupportedByDevice }
        let (node, incarnation) = (device.node, incarnation)
        guard node.incarnation == incarnation else {
            // What the name leads to now may be there. If that one has gone, too, the device has.
            guard !isBack else { throw .operationNotSupportedByDevice }
            services.refusals.add(caller.pid, to: place)
            throw .staleNFSFileHandle
        }
        let lifetime = Lifetime { node.incarnation != incarnation }
        let opener = services.processes.opened(device, by: caller.pid)
        return DeviceHandle(self, opener: opener, of: device, incarnation: incarnation, lifetime: lifetime)
    }

    override func resize(to size: Int64, isOpen: Bool, by caller: Caller) throws(Errno) {
        // O_TRUNC leaves a device as it is, which arrives here as truncate(2) to 0.
        if size == 0, !isOpen { return }
        try super.resize(to: size, isOpen: isOpen, by: caller)
    }
}
