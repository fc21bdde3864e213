import CZlib
import Glibc
import LinuxSupport
import SystemPackage

extension Engine {
    /// Executes a command on the device's own thread; its pages stay where they are meanwhile.
    ///
    /// - Returns: its error, and its value.
    func execute(_ command: DeviceCommand, on device: Device, by process: Int32) -> (error: Errno?, value: UInt64) {
        for range in command.ranges { pin(range, for: device) }
        defer { for range in command.ranges { unpin(range, for: device) } }
        let origin = Origin(pid: process, node: device.node.id, isDevice: true)
        let incarnation = device.node.incarnation
        func actor(_ touch: DeviceTouch) -> DeviceActor {
            DeviceActor(device: device, incarnation: incarnation, origin: origin, touch: touch)
        }
        var done: UInt64 = 0
        do throws(Errno) {
            try check(actor(.read))
            for range in command.ranges where range.bytes.upperBound > range.buffer.size { throw Errno.badAddress }
            switch command {
            case .fence: break
            case .fill(let range, let byte):
                try unsafe forEachPiece(of: range, for: actor(.write), &done) { piece in
                    unsafe memset(piece.baseAddress!, Int32(byte), piece.count)
                }
            case .crc32(let range):
                var checksum: uLong = 0
                try unsafe forEachPiece(of: range, for: actor(.read), &done) { piece in
                    unsafe checksum = crc32_z(checksum, piece.baseAddress!, piece.count)
                }
                return (nil, UInt64(checksum))
            case .read(let range): try unsafe forEachPiece(of: range, for: actor(.read), &done) { _ in }
            case .write(let range): try unsafe forEachPiece(of: range, for: actor(.write), &done) { _ in }
            case .exclusive(let range): try unsafe forEachPiece(of: range, for: actor(.exclusive), &done) { _ in }
            case .copy(let source, let target):
                try copy(source, to: target, reading: actor(.read), writing: actor(.write), &done)
            }
        } catch {
            if case .crc32 = command { done = 0 }
            return (error, done)
        }
        return (nil, done)
    }

    /// Whether a command can go on. ENODEV when the device, or its link, has gone; ECANCELED when its queue is closed.
    func check(_ actor: DeviceActor) throws(Errno) {
        guard actor.isPresent else { throw .operationNotSupportedByDevice }
        if actor.device.queue.isClosed { throw .canceled }
    }

    // MARK: Pins

    private func pin(_ range: BufferRange, for device: Device) {
        range.buffer.state.withLock { $0.pages.pin(range.pages, for: device.mmu) }
    }

    private func unpin(_ range: BufferRange, for device: Device) {
        let misplaced = range.buffer.state.withLock { $0.pages.unpin(range.pages, for: device.mmu) }
        moveBeside(misplaced, of: range.buffer, to: device.node, for: device) { device.policy.count(toDevice: $0) }
    }

    // MARK: Bytes

    /// Calls `body` with the bytes of a range, piece by piece under the buffer's lock.
    func forEachPiece(
        of range: BufferRange, for actor: DeviceActor, _ done: inout UInt64,
        _ body: (UnsafeMutableRawBufferPointer) -> Void
    ) throws(Errno) {
        var writtenBack: UInt64 = 0
        while done < range.bytes.count {
            try check(actor)
            let part = range.part(at: done)
            let length = try withPieces { pieces throws(Errno) in
                try range.buffer.state.withLock { state throws(Errno) in
                    try state.resolve(part, in: memory, for: actor, into: &pieces)
                    for index in 0..<pieces.count { unsafe body(pieces[index]) }
                }
                return pieces.length
            }
            done += UInt64(length)
            if length < part.count { try makeWay(in: range, at: done, for: actor, &writtenBack) }
        }
    }

    /// Takes pages of a range from other devices, or out of the page cache, from one on that is there.
    ///
    /// - Parameter writtenBack: the page from which on nothing was written back in bulk yet.
    func makeWay(
        in range: BufferRange, at done: UInt64, for actor: DeviceActor, _ writtenBack: inout UInt64
    ) throws(Errno) {
        let page = (range.bytes.lowerBound + done) >> Page.shift
        // A few at a time, so that who uses them does not have the first ones back before the last one is out.
        let pages = page..<min(range.pages.upperBound, page + 64)
        if try takeFromDevices(range.buffer, pages: pages, for: actor) { return }
        if page >= writtenBack {
            writtenBack = memory.writeBackAhead(of: range.buffer, from: page, to: range.pages.upperBound)
        }
        try takeFromPageCache(range.buffer, pages: pages, for: actor)
    }

    func withPieces(_ body: (inout Pieces) throws(Errno) -> Int) throws(Errno) -> Int {
        let result: Result<Int, Errno> = unsafe withUnsafeTemporaryAllocation(
            of: iovec.self, capacity: Pieces.deviceCapacity
        ) { vectors in
            var pieces = unsafe Pieces(vectors.baseAddress!, in: memory.tables)
            do throws(Errno) {
                return .success(try body(&pieces))
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }
}
