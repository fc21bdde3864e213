import AttributeTree
import CLinux
import CoherentMemory
import CoherentTree
import Fuse
import LinuxSupport
import SystemPackage

/// An open attribute file. As of sysfs: a read from the start shows the attribute anew, and one write(2) is one store.
final class AttributeHandle: OpenHandle, WatchedText, @unchecked Sendable {
    private let attribute: BoundAttribute
    private let inode: TreeInode
    private let services: Services
    /// What the last read from the start showed, of a text that is not long.
    private let shown = Mutex<[UInt8]?>(nil)
    /// The same of a long text that poll(2) watches: the bytes that it got, and how many it asked for.
    private let beginning = Mutex<(bytes: [UInt8], asked: Int)?>(nil)
    /// Where the last read of a long text ended; nil while a read goes on from there.
    private let cursor = Mutex<TextCursor?>(TextCursor())
    /// When.
    private let readAt = Mutex(ContinuousClock.now)

    init(_ attribute: BoundAttribute, inode: TreeInode, services: Services) {
        self.attribute = attribute
        self.inode = inode
        self.services = services
    }

    override var isCacheable: Bool { false }

    /// Whether the text differs from what was read last; so it is before the first read, as kernfs has it.
    var hasChanged: Bool {
        guard attribute.isPollable else { return false }
        guard attribute.isLong else {
            let last = shown.withLock { $0 }
            return (try? text()) != last
        }
        guard let (last, asked) = beginning.withLock({ $0 }) else { return true }
        guard !inode.isGone else { return true }
        var start = TextCursor()
        return (try? start.read(attribute, at: 0, count: asked)) != last
    }

    /// Whether the attribute changes all the time, perhaps, and was read only just now: then a poll waits a while.
    var isFresh: Bool {
        attribute.changesSteadily && shown.withLock { $0 } != nil
            && .now - readAt.withLock { $0 } < .milliseconds(ChangeHub.interval)
    }

    /// Whether the attribute may change without a notification.
    var changesSteadily: Bool { attribute.changesSteadily }

    private func text(for client: Client = .nobody) throws(Errno) -> [UInt8] {
        try checkLifetime()
        return try attribute.bytes(for: client)
    }

    /// As kernfs has it: what was open when its subject went answers ENODEV.
    private func checkLifetime() throws(Errno) {
        if inode.isGone { throw .operationNotSupportedByDevice }
    }

    override func read(_ request: consuming Request, size: Int, offset: Int64) {
        let client = Client(request.caller)
        if offset > 0, let last = shown.withLock({ $0 }) {
            request.part(of: last, size: size, offset: offset)
        } else if attribute.showsInJob {
            let deferred = request.deferred()
            let isStarted = services.jobs.show {
                do throws(Errno) {
                    let part = try self.show(for: client, size, from: offset)
                    deferred.answer { $0.bytes(part) }
                } catch {
                    deferred.error(error)
                }
            }
            if !isStarted { deferred.error(.resourceTemporarilyUnavailable) }
        } else {
            do throws(Errno) {
                let part = try show(for: client, size, from: offset)
                request.bytes(part)
            } catch {
                request.error(error)
            }
        }
    }

    /// What a read gets. A short text is shown anew, and one from the start is kept for the reads behind it; a long one goes
    /// on where the last read ended.
    private func show(for client: Client, _ size: Int, from offset: Int64) throws(Errno) -> [UInt8] {
        guard attribute.isLong else {
            let bytes = try text(for: client)
            if offset == 0 {
                shown.withLock { $0 = bytes }
                readAt.withLock { $0 = .now }
            }
            if offset == 0, bytes.count <= size { return bytes }
            return Array(bytes.dropFirst(Int(offset)).prefix(size))
        }
        try checkLifetime()
        // Not read under the lock, for it may take long. Of several who read at once, one goes on, and the others begin anew.
        var place = cursor.withLock { $0.take() } ?? TextCursor()
        let part = try place.read(attribute, at: Int(offset), count: size, for: client)
        cursor.withLock { [place] in $0 = place }
        if offset == 0, attribute.isPollable { beginning.withLock { $0 = (part, size) } }
        return part
    }

    override func write(_ request: consuming Request, data: RawSpan, offset: Int64, isWriteBack: Bool) {
        let count = data.byteCount
        let write = ControlWrite(
            services: services, client: Client(request.caller), place: .tree(inode),
            bytes: unsafe data.withUnsafeBytes { unsafe [UInt8]($0) })
        do throws(Errno) {
            try checkLifetime()
            switch try attribute.store(write.bytes, by: write.client, reason: write.reason) {
            case .done:
                services.changes.kick()
                request.written(count)
            case .job(let job):
                services.run(job, of: write, for: request) { $0.written(count) }
            }
        } catch {
            write.refused(error)
            request.error(error)
        }
    }

    override func poll(_ request: consuming Request, handle: PollHandle?) {
        guard attribute.isReadable, attribute.isPollable else {
            request.poll([.input, .output])
            return
        }
        if !isFresh, hasChanged {
            request.poll([.input, .output, .priority, .error])
            return
        }
        // Before the answer: after it RELEASE may come, which takes the watch back. The kernel knows the poll already.
        if let handle { services.changes.watch(self, handle) }
        request.poll([.input, .output])
    }

    /// Data up to the size, then a hole, as generic_file_llseek() has it.
    override func seek(_ request: consuming Request, offset: Int64, whence: Int32) {
        let size = Int64(attribute.size)
        switch whence {
        case SEEK_DATA, SEEK_HOLE:
            if (0..<size).contains(offset) {
                request.position(whence == SEEK_DATA ? offset : size)
            } else {
                request.error(.noSuchAddressOrDevice)
            }
        default: request.error(.invalidArgument)
        }
    }

    override func closed() {
        services.changes.forget(self)
        inode.closed()
    }
}

extension Request {
    /// Answers READ with what `bytes` have at an offset.
    fileprivate consuming func part(of bytes: [UInt8], size: Int, offset: Int64) {
        guard offset < bytes.count else {
            end()
            return
        }
        let start = Int(offset)
        unsafe data(bytes.span.bytes.extracting(start..<min(bytes.count, start + size)))
    }
}

extension PollHandle: Waker {
    /// Tells the kernel that programs that poll are to look again.
    package func wake() { try? notify() }
}
