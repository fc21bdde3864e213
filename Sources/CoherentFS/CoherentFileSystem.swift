import AttributeTree
import CoherentMemory
import CoherentTree
import Fuse
import HMMTestDevice
import LinuxSupport
import Logging
import SystemPackage

/// A machine as a file system: names come to inodes, open files to handles, and both to the machine.
final class CoherentFileSystem: FileSystem, @unchecked Sendable {
    // Unchecked: `services` is set once, before the first request.
    private(set) var services: Services!

    /// - Parameters:
    ///   - hugeMode: what new buffers have, where a user chose that.
    ///   - faultAround: bytes around a touched page that get their frames with it.
    ///   - tellsFailures: whether every program gets BUS_MCEERR_AR for a failed page.
    ///   - devices: who may use the device files.
    ///   - limits: how much users may take of what is scarce.
    init(
        machine: Machine, hugeMode: HugeMode? = nil, faultAround: UInt64 = FileSystemOptions().faultAround,
        tellsFailures: Bool = false, devices permissions: DevicePermissions = .init(),
        limits: Limits = Limits(), accessTimes: AccessTimes = AccessTimes(), logger: Logger
    ) {
        super.init()
        let services = Services(
            machine: machine, hugeMode: hugeMode, faultAround: faultAround, tellsFailures: tellsFailures,
            limits: limits, accessTimes: accessTimes, logger: logger,
            notifier: notifier)
        self.services = services

        let buffers = BufferDirectory(
            metadata: Metadata(permissions: 0o1777, uid: owner.uid, gid: owner.gid), services: services)
        // As tmpfs counts its root. A limit is 1 at least, so there is room for it.
        buffers.charge = try? InodeCharge(services.accounts.inodes, to: owner.uid, by: 0)
        services.buffers.withLock { $0.directory = buffers }
        let tree = TreeCache(services: services)
        services.tree.withLock { $0.cache = tree }
        let system = SystemTree(services: services.base, buffers: buffers).root
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
                    ("sys", tree.inode(of: system)),
                    (
                        "dev",
                        FixedDirectory(
                            number: services.inodes.makeNumber(), children: devices + mirrors, services: services)
                    ),
                    ("buffers", buffers),
                ], services: services))
    }

    deinit { services?.forgetInodes() }

    override var implementsReaddirplus: Bool { true }

    override var zeros: UnsafeRawBufferPointer? { unsafe services.machine.zeroPages }

    // MARK: Names

    override func lookup(_ request: consuming Request, parent: InodeNumber, name: FileName) {
        if name == "." || name == ".." {
            find(request, parent, isParent: name == "..")
            return
        }
        var found: (inode: Inode, timeout: Double)?
        let left = withInode(parent, request) { inode, request throws(Errno) in
            found = try services.inodes.lookUp(name, in: inode, for: request.caller)
            if found == nil { throw .noSuchFileOrDirectory }
        }
        if let left, let found { answer(left, withRemembered: found.inode, timeout: found.timeout) }
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
        change(request, inode, changes, isOpen: file != nil)
    }

    override func readlink(_ request: consuming Request, inode: InodeNumber) {
        guard let target = services.inodes[inode]?.linkTarget else {
            request.error(.invalidArgument)
            return
        }
        request.link(target)
    }

    override func mknod(
        _ request: consuming Request, parent: InodeNumber, name: FileName, mode: UInt32, device: UInt64
    ) {
        make(request, in: parent) { inode, caller throws(Errno) in
            switch FileType(rawValue: mode) {
            case .regular: return try inode.makeFile(name, permissions: mode & 0o7777, caller: caller)
            case .socket: return try inode.makeSocket(name, permissions: mode & 0o7777, caller: caller)
            default: throw .notPermitted
            }
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
        make(request, in: newParent) { directory, _ throws(Errno) in
            guard let file = services.inodes[inode] else { throw .staleNFSFileHandle }
            try directory.link(file, as: newName)
            return file
        }
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
        create(request, in: parent, flags: file.flags) { inode, caller throws(Errno) in
            try inode.makeFile(name, permissions: mode & 0o7777, caller: caller)
        }
    }

    override func tmpfile(_ request: consuming Request, parent: InodeNumber, mode: UInt32, file: OpenFile) {
        create(request, in: parent, flags: file.flags) { inode, caller throws(Errno) in
            try inode.makeTemporaryFile(permissions: mode & 0o7777, caller: caller)
        }
    }

    override func read(_ request: consuming Request, inode: InodeNumber, size: Int, offset: Int64, file: OpenFile) {
        let handle = handle(of: file)
        // sendfile(2) and splice(2) go through the page cache: what they find of a text would be the length of all later ones, and
        // what they find of a direct buffer would stay as it was. Their EINVAL means that read(2) is to be used.
        guard file.isPastCache || handle.isCacheable else {
            request.error(.invalidArgument)
            return
        }
        handle.read(request, size: size, offset: offset, file: file)
    }

    override func write(_ request: consuming Request, inode: InodeNumber, data: RawSpan, offset: Int64, file: OpenFile)
    {
        handle(of: file).write(request, data: data, offset: offset, file: file)
    }

    override func copyFileRange(
        _ request: consuming Request, from source: FilePosition, to target: FilePosition, length: Int
    ) {
        // Texts the kernel copies itself, as far as it can.
        guard let from = handle(of: source.file) as? MemoryHandle, let to = handle(of: target.file) as? MemoryHandle
        else {
            request.error(.notSupported)
            return
        }
        to.copy(request, from: from, at: source.offset, to: target.offset, length: length)
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
        let left = withInode(inode, request) { inode, request throws(Errno) in
            value = try inode.extendedAttribute(name, for: Client(request.caller))
        }
        if let left { unsafe left.extendedAttribute(value.span.bytes, size: size) }
    }

    override func listxattr(_ request: consuming Request, inode: InodeNumber, size: Int) {
        var names: [UInt8] = []
        let left = withInode(inode, request) { inode, request throws(Errno) in
            names = inode.extendedAttributeNames(for: request.caller)
        }
        if let left { unsafe left.extendedAttribute(names.span.bytes, size: size) }
    }

    override func setxattr(
        _ request: consuming Request, inode: InodeNumber, name: String, value: RawSpan, flags: Int32
    ) {
        store(request, inode, name, value, flags: flags)
    }

    override func removexattr(_ request: consuming Request, inode: InodeNumber, name: String) {
        withInode(inode, request) { inode, request throws(Errno) in
            try inode.removeExtendedAttribute(name, caller: request.caller)
        }?.ok()
    }

    // MARK: The whole

    override func statfs(_ request: consuming Request, inode: InodeNumber) {
        request.statistics(services.statistics)
    }
}
