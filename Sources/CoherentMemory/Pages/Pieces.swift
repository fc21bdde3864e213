import Glibc

/// Bytes of an owner where they are, as pieces that follow each other.
@safe
struct Pieces {
    private let pieces: UnsafeMutablePointer<iovec>
    /// ``PageStorage/zeros``.
    private let zeros: UnsafeMutableRawPointer
    private(set) var count = 0
    /// Bytes in all pieces.
    private(set) var length = 0

    /// - Parameter pieces: room for as many as there are pages.
    init(_ pieces: UnsafeMutablePointer<iovec>, in pool: TablePool) {
        unsafe self.pieces = pieces
        unsafe zeros = UnsafeMutableRawPointer(pool.storage.zeros.base)
    }

    /// All pieces.
    var all: UnsafeBufferPointer<iovec> { unsafe UnsafeBufferPointer(start: pieces, count: count) }

    subscript(index: Int) -> UnsafeMutableRawBufferPointer {
        let piece = unsafe pieces[index]
        return unsafe UnsafeMutableRawBufferPointer(start: piece.iov_base, count: piece.iov_len)
    }

    @inline(__always)
    mutating func append(_ address: UnsafeMutableRawPointer, _ bytes: Int) {
        let last = unsafe count > 0 ? pieces[count - 1] : iovec()
        unsafe add(address, bytes, isNext: unsafe last.iov_base.map { unsafe $0 + last.iov_len == address } ?? false)
    }

    /// Zeros come from one place, so that any number of fresh pages is one piece.
    @inline(__always)
    mutating func appendZeros(_ bytes: Int) {
        let last = unsafe count > 0 ? pieces[count - 1] : iovec()
        let isNext = unsafe last.iov_base == zeros && last.iov_len + bytes <= PageStorage.zeroLength
        unsafe add(zeros, bytes, isNext: isNext)
    }

    private mutating func add(_ address: UnsafeMutableRawPointer, _ bytes: Int, isNext: Bool) {
        length += bytes
        if isNext { return unsafe pieces[count - 1].iov_len += bytes }
        unsafe pieces[count] = iovec(iov_base: address, iov_len: bytes)
        count += 1
    }
}
