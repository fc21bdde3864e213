import Fuse
import Glibc
import SystemPackage

/// An open file or directory. The kernel carries its address in every request, so that READ and WRITE look nothing up.
class OpenHandle: @unchecked Sendable {
    // Unchecked: subclasses guard what changes.

    /// The number for the kernel, which now owns a reference.
    final func retained() -> UInt64 {
        UInt64(UInt(bitPattern: unsafe Unmanaged.passRetained(self).toOpaque()))
    }

    /// Takes the kernel's reference back (RELEASE, or an OPEN whose answer was not taken).
    static func release(_ handle: UInt64) {
        guard let address = unsafe UnsafeRawPointer(bitPattern: UInt(handle)) else { return }
        let handle = unsafe Unmanaged<OpenHandle>.fromOpaque(address).takeRetainedValue()
        handle.closed()
    }

    /// The handle that a request carries, nil where there is none.
    ///
    /// It is counted while the request is served, for once the answer is out the kernel may send RELEASE, which another
    /// worker serves while this one has not returned yet.
    @inline(__always)
    static func of(_ file: OpenFile) -> OpenHandle? {
        unsafe UnsafeRawPointer(bitPattern: UInt(file.handle)).map {
            unsafe Unmanaged<OpenHandle>.fromOpaque($0).takeUnretainedValue()
        }
    }

    /// What mappings of the file go to; nil for the page cache. Set before the kernel knows the handle.
    var backing: BackingID?

    /// Whether the page cache may have bytes of the file, as sendfile(2) and splice(2) want it even of what goes past it.
    var isCacheable: Bool { true }

    /// As `read`, with the flags of open(2) as they are now, and who asks.
    func read(_ request: consuming Request, size: Int, offset: Int64, file: OpenFile) {
        read(request, size: size, offset: offset)
    }

    func read(_ request: consuming Request, size: Int, offset: Int64) { request.error(.invalidArgument) }

    /// As `write`, with the flags of open(2) as they are now.
    func write(_ request: consuming Request, data: RawSpan, offset: Int64, file: OpenFile) {
        write(request, data: data, offset: offset, isWriteBack: file.isWriteBack)
    }

    func write(_ request: consuming Request, data: RawSpan, offset: Int64, isWriteBack: Bool) {
        request.error(.invalidArgument)
    }

    func allocate(_ request: consuming Request, mode: Int32, bytes: Range<UInt64>) { request.error(.notSupported) }

    func seek(_ request: consuming Request, offset: Int64, whence: Int32) { request.error(.invalidArgument) }

    func poll(_ request: consuming Request, handle: PollHandle?) { request.poll([.input, .output]) }

    /// ioctl(2); `input` is gone when the method returns.
    func ioctl(_ request: consuming Request, _ command: IoctlCommand, input: RawSpan) {
        request.error(.inappropriateIOCTLForDevice)
    }

    func list(_ request: consuming Request, size: Int, offset: Int64, isPlus: Bool) { request.error(.notDirectory) }

    /// The last descriptor and mapping are gone.
    func closed() {}
}
