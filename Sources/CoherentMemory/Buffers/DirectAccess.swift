import Glibc
import LinuxSupport
import SystemPackage

extension Buffer {
    /// Bytes copied under one hold of the buffer's lock.
    private static let chunk: UInt64 = 128 << 10

    /// Reads bytes of a direct buffer. They are copied under the lock, for the file may shrink as soon as that is free.
    ///
    /// - Returns: false where the buffer is not direct; then `body` was not called.
    func readDirect(
        at offset: UInt64, length: Int, _ body: (UnsafeBufferPointer<iovec>) -> Void
    ) throws(Errno) -> Bool {
        let size = state.withLock { state -> UInt64? in
            guard state.backing != nil else { return nil }
            state.counters.read += 1
            return state.size
        }
        guard let size else { return false }
        let wanted = offset < size ? min(UInt64(max(0, min(length, PageStorage.zeroLength))), size - offset) : 0
        let error: Errno? = unsafe withUnsafeTemporaryAllocation(byteCount: max(1, Int(wanted)), alignment: 4096) {
            bytes in
            var done: UInt64 = 0
            while done < wanted {
                let start = offset + done
                let end = min(offset + wanted, (start / Self.chunk + 1) * Self.chunk)
                do throws(Errno) {
                    let copied = try state.withLock { state throws(Errno) -> Int in
                        guard let backing = state.backing, start < state.size else { return 0 }
                        let range = start..<min(end, state.size, backing.firstWithheld(from: start) ?? .max)
                        guard !range.isEmpty else { throw .ioError }
                        let part = unsafe UnsafeMutableRawBufferPointer(
                            start: bytes.baseAddress! + Int(done), count: range.count)
                        try unsafe backing.read(into: part, at: start)
                        return range.count
                    }
                    done += UInt64(copied)
                    if copied < Int(end - start) { break }
                } catch {
                    // What was read before the first bad page is an answer.
                    if done == 0 { return error }
                    break
                }
            }
            var vector = unsafe iovec(iov_base: bytes.baseAddress, iov_len: Int(done))
            unsafe withUnsafePointer(to: &vector) { vector in
                unsafe body(UnsafeBufferPointer(start: vector, count: done == 0 ? 0 : 1))
            }
            return nil
        }
        if let error { throw error }
        return true
    }
}

extension Buffer.State {
    /// Stores bytes into a direct buffer as far as it reaches; the frames are there already.
    func storeDirect(
        _ bytes: UnsafeRawBufferPointer, at offset: UInt64, _ backing: BackingFile
    ) throws(Errno) -> Int {
        guard offset < size, unsafe !bytes.isEmpty else { return 0 }
        let range = offset..<min(offset + UInt64(bytes.count), size)
        guard !backing.isWithheld(range) else { throw .ioError }
        try unsafe backing.write(UnsafeRawBufferPointer(rebasing: bytes[..<range.count]), at: offset)
        return range.count
    }
}
