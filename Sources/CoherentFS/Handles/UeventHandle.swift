import CoherentTree
import Fuse
import Glibc
import SystemPackage

/// An open uevents file.
final class UeventHandle: OpenHandle, @unchecked Sendable {
    private let log: UeventLog
    private let reader: UeventLog.Reader
    private let held: HeldRequests

    /// - Parameter opener: who opens it: however the file is handed on, that one may see what it shows.
    init(_ log: UeventLog, opener: Uevent.Viewer, held: HeldRequests) {
        self.log = log
        self.held = held
        reader = log.open(by: opener)
    }

    override var isCacheable: Bool { false }

    override func read(_ request: consuming Request, size: Int, offset: Int64, file: OpenFile) {
        if let bytes = log.take(reader, size: size) {
            request.bytes(bytes)
        } else if file.flags & O_NONBLOCK != 0 {
            request.error(.resourceTemporarilyUnavailable)
        } else {
            do throws(Errno) {
                guard request.mayBeHeld else { throw .noBufferSpace }
                let place = try held.take(for: request.caller)
                let deferred = request.deferred()
                let giveUp = log.wait(reader, size: size) { bytes in
                    withExtendedLifetime(place) {
                        if let bytes { deferred.answer { $0.bytes(bytes) } } else { deferred.error(.interrupted) }
                    }
                }
                deferred.onInterrupt(giveUp)
                log.deliver()
            } catch {
                request.error(error)
            }
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

extension Request {
    /// Answers READ.
    @discardableResult
    consuming func bytes(_ bytes: [UInt8]) -> Bool { unsafe data(bytes.span.bytes) }
}
