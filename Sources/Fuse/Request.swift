internal import CFuse3
import Glibc
import SystemPackage

/// One request of the kernel, to be answered exactly once.
///
/// Every answer consumes the request, so that a second one does not compile; a request that is dropped answers `EIO`.
/// The answers return whether the kernel took them: it does not when the caller was killed meanwhile or the mount is
/// gone. Whoever created something for the request (an entry's lookup, an open file) undoes it then, for no FORGET and no
/// RELEASE will come.
@safe
public struct Request: ~Copyable {
    private let raw: OpaquePointer

    init(_ raw: OpaquePointer) {
        unsafe self.raw = unsafe raw
    }

    deinit {
        unsafe fuse_reply_err(raw, EIO)
    }

    /// Who asks.
    public var caller: Caller {
        unsafe Caller(fuse_req_ctx(raw).pointee)
    }

    /// Whether the caller has been interrupted since (FUSE_INTERRUPT).
    public var isInterrupted: Bool {
        unsafe fuse_req_interrupted(raw) != 0
    }

    /// Whether the request may wait for something that perhaps never happens. Over io_uring others that come after it may wait for
    /// the answer of the last one of their CPU, which therefore must not.
    public var mayBeHeld: Bool { unsafe AnsweringEntry.current.map { unsafe $0.pointee.mayBeHeld } ?? true }

    /// Takes the request off the worker: whoever holds the result answers, on any thread, at any later time.
    public consuming func deferred() -> DeferredRequest {
        let caller = self.caller
        return unsafe DeferredRequest(release(), caller)
    }

    /// The handle, with the duty to answer it.
    consuming func release() -> OpaquePointer {
        let raw = unsafe self.raw
        discard self
        return unsafe raw
    }
}
