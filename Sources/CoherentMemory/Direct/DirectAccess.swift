import Glibc
import LinuxSupport
import SystemPackage

extension Machine {
    /// Bytes copied under one hold of the buffer's lock.
    private static let chunk: UInt64 = 128 << 10

    /// Reads bytes of a direct buffer. They are copied under the lock, for the file may shrink as soon as that is free.
    ///
    /// - Returns: false where the buffer is not direct; then `body` was not called.
    func readDirect(
        _ buffer: Buffer, at offset: UInt64, length: Int, _ body: (UnsafeBufferPointer<iovec>) -> Void
    ) throws(Errno) -> Bool {
        let size = buffer.state.withLock { state -> UInt64? in
            guard state.backing != nil else { return nil }
            state.counters.read += 1
            return state.size
        }
        guard let size else { return false }
        let wanted = offset < size ? min(UInt64(max(0, min(length, Self.maximumRead))), size - offset) : 0
        let error: Errno? = unsafe withUnsafeTemporaryAllocation(byteCount: max(1, Int(wanted)), alignment: 4096) {
            bytes in
            var done: UInt64 = 0
            while done < wanted {
                let start = offset + done
                let end = min(offset + wanted, (start / Self.chunk + 1) * Self.chunk)
                do throws(Errno) {
                    let copied = try buffer.state.withLock { state throws(Errno) -> Int in
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

    /// Stores bytes into a direct buffer as far as it reaches; the frames are there already.
    func storeDirect(
        _ bytes: UnsafeRawBufferPointer, at offset: UInt64, into state: inout Buffer.State, _ backing: BackingFile
    ) throws(Errno) -> Int {
        guard offset < state.size, unsafe !bytes.isEmpty else { return 0 }
        let range = offset..<min(offset + UInt64(bytes.count), state.size)
        guard !backing.isWithheld(range) else { throw .ioError }
        try unsafe backing.write(UnsafeRawBufferPointer(rebasing: bytes[..<range.count]), at: offset)
        return range.count
    }

    /// Makes a direct buffer longer, after every page up to the new end got its frame.
    ///
    /// - Throws: ENOSPC or EPERM where not all could get one; then nothing has changed.
    func grow(_ buffer: Buffer, to size: UInt64, origin: Origin) throws(Errno) {
        while true {
            let old = buffer.size
            guard size > old else { return }
            try allocate(buffer, bytes: old..<size, keepsSize: true, origin: origin)
            settle(old >> Page.shift..<Page.count(of: size), of: buffer, moving: false)
            let isDone = try buffer.state.withLock { state throws(Errno) in
                // Somebody may have made it shorter, and freed what was just taken.
                guard state.size >= old else { return false }
                guard size > state.size else { return true }
                try state.backing?.resize(to: size)
                state.size = size
                return true
            }
            if isDone { return }
        }
    }

    /// The same as far as there are frames, for a write from `offset` on, which may be done in part.
    ///
    /// - Throws: as ``grow(_:to:origin:)`` where not even the first byte's page got one.
    func growPartly(_ buffer: Buffer, from offset: UInt64, to end: UInt64, origin: Origin) throws(Errno) {
        do throws(Errno) {
            try grow(buffer, to: end, origin: origin)
        } catch .noSpace {
            var isFirst = true
            var next = min(end, (offset / Page.size + 1) * Page.size)
            while true {
                do throws(Errno) {
                    try grow(buffer, to: next, origin: origin)
                } catch {
                    if isFirst { throw error }
                    return
                }
                guard next < end else { return }
                isFirst = false
                next = min(end, next + Page.size)
            }
        }
    }
}
