import AttributeTree
import CLinux
import CoherentMemory
import Fuse
import SystemPackage

/// An open attribute file. As of sysfs: a read from the start shows the attribute anew, and one write(2) is one store.
final class AttributeHandle: OpenHandle, @unchecked Sendable {
    private let attribute: BoundAttribute
    private let inode: TreeInode
    private let services: Services
    /// What the last read from the start showed.
    private let shown = Mutex<[UInt8]?>(nil)

    init(_ attribute: BoundAttribute, inode: TreeInode, services: Services) {
        self.attribute = attribute
        self.inode = inode
        self.services = services
    }

    /// Whether the text differs from what was read last; so it is before the first read, as kernfs has it.
    var hasChanged: Bool {
        guard attribute.isPollable else { return false }
        let last = shown.withLock { $0 }
        return (try? text()) != last
    }

    private func text() throws(Errno) -> [UInt8] {
        try checkLifetime()
        return [UInt8](try attribute.show().utf8)
    }

    /// As kernfs has it: what was open when its subject went answers ENODEV.
    private func checkLifetime() throws(Errno) {
        if inode.isGone { throw .operationNotSupportedByDevice }
    }

    override func read(_ request: consuming Request, size: Int, offset: Int64) {
        do throws(Errno) {
            try checkLifetime()
            let last = offset == 0 ? nil : shown.withLock { $0 }
            let bytes = if let last { last } else { try text() }
            if offset == 0 { shown.withLock { $0 = bytes } }
            guard offset < bytes.count else {
                request.end()
                return
            }
            let start = Int(offset)
            unsafe request.data(bytes.span.bytes.extracting(start..<min(bytes.count, start + size)))
        } catch {
            request.error(error)
        }
    }

    override func write(_ request: consuming Request, data: RawSpan, offset: Int64, isWriteBack: Bool) {
        let count = data.byteCount
        do throws(Errno) {
            try checkLifetime()
            let bytes = unsafe data.withUnsafeBytes { unsafe [UInt8]($0) }
            switch try attribute.store(bytes) {
            case .done:
                services.changes.kick()
                request.written(count)
            case .job(let job):
                run(job, for: request, count: count)
            }
        } catch {
            request.error(error)
        }
    }

    /// The write is answered by the thread that does the work; an interrupt of the writer cancels it.
    private func run(_ job: Job, for request: consuming Request, count: Int) {
        let cancellation = Cancellation()
        let deferred = request.deferred()
        deferred.onInterrupt { cancellation.cancel() }
        let services = services
        let isStarted = services.jobs.start(job, cancellation) { error in
            services.changes.kick()
            if let error {
                deferred.error(error)
            } else {
                deferred.answer { request in request.written(count) }
            }
        }
        if !isStarted { deferred.error(.resourceTemporarilyUnavailable) }
    }

    override func poll(_ request: consuming Request, handle: PollHandle?) {
        guard attribute.isReadable, attribute.isPollable else {
            request.poll([.input, .output])
            return
        }
        if hasChanged {
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
