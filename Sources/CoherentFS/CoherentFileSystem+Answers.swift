import CoherentTree
import Fuse
import SystemPackage

/// From the numbers of requests to inodes and handles, and from these to answers.
extension CoherentFileSystem {
    func withInode(
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
    func handle(of file: OpenFile) -> OpenHandle {
        guard let handle = OpenHandle.of(file) else { preconditionFailure("an open file without a handle") }
        return handle
    }

    func answer(_ request: consuming Request, with inode: Inode, timeout: Double) {
        services.inodes.remember(inode)
        answer(request, withRemembered: inode, timeout: timeout)
    }

    func answer(_ request: consuming Request, withRemembered inode: Inode, timeout: Double) {
        if !request.entry(Entry(inode, timeout: timeout)) { services.inodes.forget(inode.number, count: 1) }
    }

    func open(
        _ handle: OpenHandle, _ options: OpenReply.Options, _ answer: (OpenReply) -> Bool
    ) {
        let reply = OpenReply(handle: handle.retained(), options: options, backing: handle.backing)
        if !answer(reply) { OpenHandle.release(reply.handle) }
    }
}
