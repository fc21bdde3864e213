import Fuse
import Glibc
import SystemPackage

/// An open uevents file.
final class UeventHandle: OpenHandle, @unchecked Sendable {
    private let log: UeventLog
    private let reader: UeventLog.Reader

    /// - Parameter opener: who opens it: however the file is handed on, that one may see what it shows.
    init(_ log: UeventLog, opener: Credentials) {
        self.log = log
        reader = log.open(by: opener)
    }

    override var isCacheable: Bool { false }

    override func read(_ request: consuming Request, size: Int, offset: Int64, flags: Int32) {
        if let bytes = log.take(reader, size: size) {
            request.bytes(bytes)
        } else if flags & O_NONBLOCK != 0 {
            request.error(.resourceTemporarilyUnavailable)
        } else {
            log.wait(reader, request.deferred(), size: size)
        }
    }

    override func poll(_ request: consuming Request, handle: PollHandle?) {
        if log.isReadable(reader) {
            request.poll(.input)
            return
        }
        // Answered first: the watch may wake at once, and the kernel must know the poll by then.
        request.poll([])
        if let handle { log.watch(reader, handle) }
    }

    override func closed() { log.close(reader) }
}
