import CLinux
import Glibc
import LinuxSupport
import SystemPackage

/// Makes the kernel write back dirty pages of the own mount in large requests.
///
/// An invalidation writes back page by page; after sync_file_range(2) no dirty page is left for it. sync_file_range(2)
/// needs a descriptor on the own mount. A daemon that is killed while it waits for its own request would keep
/// `/dev/fuse` open, so that the request would never end. So each call has a thread with a descriptor table of its own,
/// without `/dev/fuse` in it: if the daemon is killed, its connection ends, and with it the request of the thread. The
/// inode is opened by its number, which needs no name and cannot lead to another file. Files must be opened with
/// ``OpenReply/Options/noFlush``, because a FLUSH would be one more request to wait for.
///
/// A failure here makes the mount slower, never wrong.
public final class WriteBack: Sendable {
    private let mountPoint: FilePath
    private let device: DeviceNumber

    /// For a session that is mounted; nil before.
    public init?(_ session: Session) {
        guard let mountPoint = session.mountPoint, let device = session.device else { return nil }
        self.mountPoint = mountPoint
        self.device = device
    }

    /// Writes back dirty pages of a range and waits for it. Never call it on a worker: the requests are the mount's
    /// own.
    ///
    /// The mount is in use meanwhile, so that umount(8) without `-l` finds it busy.
    ///
    /// - Parameters:
    ///   - inode: one that the kernel knows, with generation 0.
    ///   - bytes: the range.
    ///   - next: a range in which write-back starts, too, without waiting for it.
    /// - Throws: EPERM without CAP_DAC_READ_SEARCH; ENODEV if another file system is at the mount point; ESTALE if the
    ///   kernel does not know the inode; and errors of the file system's answers to OPEN and WRITE.
    public func write(_ inode: InodeNumber, _ bytes: Range<Int64>, starting next: Range<Int64>) throws(Errno) {
        if WorkerThread.isCurrent {
            assertionFailure("a worker that writes back waits for itself")
            throw .deadlock
        }
        let task = Task(self, inode, bytes, next)
        try SystemThread { task.run() }.join()
        if let error = task.error { throw error }
    }

    private final class Task: @unchecked Sendable {
        // Unchecked: `error` is read only after the thread was joined.
        private let target: WriteBack
        private let inode: InodeNumber
        private let bytes: Range<Int64>
        private let next: Range<Int64>
        private(set) var error: Errno?

        init(_ target: WriteBack, _ inode: InodeNumber, _ bytes: Range<Int64>, _ next: Range<Int64>) {
            self.target = target
            self.inode = inode
            self.bytes = bytes
            self.next = next
        }

        func run() {
            do throws(Errno) { try write() } catch { self.error = error }
        }

        private func write() throws(Errno) {
            // Nothing of this thread is shared from here on but memory; its descriptors and directory go with it.
            guard close_range(0, .max, Int32(CLINUX_CLOSE_RANGE_UNSHARE)) == 0,
                unshare(Int32(CLINUX_CLONE_FS)) == 0,
                unsafe chdir(target.mountPoint.string) == 0
            else { throw Errno.last }
            guard try FileIdentity(cached: ".").device == target.device else { throw .operationNotSupportedByDevice }
            let file = try SystemCall.check(
                clinux_open_fuse_inode(AT_FDCWD, inode.rawValue, 0, O_RDONLY | O_CLOEXEC))
            defer { close(file) }
            try sync(file, bytes, CLINUX_SYNC_FILE_RANGE_ALL)
            try sync(file, next, CLINUX_SYNC_FILE_RANGE_WRITE)
        }

        private func sync(_ file: Int32, _ bytes: Range<Int64>, _ flags: Int) throws(Errno) {
            // A length of 0 would mean all the rest.
            guard !bytes.isEmpty else { return }
            try SystemCall.check(sync_file_range(file, Int(bytes.lowerBound), bytes.count, UInt32(flags)))
        }
    }
}
