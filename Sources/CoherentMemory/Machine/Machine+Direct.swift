import LinuxSupport
import SystemPackage

extension Machine {
    /// Makes a tracked buffer direct: gives every page within its size a frame, as a touch by `origin` would, and moves
    /// the bytes into a file. Pages stay on their nodes, and are counted, moved and pinned there as before. If no huge
    /// mode was chosen, it becomes ``HugeMode/withinSize``.
    ///
    /// Only the machine may use the buffer meanwhile. Waits while a migration of the buffer moves a batch; never call
    /// it from a thread that the page cache may wait for.
    ///
    /// - Parameters:
    ///   - buffer: the buffer.
    ///   - backing: a file without bytes, which the buffer owns from then on.
    ///   - origin: the task that asks, and its node.
    /// - Throws: EBUSY if it is direct already, or in use; EOPNOTSUPP for a contiguous buffer, or one of reserved huge
    ///   pages; EIO if memory of it has failed; ENOSPC or EPERM if not every page can get a frame, and then the buffer
    ///   is not changed.
    public func makeDirect(_ buffer: Buffer, in backing: BackingFile, origin: Origin) throws(Errno) {
        try buffer.migrationTurn.withLock { _ throws(Errno) in
            let huge = try buffer.state.withLock { state throws(Errno) -> HugeMode in
                guard state.backing == nil else { throw .resourceBusy }
                guard state.contiguous == nil, state.huge != .pool else { throw .notSupported }
                guard state.pages.markers == 0 else { throw .ioError }
                let huge = state.huge
                if !state.isHugeChosen { state.huge = .withinSize }
                try? backing.setHuge(state.huge != .never)
                return huge
            }
            do throws(Errno) {
                guard memory.empty(buffer, pages: 0..<UInt64.max >> Page.shift) else { throw Errno.resourceBusy }
                let size = buffer.size
                if size > 0 { try allocate(buffer, bytes: 0..<size, keepsSize: true, origin: origin) }
                memory.placeOnHost(0..<Page.count(of: size), of: buffer, in: backing, moving: false)
                try buffer.state.withLock { state throws(Errno) in
                    guard state.size == size, state.contiguous == nil, state.huge != .pool, state.pages.markers == 0
                    else {
                        throw .resourceBusy
                    }
                    try backing.resize(to: size)
                    try state.moveBytes(to: backing)
                    _ = backing.takeStoreTime()
                    buffer.setBacking(backing, in: &state)
                }
                trace.note(.direct, of: buffer, 1)
                trace.note(.hugeMode, of: buffer, buffer.hugeMode.place)
            } catch {
                buffer.state.withLock { if !$0.isHugeChosen { $0.huge = huge } }
                throw error
            }
        }
    }

    /// Makes a direct buffer tracked again: its bytes move into the storage of its page table. It keeps its frames.
    ///
    /// Only the machine may use the buffer meanwhile, and it must not be mapped. Waits as ``makeDirect(_:in:origin:)``
    /// does.
    ///
    /// - Throws: EIO if memory of it has failed.
    public func makeTracked(_ buffer: Buffer) throws(Errno) {
        try buffer.migrationTurn.withLock { _ throws(Errno) in
            try buffer.state.withLock { state throws(Errno) in
                guard let backing = state.backing else { return }
                guard backing.withheld.isEmpty, state.pages.markers == 0 else { throw .ioError }
                state.takeBytes(from: backing)
                buffer.setBacking(nil, in: &state)
            }
        }
        trace.note(.direct, of: buffer, 0)
    }

    /// Makes a direct buffer longer, after every page up to the new end got its frame.
    ///
    /// - Throws: ENOSPC, EDQUOT or EPERM where not all could get one; then nothing has changed.
    func grow(_ buffer: Buffer, to size: UInt64, origin: Origin) throws(Errno) {
        while true {
            let old = buffer.size
            guard size > old else { return }
            try allocate(buffer, bytes: old..<size, keepsSize: true, origin: origin)
            memory.placeOnHost(old >> Page.shift..<Page.count(of: size), of: buffer, moving: false)
            let isDone = try buffer.state.withLock { state throws(Errno) in
                // Another thread may have made it shorter, and freed what was just taken.
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
        } catch  where error == .noSpace || error == .diskQuotaExceeded {
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
