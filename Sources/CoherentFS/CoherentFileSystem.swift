import AttributeTree
import CoherentMemory
import Fuse
import Logging
import SystemPackage

/// A machine as a file system: names come to inodes, open files to handles, and both to the machine.
final class CoherentFileSystem: FileSystem, @unchecked Sendable {
    // Unchecked: `services` is set once, before the first request.
    private(set) var services: Services!

    /// - Parameters:
    ///   - hugeMode: what new buffers have, where somebody chose that.
    ///   - devices: who may use the device files.
    ///   - limits: how much users may take of what is scarce.
    init(
        machine: Machine, hugeMode: HugeMode? = nil, devices permissions: DevicePermissions = .init(),
        limits: Limits = Limits(), logger: Logger
    ) {
        super.init()
        let services = Services(
            machine: machine, hugeMode: hugeMode, limits: limits, logger: logger, notifier: notifier)
        self.services = services

        let buffers = BufferDirectory(
            metadata: Metadata(permissions: 0o1777, uid: owner.uid, gid: owner.gid), services: services)
        // As tmpfs counts its root. A limit is 1 at least, so there is room for it.
        buffers.charge = try? InodeCharge(services.accounts.inodes, to: owner.uid, by: 0)
        services.buffers.withLock { $0.directory = buffers }
        let tree = TreeCache(services: services)
        services.tree.withLock { $0.cache = tree }
        services.onDeparture { [weak tree] in tree?.sweep() }
        let system = SystemTree(services: services, buffers: buffers).root
        let metadata = Metadata(
            permissions: permissions.mode, uid: owner.uid, gid: permissions.group ?? owner.gid)
        let devices = machine.devices.map { device in
            (FileName(device.name), DeviceFile(device: device, services: services, metadata: metadata) as Inode)
        }
        let mirrors = MirrorDevice.makeAll(in: machine).map { device in
            (FileName(device.name), MirrorFile(device: device, services: services, metadata: metadata) as Inode)
        }
        services.inodes.add(
            root: FixedDirectory(
                number: .root,
                children: [
                    ("sys", tree.inode(of: .directory(system), name: "sys", parent: .root)),
                    ("dev", FixedDirectory(number: services.inodes.makeNumber(), children: devices + mirrors)),
                    ("buffers", buffers),
                ]))
    }

    override var implementsReaddirplus: Bool { true }

    override var zeros: UnsafeRawBufferPointer? { unsafe services.machine.zeroPages }

    /// Starts the threads that reclaim and balance memory; they end with the other jobs.
    func startBackgroundWork() {
        let machine = services.machine
        let works: [(String, @Sendable (Cancellation) -> Void)] = [
            ("kswapd", { cancellation in machine.runKswapd(isCancelled: { cancellation.isCancelled }) }),
            ("numa-balancing", { cancellation in machine.runBalancing(isCancelled: { cancellation.isCancelled }) }),
        ]
        for (name, work) in works {
            let job = Job(name) { cancellation throws(Errno) in
                try cancellation.withHandler({ machine.wakeBackgroundWork() }) { () throws(Errno) in
                    work(cancellation)
                }
            }
            services.jobs.start(job, Cancellation()) { _ in }
        }
    }

    /// Cancels what runs beside the requests, commands of devices, too; false when some of it still runs after `seconds`.
    func endJobs(within seconds: Int) -> Bool {
        services.jobs.close()
        let queues = services.machine.devices.map(\.queue)
        for queue in queues { queue.close() }
        return services.jobs.wait(seconds: seconds) && queues.allSatisfy { $0.waitUntilIdle(seconds: seconds) }
    }

    // MARK: Helpers

    private func withInode(
        _ number: InodeNumber, _ request: consuming Request,
        _ body: (Inode, borrowing Request) throws(Errno) -> Void
    ) -> Request? {
        guard let inode = services.inodes[number] else {
            request.error(.staleNFSFileHandle)
            return nil
        }
        do throws(Errno) {
            try body(inode, request)
        } catch {
            request.error(error)
            return nil
        }
        return request
    }

    /// The handle of an open file. Every OPEN, CREATE and OPENDIR is answered with one.
    @inline(__always)
    private func handle(of file: OpenFile) -> OpenHandle {
        guard let handle = OpenHandle.of(file) else { preconditionFailure("an open file without a handle") }
        return handle
    }

    private func answer(_ request: consuming Request, with inode: Inode, timeout: Double) {
        services.inodes.remember(inode)
        if !request.entry(Entry(inode, timeout: timeout)) { services.inodes.forget(inode.number, count: 1) }
    }

    private func open(
        _ handle: OpenHandle, _ options: OpenReply.Options, _ answer: (OpenReply) -> Bool
    ) {
        let reply = OpenReply(handle: handle.retained(), options: options, backing: handle.backing)
        if !answer(reply) { OpenHandle.release(reply.handle) }
    }

    // MARK: Names

    override func lookup(_ request: consuming Request, parent: InodeNumber, name: FileName) {
        var found: (inode: Inode, timeout: Double)?
        let left = withInode(parent, request) { inode, _ throws(Errno) in
            found = try inode.child(name)
            if found == nil { throw .noSuchFileOrDirectory }
        }
        if let left, let found { answer(left, with: found.inode, timeout: found.timeout) }
    }

    override func forget(_ inode: InodeNumber, count: UInt64) { services.inodes.forget(inode, count: count) }

    override func getattr(_ request: consuming Request, inode: InodeNumber, file: OpenFile?) {
        guard let inode = services.inodes[inode] else {
            request.error(.staleNFSFileHandle)
            return
        }
        request.attributes(inode.attributes, timeout: inode.attributeTimeout)
    }

    override func setattr(
        _ request: consuming Request, inode: InodeNumber, changes: AttributeChanges, file: OpenFile?
    ) {
        guard let inode = services.inodes[inode] else {
            request.error(.staleNFSFileHandle)
            return
        }
        if inode.isLong(changes) {
            let deferred = request.deferred()
            MemoryFile.bulk.start {
                do throws(Errno) {
                    try inode.change(changes, caller: deferred.caller, isOpen: file != nil)
                    deferred.answer { $0.attributes(inode.attributes, timeout: inode.attributeTimeout) }
                } catch {
                    deferred.error(error)
                }
            }
            return
        }
        do throws(Errno) {
            try inode.change(changes, caller: request.caller, isOpen: file != nil)
            request.attributes(inode.attributes, timeout: inode.attributeTimeout)
        } catch {
            request.error(error)
        }
    }

    override func readlink(_ request: consuming Request, inode: InodeNumber) {
        guard let target = services.inodes[inode]?.linkTarget else {
            request.error(.invalidArgument)
            return
        }
        request.link(target)
    }

    private func make(
        _ request: consuming Request, in parent: InodeNumber,
        _ body: (Inode, Caller) throws(Errno) -> Inode
    ) {
        var made: Inode?
        let left = withInode(parent, request) { inode, request throws(Errno) in
            made = try body(inode, request.caller)
        }
        if let left, let made { answer(left, with: made, timeout: TreeCache.forever) }
    }

    override func mknod(
        _ request: consuming Request, parent: InodeNumber, name: FileName, mode: UInt32, device: UInt64
    ) {
        make(request, in: parent) { inode, caller throws(Errno) in
            guard FileType(rawValue: mode) == .regular else { throw .notPermitted }
            return try inode.makeFile(name, permissions: mode & 0o7777, caller: caller)
        }
    }

    override func mkdir(_ request: consuming Request, parent: InodeNumber, name: FileName, mode: UInt32) {
        make(request, in: parent) { inode, caller throws(Errno) in
            try inode.makeDirectory(name, permissions: mode & 0o7777, caller: caller)
        }
    }

    override func unlink(_ request: consuming Request, parent: InodeNumber, name: FileName) {
        withInode(parent, request) { inode, _ throws(Errno) in
            try inode.remove(name, isDirectory: false)
        }?.ok()
    }

    override func rmdir(_ request: consuming Request, parent: InodeNumber, name: FileName) {
        withInode(parent, request) { inode, _ throws(Errno) in
            try inode.remove(name, isDirectory: true)
        }?.ok()
    }

    override func rename(
        _ request: consuming Request, parent: InodeNumber, name: FileName,
        newParent: InodeNumber, newName: FileName, flags: UInt32
    ) {
        withInode(parent, request) { inode, _ throws(Errno) in
            guard let target = services.inodes[newParent] else { throw .staleNFSFileHandle }
            try inode.rename(name, to: newName, in: target, flags: flags)
        }?.ok()
    }

    override func symlink(_ request: consuming Request, parent: InodeNumber, name: FileName, target: String) {
        request.error(.notPermitted)
    }

    override func link(_ request: consuming Request, inode: InodeNumber, newParent: InodeNumber, newName: FileName) {
        request.error(.notPermitted)
    }

    // MARK: Files

    override func open(_ request: consuming Request, inode: InodeNumber, file: OpenFile) {
        var opened: (handle: OpenHandle, options: OpenReply.Options)?
        let left = withInode(inode, request) { inode, request throws(Errno) in
            opened = try inode.open(flags: file.flags, caller: request.caller)
        }
        var slot = left
        if let opened { open(opened.handle, opened.options) { slot.take()?.opened($0) ?? false } }
    }

    override func create(
        _ request: consuming Request, parent: InodeNumber, name: FileName, mode: UInt32, file: OpenFile
    ) {
        var opened: (inode: Inode, handle: OpenHandle, options: OpenReply.Options)?
        let left = withInode(parent, request) { inode, request throws(Errno) in
            let made = try inode.makeFile(name, permissions: mode & 0o7777, caller: request.caller)
            let (handle, options) = try made.open(flags: file.flags, caller: request.caller)
            opened = (made, handle, options)
        }
        guard let opened else { return }
        services.inodes.remember(opened.inode)
        var slot = left
        open(opened.handle, opened.options) { reply in
            if slot.take()?.created(Entry(opened.inode, timeout: TreeCache.forever), reply) ?? false { return true }
            services.inodes.forget(opened.inode.number, count: 1)
            return false
        }
    }

    override func read(_ request: consuming Request, inode: InodeNumber, size: Int, offset: Int64, file: OpenFile) {
        let handle = handle(of: file)
        // Only what read(2) asks for has an owner: sendfile(2) and splice(2), which go through the page cache, are to be followed
        // by that. What they find of a text would be the length of all later ones.
        guard file.lockOwner != 0 || handle.isCacheable else {
            request.error(.invalidArgument)
            return
        }
        handle.read(request, size: size, offset: offset, flags: file.flags)
    }

    override func write(_ request: consuming Request, inode: InodeNumber, data: RawSpan, offset: Int64, file: OpenFile)
    {
        handle(of: file).write(request, data: data, offset: offset, isWriteBack: file.isWriteBack)
    }

    override func release(_ request: consuming Request, inode: InodeNumber, file: OpenFile) {
        OpenHandle.release(file.handle)
        request.ok()
    }

    override func fsync(_ request: consuming Request, inode: InodeNumber, dataOnly: Bool, file: OpenFile) {
        // The kernel has written back what was dirty, and memory is as safe as it gets. It asks no more after this.
        request.error(.noFunction)
    }

    override func fallocate(
        _ request: consuming Request, inode: InodeNumber, mode: Int32, offset: Int64, length: Int64, file: OpenFile
    ) {
        guard offset >= 0, length > 0 else {
            request.error(.invalidArgument)
            return
        }
        let bytes = UInt64(offset)..<UInt64(offset) + UInt64(length)
        handle(of: file).allocate(request, mode: mode, bytes: bytes)
    }

    override func lseek(_ request: consuming Request, inode: InodeNumber, offset: Int64, whence: Int32, file: OpenFile)
    {
        handle(of: file).seek(request, offset: offset, whence: whence)
    }

    override func poll(
        _ request: consuming Request, inode: InodeNumber, events: PollEvents, handle: PollHandle?, file: OpenFile
    ) {
        self.handle(of: file).poll(request, handle: handle)
    }

    override func ioctl(
        _ request: consuming Request, inode: InodeNumber, command: IoctlCommand, input: RawSpan, file: OpenFile
    ) {
        handle(of: file).ioctl(request, command, input: input)
    }

    // MARK: Directories

    override func opendir(_ request: consuming Request, inode: InodeNumber, file: OpenFile) {
        var opened: DirectoryHandle?
        let left = withInode(inode, request) { inode, _ throws(Errno) in
            opened = DirectoryHandle(inode, inodes: services.inodes)
        }
        var slot = left
        if let opened { open(opened, []) { slot.take()?.opened($0) ?? false } }
    }

    override func readdir(_ request: consuming Request, inode: InodeNumber, size: Int, offset: Int64, file: OpenFile) {
        handle(of: file).list(request, size: size, offset: offset, isPlus: false)
    }

    override func readdirplus(
        _ request: consuming Request, inode: InodeNumber, size: Int, offset: Int64, file: OpenFile
    ) {
        handle(of: file).list(request, size: size, offset: offset, isPlus: true)
    }

    override func releasedir(_ request: consuming Request, inode: InodeNumber, file: OpenFile) {
        OpenHandle.release(file.handle)
        request.ok()
    }

    override func fsyncdir(_ request: consuming Request, inode: InodeNumber, dataOnly: Bool, file: OpenFile) {
        request.error(.noFunction)
    }

    // MARK: Extended attributes

    override func getxattr(_ request: consuming Request, inode: InodeNumber, name: String, size: Int) {
        var value: [UInt8] = []
        let left = withInode(inode, request) { inode, _ throws(Errno) in value = try inode.extendedAttribute(name) }
        if let left { unsafe left.extendedAttribute(value.span.bytes, size: size) }
    }

    override func listxattr(_ request: consuming Request, inode: InodeNumber, size: Int) {
        var names: [UInt8] = []
        let left = withInode(inode, request) { inode, _ throws(Errno) in names = inode.extendedAttributeNames }
        if let left { unsafe left.extendedAttribute(names.span.bytes, size: size) }
    }

    override func setxattr(
        _ request: consuming Request, inode: InodeNumber, name: String, value: RawSpan, flags: Int32
    ) {
        let bytes = unsafe value.withUnsafeBytes { unsafe [UInt8]($0) }
        var outcome = StoreOutcome.done
        let left = withInode(inode, request) { inode, request throws(Errno) in
            outcome = try inode.storeExtendedAttribute(name, bytes, flags: flags, caller: request.caller)
        }
        guard let left else { return }
        switch outcome {
        case .done:
            services.changes.kick()
            left.ok()
        case .job(let job): services.run(job, for: left) { $0.ok() }
        }
    }

    override func removexattr(_ request: consuming Request, inode: InodeNumber, name: String) {
        withInode(inode, request) { inode, _ throws(Errno) in try inode.removeExtendedAttribute(name) }?.ok()
    }

    // MARK: The whole

    override func statfs(_ request: consuming Request, inode: InodeNumber) {
        var statistics = FileSystemStatistics()
        for node in services.machine.nodes {
            let usage = node.usage
            statistics.blocks += UInt64(usage.present)
            statistics.freeBlocks += UInt64(usage.free)
        }
        // As tmpfs, which without a limit on inodes counts none.
        if let limit = services.accounts.inodes.limit {
            statistics.files = limit
            statistics.freeFiles = limit - min(limit, services.accounts.inodes.used)
        }
        request.statistics(statistics)
    }
}
