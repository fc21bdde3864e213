internal import CFuse3
import Glibc
import SystemPackage

/// One request of the kernel, which must be answered exactly once.
///
/// Every answer consumes the request, so that a second one does not compile; a request that is dropped answers `EIO`.
/// An answer returns whether the kernel accepted it. It does not if the caller was killed meanwhile or the mount is
/// gone. The daemon must then undo what it made for the request (an entry's lookup, an open file), because no FORGET
/// and no RELEASE arrive.
@safe
public struct Request: ~Copyable {
    private let raw: OpaquePointer

    init(_ raw: OpaquePointer) {
        unsafe self.raw = unsafe raw
    }

    deinit {
        unsafe fuse_reply_err(raw, EIO)
    }

    /// The caller.
    public var caller: Caller {
        unsafe Caller(fuse_req_ctx(raw).pointee)
    }

    /// Whether the caller has been interrupted (FUSE_INTERRUPT).
    public var isInterrupted: Bool {
        unsafe fuse_req_interrupted(raw) != 0
    }

    /// Whether the request may wait for an event that may never happen. Over io_uring, later requests of a CPU may wait
    /// for the answer to its last entry, so that request must not wait.
    public var mayBeHeld: Bool { unsafe AnsweringEntry.current.map { unsafe $0.pointee.mayBeHeld } ?? true }

    /// Takes the request off the worker: the holder of the result answers it on any thread, at any later time.
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
