import Glibc
import LinuxSupport
import Synchronization
import SystemPackage

/// How programs' mappings of a buffer come to its bytes.
public enum MappingMode: String, Sendable, Hashable, CaseIterable {
    /// Through the page cache: first touches are seen, pages get their frames at the first touch.
    case tracked
    /// To a file of the buffer's own, which the host maps itself: no touch is seen, all frames are taken when the buffer is
    /// sized.
    case direct
}

extension Buffer {
    /// The file that has the bytes of a direct buffer; nil of a tracked one.
    public var backing: BackingFile? { isDirect ? state.withLock { $0.backing } : nil }

    /// How mappings come to the bytes.
    public var mapping: MappingMode { isDirect ? .direct : .tracked }

    @inline(__always)
    var isDirect: Bool { directness.load(ordering: .relaxed) }

    /// When a program last stored through a mapping that no touch is seen of, if it has since this was asked last. CLOCK_REALTIME.
    public func takeStoreTime() -> timespec? {
        isDirect ? state.withLock { $0.backing?.takeStoreTime() } : nil
    }

    func setBacking(_ backing: BackingFile?, in state: inout State) {
        state.backing = backing
        directness.store(backing != nil, ordering: .relaxed)
    }
}

extension Machine {
    /// Makes a tracked buffer direct: gives every page within its size a frame, as a touch by `origin` would, and moves the
    /// bytes into a file. Pages stay on their nodes, and there they go on being counted, moved and pinned. Where nobody chose
    /// how huge its pages are, they are ``HugeMode/withinSize`` from then on.
    ///
    /// Nobody but the machine may use the buffer meanwhile. Waits while a migration of the buffer moves a batch; never call
    /// it from a thread that the page cache may wait for.
    ///
    /// - Parameter backing: a file without bytes, which is the buffer's from then on.
    /// - Throws: EBUSY where it is direct already, or somebody uses it; EOPNOTSUPP for a contiguous buffer, or one of
    ///   reserved huge pages; EIO where memory of it failed; ENOSPC or EPERM where not every page could get a frame, and then it is as it was.
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
    /// Nobody but the machine may use the buffer meanwhile, or have it mapped. Waits as
    /// ``makeDirect(_:in:origin:)`` does.
    ///
    /// - Throws: EIO where memory of it failed.
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
