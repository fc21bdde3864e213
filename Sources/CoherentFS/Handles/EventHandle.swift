import CoherentTree
import Fuse
import Glibc
import SystemPackage

/// An open file of events.
final class EventHandle: OpenHandle, @unchecked Sendable {
    private let reader: any EventReader
    private let held: HeldRequests

    /// - Parameter reader: of who opens it: however the file is handed on, that one may see what it shows.
    init(_ reader: any EventReader, held: HeldRequests) {
        self.reader = reader
        self.held = held
    }

    override var isCacheable: Bool { false }

    override func read(_ request: consuming Request, size: Int, offset: Int64, file: OpenFile) {
        if let bytes = reader.take(size: size) {
            request.bytes(bytes)
        } else if file.flags & O_NONBLOCK != 0 {
            request.error(.resourceTemporarilyUnavailable)
        } else {
            do throws(Errno) {
                guard request.mayBeHeld else { throw .noBufferSpace }
                let place = try held.take(for: request.caller)
                let deferred = request.deferred()
                let giveUp = reader.waiting.wait(size: size) { bytes in
                    withExtendedLifetime(place) {
                        if let bytes { deferred.answer { $0.bytes(bytes) } } else { deferred.error(.interrupted) }
                    }
                }
                deferred.onInterrupt(giveUp)
                reader.deliver()
            } catch {
                request.error(error)
            }
        }
    }

    override func poll(_ request: consuming Request, handle: PollHandle?) {
        if reader.isReadable {
            request.poll(.input)
            return
        }
        // Answered first: the watch may wake at once, and the kernel must know the poll by then.
        request.poll([])
        guard let handle else { return }
        reader.waiting.watch(handle)
        reader.deliver()
    }

    override func closed() { reader.close() }
}

extension Request {
    /// Answers READ.
    @discardableResult
    consuming func bytes(_ bytes: [UInt8]) -> Bool { unsafe data(bytes.span.bytes) }
}
