import Glibc
import LinuxSupport
import Synchronization
import SystemPackage

/// How programs map the bytes of a buffer.
public enum MappingMode: String, Sendable, Hashable, CaseIterable {
    /// Through the page cache: the daemon sees first touches, and pages get their frames at the first touch.
    case tracked
    /// A file of the buffer's own, which the host maps: the daemon sees no touch, and all frames are taken when the
    /// buffer is sized.
    case direct
}

extension Buffer {
    /// The file with the bytes of a direct buffer; nil for a tracked one.
    public var backing: BackingFile? { isDirect ? state.withLock { $0.backing } : nil }

    /// How programs map the bytes.
    public var mapping: MappingMode { isDirect ? .direct : .tracked }

    @inline(__always)
    var isDirect: Bool { directness.load(ordering: .relaxed) }

    /// The time of the last store through a direct mapping, if there was one since the last call. CLOCK_REALTIME.
    public func takeStoreTime() -> timespec? {
        isDirect ? state.withLock { $0.backing?.takeStoreTime() } : nil
    }

    func setBacking(_ backing: BackingFile?, in state: inout State) {
        state.backing = backing
        directness.store(backing != nil, ordering: .relaxed)
    }
}

extension Machine {
    /// Makes a tracked buffer direct: gives every page within its size a frame, as a touch by `origin` would, and moves
    /// the bytes into a file. Pages stay on their nodes, and are counted, moved and pinned there as before. If no huge
    /// mode was chosen, it becomes ``HugeMode/withinSize``.
    ///
    /// Only the machine may use the buffer meanwhile. Waits while a migration of the buffer moves a batch; never call
    /// it from a thread that the page cache may wait for.
    ///
    /// - Parameter backing: a file without bytes, which the buffer owns from then on.
    /// - Throws: EBUSY if it is direct already, or in use; EOPNOTSUPP for a contiguous buffer, or one of reserved huge
    ///   pages; EIO if memory of it has failed; ENOSPC or EPERM if not every page can get a frame, and then the buffer
    ///   is not changed.
    public func makeDirect(_ buffer: Buffer, in backing: BackingFile, origin: Origin) throws(Errno) {
        try buffer.migrationTurn.withLock { _ throws(Errno) in
            let huge = try buffer.state.withLock { state throws(Errno) -> HugeMode in
                guard state.backing == nil else { throw .resourceBusy }
                guard state.contiguous == nil, state.huge != .pool else { throw .notSupported }
                guard state.markers == 0 else { throw .ioError }
                let huge = state.huge
                if !state.isHugeChosen { state.huge = .withinSize }
                try? backing.setHuge(state.huge != .never)
                return huge
            }
            do throws(Errno) {
                guard empty(buffer, pages: 0..<UInt64.max >> Page.shift) else { throw Errno.resourceBusy }
                let size = buffer.size
                if size > 0 { try allocate(buffer, bytes: 0..<size, keepsSize: true, origin: origin) }
                settle(0..<Page.count(of: size), of: buffer, in: backing, moving: false)
                try buffer.state.withLock { state throws(Errno) in
                    guard state.size == size, state.contiguous == nil, state.huge != .pool, state.markers == 0
                    else {
                        throw .resourceBusy
                    }
                    try backing.resize(to: size)
                    try moveBytes(of: &state, to: backing)
                    _ = backing.takeStoreTime()
                    buffer.setBacking(backing, in: &state)
                }
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
                guard backing.withheld.isEmpty, state.markers == 0 else { throw .ioError }
                var written = PageTally()
                backing.forEachData(in: 0..<state.size) { bytes in
                    for page in bytes.lowerBound >> Page.shift..<Page.count(of: bytes.upperBound) {
                        guard let leaf = state.table.leaf(of: page) else { continue }
                        let slot = unsafe state.table.entries(of: leaf) + (Int(page) & (TablePool.entries - 1))
                        var entry = PageTableEntry(rawValue: unsafe slot.pointee)
                        let address = unsafe backing.address(of: page << Page.shift)
                        unsafe tables.storage.fill(
                            tables.place(of: slot), with: UnsafeRawBufferPointer(start: address, count: Int(Page.size)))
                        entry.isWritten = true
                        written.add(entry.pfn, in: self) { $0.counters.written.add($1) }
                        unsafe slot.pointee = entry.rawValue
                    }
                }
                written.flush { $0.counters.written.add($1) }
                buffer.setBacking(nil, in: &state)
            }
        }
    }

    /// Takes the bytes of a direct buffer away for good: whoever still maps them gets SIGBUS.
    func abandonBacking(of buffer: Buffer) {
        buffer.state.withLock { state in
            try? state.backing?.resize(to: 0)
            buffer.setBacking(nil, in: &state)
        }
    }

    /// Copies what was stored, and gives its memory back.
    private func moveBytes(of state: inout Buffer.State, to backing: BackingFile) throws(Errno) {
        var isBusy = false
        unsafe forEachMatch(0..<UInt64.max >> Page.shift, filter: .all, in: state) { _, slot in
            if unsafe PageTableEntry(rawValue: slot.pointee).isCached || tables.isRead(tables.slot(of: slot).table) {
                isBusy = true
            }
        }
        guard !isBusy else { throw .resourceBusy }
        let end = Page.count(of: state.size)
        var emptied = PageTally()
        var holes = StorageHoles(in: tables)
        unsafe forEachMatch(0..<UInt64.max >> Page.shift, filter: .all, in: state) { page, slot in
            var entry = PageTableEntry(rawValue: unsafe slot.pointee)
            guard entry.isWritten else { return }
            if page < end {
                unsafe memcpy(backing.address(of: page << Page.shift), tables.address(of: slot), Int(Page.size))
            }
            unsafe holes.add(slot)
            entry.isWritten = false
            unsafe slot.pointee = entry.rawValue
            emptied.add(entry.pfn, in: self) { $0.counters.written.add(-$1) }
        }
        holes.punch()
        emptied.flush { $0.counters.written.add(-$1) }
    }
}
