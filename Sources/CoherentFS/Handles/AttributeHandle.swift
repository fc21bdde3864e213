import AttributeTree
import CoherentMemory
import Fuse
import SystemPackage

/// An open attribute file. As of sysfs: a read from the start shows the attribute anew, and one write(2) is one store.
final class AttributeHandle: OpenHandle, @unchecked Sendable {
    private let attribute: BoundAttribute
    private let services: Services
    /// What the last read from the start showed.
    private let shown = Mutex<[UInt8]?>(nil)

    init(_ attribute: BoundAttribute, services: Services) {
        self.attribute = attribute
        self.services = services
    }

    /// Whether the text differs from what was read last; so it is before the first read, as kernfs has it.
    var hasChanged: Bool {
        guard attribute.isPollable else { return false }
        let last = shown.withLock { $0 }
        return (try? text()) != last
    }

    private func text() throws(Errno) -> [UInt8] { [UInt8](try attribute.show().utf8) }

    override func read(_ request: consuming Request, size: Int, offset: Int64) {
        if offset > 0, let last = shown.withLock({ $0 }) {
            request.part(of: last, size: size, offset: offset)
        } else if attribute.showsInJob {
            let deferred = request.deferred()
            let job = Job("show") { _ throws(Errno) in
                let bytes = try self.show(from: offset)
                deferred.answer { $0.part(of: bytes, size: size, offset: offset) }
            }
            let isStarted = services.jobs.start(job, Cancellation()) { if let error = $0 { deferred.error(error) } }
            if !isStarted { deferred.error(.resourceTemporarilyUnavailable) }
        } else {
            do throws(Errno) {
                request.part(of: try show(from: offset), size: size, offset: offset)
            } catch {
                request.error(error)
            }
        }
    }

    /// Shows anew, and keeps what a read from the start has shown.
    private func show(from offset: Int64) throws(Errno) -> [UInt8] {
        let bytes = try text()
        if offset == 0 { shown.withLock { $0 = bytes } }
        return bytes
    }

    override func write(_ request: consuming Request, data: RawSpan, offset: Int64, isWriteBack: Bool) {
        let count = data.byteCount
        do throws(Errno) {
            let bytes = unsafe data.withUnsafeBytes { unsafe [UInt8]($0) }
            switch try attribute.store(bytes, by: request.caller.writer) {
            case .done:
                services.changes.kick()
                request.written(count)
            case .job(let job):
                services.run(job, for: request) { $0.written(count) }
            }
        } catch {
            request.error(error)
        }
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

    override func closed() { services.changes.forget(self) }
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
