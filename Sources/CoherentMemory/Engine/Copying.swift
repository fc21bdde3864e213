import CLinux
import Glibc
import LinuxSupport
import SystemPackage

extension Engine {
    /// From so many bytes on a copy does not go through the host's caches, which would not hold it.
    private static let streamed = 8 << 20

    /// Copies bytes between two ranges of the same length.
    func copy(
        _ source: BufferRange, to target: BufferRange, reading: DeviceActor, writing: DeviceActor, _ done: inout UInt64
    ) throws(Errno) {
        if source.buffer === target.buffer, source.bytes.overlaps(target.bytes) {
            return try move(source, to: target, reading: reading, writing: writing, &done)
        }
        var writtenBack: (source: UInt64, target: UInt64) = (0, 0)
        let isLong = source.bytes.count >= Self.streamed
        while done < source.bytes.count {
            try check(reading)
            let from = source.part(at: done)
            let start = target.bytes.lowerBound + done
            let to = start..<start + UInt64(from.count)
            var lengths = (source: 0, target: 0)
            let length = try withPieces { read throws(Errno) in
                try withPieces { write throws(Errno) in
                    try withStates(of: source.buffer, target.buffer) { first, second throws(Errno) in
                        try first.resolve(from, in: memory, for: reading, into: &read)
                        try second.resolve(to, in: memory, for: writing, into: &write)
                        read.copy(to: write, isLong: isLong)
                    } same: { state throws(Errno) in
                        try state.resolve(from, in: memory, for: reading, into: &read)
                        try state.resolve(to, in: memory, for: writing, into: &write)
                        read.copy(to: write, isLong: isLong)
                    }
                    lengths = (read.length, write.length)
                    return min(read.length, write.length)
                }
            }
            if lengths.source < from.count {
                try makeWay(in: source, at: done + UInt64(lengths.source), for: reading, &writtenBack.source)
            }
            if lengths.target < from.count {
                try makeWay(in: target, at: done + UInt64(lengths.target), for: writing, &writtenBack.target)
            }
            done += UInt64(length)
        }
    }

    /// Takes the locks of two buffers, in the order of their ids, or the one lock where they are the same.
    private func withStates(
        of first: Buffer, _ second: Buffer,
        _ body: (inout Buffer.State, inout Buffer.State) throws(Errno) -> Void,
        same: (inout Buffer.State) throws(Errno) -> Void
    ) throws(Errno) {
        if first === second {
            try first.state.withLock { state throws(Errno) in try same(&state) }
        } else if first.id < second.id {
            try first.state.withLock { one throws(Errno) in
                try second.state.withLock { two throws(Errno) in try body(&one, &two) }
            }
        } else {
            try second.state.withLock { two throws(Errno) in
                try first.state.withLock { one throws(Errno) in try body(&one, &two) }
            }
        }
    }

    /// Copies bytes between ranges of a buffer that overlap: from the end that the other range does not reach into.
    private func move(
        _ source: BufferRange, to target: BufferRange, reading: DeviceActor, writing: DeviceActor, _ done: inout UInt64
    ) throws(Errno) {
        let length = UInt64(source.bytes.count)
        let isForward = target.bytes.lowerBound <= source.bytes.lowerBound
        var part: [UInt8] = []
        while done < length {
            let count = min(length - done, Pieces.maximumBytes)
            let offset = isForward ? done : length - done - count
            var moved: UInt64 = 0
            part.removeAll(keepingCapacity: true)
            let from = try BufferRange(source.buffer, at: source.bytes.lowerBound + offset, length: count)
            try unsafe forEachPiece(of: from, for: reading, &moved) { unsafe part.append(contentsOf: $0) }
            moved = 0
            var position = 0
            let to = try BufferRange(target.buffer, at: target.bytes.lowerBound + offset, length: count)
            try unsafe forEachPiece(of: to, for: writing, &moved) { piece in
                unsafe part.withUnsafeBytes { bytes in
                    unsafe piece.copyMemory(
                        from: UnsafeRawBufferPointer(rebasing: bytes[position...].prefix(piece.count)))
                }
                position += piece.count
            }
            done += count
        }
    }
}

extension Pieces {
    /// Copies as many bytes as both have.
    fileprivate func copy(to target: borrowing Pieces, isLong: Bool) {
        var (first, second) = (0, 0)
        var (skipped, filled) = (0, 0)
        while first < count, second < target.count {
            let (source, place) = unsafe (self[first], target[second])
            let bytes = min(source.count - skipped, place.count - filled)
            let (to, from) = unsafe (place.baseAddress! + filled, source.baseAddress! + skipped)
            if isLong { unsafe clinux_copy_streaming(to, from, bytes) } else { unsafe memcpy(to, from, bytes) }
            skipped += bytes
            filled += bytes
            if skipped == source.count { (first, skipped) = (first + 1, 0) }
            if filled == place.count { (second, filled) = (second + 1, 0) }
        }
    }
}
