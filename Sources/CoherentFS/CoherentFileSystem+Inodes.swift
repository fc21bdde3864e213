import AttributeTree
import CoherentTree
import Fuse
import LinuxSupport
import SystemPackage

/// What requests do to inodes, where it is more than a call.
extension CoherentFileSystem {
    /// Finds the inode of a file handle that the kernel has forgotten, or the directory that one is in.
    func find(_ request: consuming Request, _ number: InodeNumber, isParent: Bool) {
        guard let inode = services.inodes.countLookup(of: number) else {
            request.error(.staleNFSFileHandle)
            return
        }
        guard isParent else {
            answer(request, withRemembered: inode, timeout: TreeCache.forever)
            return
        }
        let parent = inode.parent
        services.inodes.forget(number, count: 1)
        if let parent {
            answer(request, with: parent, timeout: TreeCache.forever)
        } else {
            request.error(.staleNFSFileHandle)
        }
    }

    /// Changes attributes, on a thread of its own where that takes long.
    func change(
        _ request: consuming Request, _ number: InodeNumber, _ changes: AttributeChanges, isOpen: Bool
    ) {
        guard let inode = services.inodes[number] else {
            request.error(.staleNFSFileHandle)
            return
        }
        if inode.isLong(changes) {
            let deferred = request.deferred()
            MemoryFile.bulk.start {
                do throws(Errno) {
                    try inode.change(changes, caller: deferred.caller, isOpen: isOpen)
                    deferred.answer { $0.attributes(inode.attributes, timeout: inode.attributeTimeout) }
                } catch {
                    deferred.error(error)
                }
            }
            return
        }
        do throws(Errno) {
            try inode.change(changes, caller: request.caller, isOpen: isOpen)
            request.attributes(inode.attributes, timeout: inode.attributeTimeout)
        } catch {
            request.error(error)
        }
    }

    /// Stores an extended attribute, which may be a control and start a job.
    func store(
        _ request: consuming Request, _ number: InodeNumber, _ name: String, _ value: RawSpan, flags: Int32
    ) {
        guard let inode = services.inodes[number] else {
            request.error(.staleNFSFileHandle)
            return
        }
        let bytes = unsafe value.withUnsafeBytes { unsafe [UInt8]($0) }
        let caller = request.caller
        let control = inode.controlName(name)
        let write = ControlWrite(
            services: services, client: Client(caller), place: .attribute(control ?? "", of: inode), bytes: bytes)
        do throws(Errno) {
            switch try inode.storeExtendedAttribute(name, bytes, flags: flags, caller: caller, reason: write.reason) {
            case .done:
                services.changes.kick()
                request.ok()
            case .job(let job): services.run(job, of: write, for: request) { $0.ok() }
            }
        } catch {
            if control != nil { write.refused(error) }
            request.error(error)
        }
    }

    /// Makes an inode in a directory, and answers with it.
    func make(
        _ request: consuming Request, in parent: InodeNumber,
        _ body: (Inode, Caller) throws(Errno) -> Inode
    ) {
        var made: Inode?
        let left = withInode(parent, request) { inode, request throws(Errno) in
            made = try body(inode, request.caller)
        }
        if let left, let made { answer(left, with: made, timeout: TreeCache.forever) }
    }

    /// Makes an inode in a directory and opens it, and answers with both.
    func create(
        _ request: consuming Request, in parent: InodeNumber, flags: Int32,
        _ make: (Inode, Caller) throws(Errno) -> Inode
    ) {
        var opened: (inode: Inode, handle: OpenHandle, options: OpenReply.Options)?
        let left = withInode(parent, request) { inode, request throws(Errno) in
            let made = try make(inode, request.caller)
            do throws(Errno) {
                let (handle, options) = try made.open(flags: flags, caller: request.caller)
                opened = (made, handle, options)
            } catch {
                // A file without a name that is not open has no user.
                made.forgotten()
                throw error
            }
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
}
