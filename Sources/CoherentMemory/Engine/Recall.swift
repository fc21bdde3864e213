import Dispatch
import LinuxSupport
import Synchronization
import SystemPackage

/// What a request must do if a device maps its pages, or they are on their way over a link.
public enum Recall: Sendable, Hashable {
    /// Continue: the device has released the pages meanwhile, or they have arrived.
    case done
    /// Wait: a callback reports when the devices have released the pages, or they have arrived.
    case underWay
    /// Fail without waiting, because the request covers other pages, too. The kernel then asks for each page
    /// separately.
    case pagewise
}

/// Runs something when the last of several has happened.
final class Countdown: Sendable {
    private let left: Atomic<Int>
    private let body: @Sendable () -> Void

    init(_ count: Int, _ body: @escaping @Sendable () -> Void) {
        left = Atomic(count)
        self.body = body
    }

    func step() {
        if left.subtract(1, ordering: .acquiringAndReleasing).newValue == 0 { body() }
    }
}

extension Machine {
    /// Asks devices to release pages that the CPU has touched. The invalidations wait in the queues of the devices;
    /// until then neither side uses the pages. Pages that are on their way over a link are waited for first.
    ///
    /// The kernel holds the locks of the pages that it reads in. So a command that takes pages out of the page cache
    /// must not depend on a waiting request: a read is held back only if devices map all of its pages, a write only if
    /// none of its pages is cached.
    ///
    /// - Parameters:
    ///   - isLocked: whether the kernel holds the locks of the pages meanwhile, as it does except for O_DIRECT.
    ///   - isWrite: whether the pages are stored to as a whole: then a write that may not wait continues.
    ///   - body: called if the request must wait. It runs on the thread of a device, at the place of the invalidation
    ///     in its queue, so that its reads and writes precede the commands behind it; or on the thread that moves the
    ///     pages, when they have arrived.
    public func recall(
        _ buffer: Buffer, at offset: UInt64, length: Int, isLocked: Bool = true, isWrite: Bool = false,
        _ body: @escaping @Sendable () -> Void
    ) -> Recall {
        let pages = offset >> Page.shift..<Page.count(of: offset + UInt64(max(0, length)))
        return buffer.state.withLock { state -> Recall in
            if let hold = state.hold, isMoving(pages, hold, in: state) {
                hold.waiters.append(body)
                return .underWay
            }
            let found = holders(of: pages, in: state)
            guard found.mapped > 0 else { return .done }
            guard !isLocked || (isWrite ? found.cached == 0 : found.mapped == found.present) else { return .pagewise }
            let concerned = state.contexts.filter { $0.maps(pages) }
            let countdown = Countdown(concerned.count, body)
            for device in concerned.map(\.device) {
                device.queue.invalidate(in: self) {
                    self.noteRecall(pages, of: buffer, from: device)
                    self.unmap(pages, of: buffer, from: device)
                    countdown.step()
                }
            }
            return .underWay
        }
    }

    /// How many pages of a range have frames, are mapped by devices, and may be in the page cache.
    private func holders(
        of pages: Range<UInt64>, in state: borrowing Buffer.State
    ) -> (present: Int, mapped: Int, cached: Int) {
        var found = (present: 0, mapped: 0, cached: 0)
        unsafe forEachMatch(pages, filter: .all, in: state) { _, slot in
            let entry = PageTableEntry(rawValue: unsafe slot.pointee)
            found.present += 1
            if entry.isDeviceMapped { found.mapped += 1 }
            if entry.isCached || entry.isUnmapping { found.cached += 1 }
        }
        return found
    }

    /// EAGAIN where a device maps a page of a range. The caller holds the buffer's lock.
    func checkDevices(_ pages: Range<UInt64>, isWrite: Bool = false, in state: borrowing Buffer.State) throws(Errno) {
        guard !state.contexts.isEmpty else { return }
        let found = holders(of: pages, in: state)
        // A write that may not wait takes the pages at once.
        guard found.mapped > 0, !isWrite || found.cached == 0 else { return }
        throw .resourceTemporarilyUnavailable
    }

    /// How long, in milliseconds, somebody who waits for devices may not notice that nobody wants the move any more.
    private static let patience = 10

    /// Takes pages that are about to move away from devices, and waits until these have let go; but for pages of a command
    /// that is just under way. For a thread that neither a request nor a device waits for.
    ///
    /// - Throws: EINTR when cancelled; the devices let go all the same.
    func recall(
        _ pages: Range<UInt64>, of buffer: Buffer, moving filter: PageFilter, isCancelled: () -> Bool
    ) throws(Errno) {
        let over = DispatchSemaphore(value: 0)
        let isNeeded = buffer.state.withLock { state in
            guard !state.contexts.isEmpty else { return false }
            let busy = state.contexts.flatMap(\.pinned)
            var isMapped = false
            unsafe forEachMatch(pages, filter: filter, in: state) { page, slot in
                let isBusy = busy.contains { $0.contains(page) }
                if !isBusy, PageTableEntry(rawValue: unsafe slot.pointee).isDeviceMapped { isMapped = true }
            }
            guard isMapped else { return false }
            let concerned = state.contexts.filter { $0.maps(pages) }.map(\.device)
            let countdown = Countdown(concerned.count) { over.signal() }
            for device in concerned {
                device.queue.invalidate(in: self) {
                    self.unmap(pages, of: buffer, from: device) { page, entry, _ in
                        self.matches(entry, filter) && !busy.contains { $0.contains(page) }
                    }
                    countdown.step()
                }
            }
            return true
        }
        guard isNeeded else { return }
        while over.wait(timeout: .now() + .milliseconds(Self.patience)) == .timedOut {
            if isCancelled() { throw .interrupted }
        }
    }

    /// Empties a device's page table of pages; what it knows of them comes back.
    func unmap(
        _ pages: Range<UInt64>, of buffer: Buffer, from device: Device,
        where isWanted: (UInt64, PageTableEntry, DeviceTableEntry) -> Bool = { _, _, _ in true }
    ) {
        buffer.state.withLock { state in
            guard let context = state.context(of: device) else { return }
            var tally = DeviceTally()
            var page = pages.lowerBound
            while page < pages.upperBound, let (leaf, base) = context.table.nextLeaf(from: page),
                base < pages.upperBound
            {
                let part = max(page, base)..<min(pages.upperBound, base + UInt64(TablePool.entries))
                page = part.upperBound
                guard let own = state.table.leaf(of: part.lowerBound) else {
                    preconditionFailure("a device maps pages that are not there")
                }
                let entries = unsafe state.table.entries(of: own)
                context.table.remove(part, leaf: leaf) { page, mapping in
                    let slot = unsafe entries + (Int(page) & (TablePool.entries - 1))
                    var entry = PageTableEntry(rawValue: unsafe slot.pointee)
                    let mapping = DeviceTableEntry(rawValue: mapping.rawValue)
                    guard isWanted(page, entry, mapping) else { return false }
                    tally.change(mapping, to: DeviceTableEntry(rawValue: 0))
                    tally.invalidations += 1
                    entry.isDeviceMapped = state.contexts.contains { $0 !== context && $0[page].isPresent }
                    // The accessed bit; the dirty one has no news: who may store was noted when he was let.
                    if mapping.isAccessed { entry.isReferenced = true }
                    unsafe slot.pointee = entry.rawValue
                    return true
                }
            }
            device.mmu.add(tally)
            state.dropContext(context)
        }
    }

    /// Takes a page away from all devices at once: for a write that may not wait for them, as it is about other pages, too, or
    /// because its memory failed. The caller holds the buffer's lock, and says so in the buffer's page table.
    func seize(_ page: UInt64, in state: inout Buffer.State) {
        for context in state.contexts where context[page].isPresent {
            context.unmap(page)
            state.dropContext(context)
        }
    }
}

extension DeviceContext {
    /// Whether any page of a range is mapped.
    func maps(_ pages: Range<UInt64>) -> Bool {
        var page = pages.lowerBound
        while page < pages.upperBound, let (leaf, base) = table.nextLeaf(from: page), base < pages.upperBound {
            let entries = unsafe table.entries(of: leaf)
            let part = max(page, base)..<min(pages.upperBound, base + UInt64(TablePool.entries))
            for page in part where unsafe entries[Int(page) & (TablePool.entries - 1)] != 0 { return true }
            page = part.upperBound
        }
        return false
    }
}
