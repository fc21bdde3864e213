import LinuxSupport
import Synchronization
import SystemPackage

extension Machine {
    /// Puts the frame at a physical address back into service (cxl_clear_poison(), unpoison_memory()). A page that is
    /// still marked in a buffer becomes a hole, and reads as zeros.
    ///
    /// - Parameter address: any byte of the page.
    /// - Returns: whether the frame had failed.
    /// - Throws: ENXIO if no memory can be there.
    @discardableResult
    public func clearFailure(address: UInt64) throws(Errno) -> Bool { try failures.clearFailure(address: address) }

    /// Poisons the page at a physical address (memory_failure() of mm/memory-failure.c): its contents are lost, touches
    /// of it fail until the page is taken out of its buffer, and its frame is out of use.
    ///
    /// Blocks until the page has left the page cache; never call it from a thread that the page cache may wait for.
    ///
    /// - Parameters:
    ///   - address: any byte of the page.
    ///   - reason: the reason that is recorded.
    ///   - isCancelled: checked while the frame is between two owners.
    /// - Throws: ENXIO if there is no memory; EHWPOISON for a page that has failed before; EINTR when cancelled, and
    ///   then the page is not changed.
    public func poison(
        address: UInt64, reason: FailureReason = .external, isCancelled: () -> Bool = { false }
    ) throws(Errno) {
        try failures.poison(address: address, reason: reason, isCancelled: isCancelled)
    }

    /// Poisons pages of a buffer (madvise(2) with MADV_HWPOISON). A page without a frame gets one first. Pages that
    /// have failed before are skipped. Blocks as ``poison(address:reason:isCancelled:)`` does.
    ///
    /// - Parameters:
    ///   - buffer: the buffer.
    ///   - bytes: page-aligned, within the buffer.
    ///   - origin: the toucher of pages without a frame.
    ///   - isCancelled: checked repeatedly.
    /// - Throws: EINVAL for a bad range, ENOMEM or EPERM if a page cannot get a frame, EINTR when cancelled. Pages
    ///   before the one that failed stay poisoned.
    public func poison(
        _ buffer: Buffer, bytes: Range<UInt64>, origin: Origin, isCancelled: () -> Bool = { false }
    ) throws(Errno) {
        try failures.poison(buffer, bytes: bytes, origin: origin, isCancelled: isCancelled)
    }

    /// Whether any memory was ever poisoned.
    public var hasPoisonedMemory: Bool { failures.hasPoison.load(ordering: .relaxed) }

    /// The frames of a node that are out of use, in runs, ascending.
    public func failedRanges(of node: Node) -> [FailedRange] { failedRanges(of: node, from: 0, limit: .max) }

    /// The first of these runs at or behind a physical address, at most `limit`.
    public func failedRanges(of node: Node, from address: UInt64, limit: Int) -> [FailedRange] {
        node.failures { failures in
            var ranges: [FailedRange] = []
            failures.visit(from: node.span.firstIndex(from: address >> Page.shift)) { frame, record in
                guard record.isRetired else { return true }
                let address = node.span.pfn(at: frame) << Page.shift
                if let last = ranges.last, last.physicalAddress + last.length == address, last.reason == record.reason {
                    ranges[ranges.count - 1].length += Page.size
                    return true
                }
                guard ranges.count < limit else { return false }
                ranges.append(FailedRange(physicalAddress: address, length: Page.size, reason: record.reason))
                return true
            }
            return ranges
        }
    }

    /// Takes a working frame at a physical address out of use (soft_offline_page()): its page moves to another frame,
    /// on the same node or else in RAM by distance; programs see no change.
    ///
    /// Blocks until the page has moved; never call it from a thread that the page cache may wait for. A page that has
    /// failed already is not changed.
    ///
    /// - Parameters:
    ///   - address: any byte of the page.
    ///   - isCancelled: checked repeatedly.
    /// - Throws: ENXIO if no memory can be there, EIO if none is online, EBUSY for a page that is pinned, ENOMEM if
    ///   there is no other frame, or no other run for a contiguous buffer, which moves as a whole; EINTR when
    ///   cancelled; then the frame stays in use.
    public func softOffline(address: UInt64, isCancelled: () -> Bool = { false }) throws(Errno) {
        try failures.softOffline(address: address, isCancelled: isCancelled)
    }

    /// Cuts the link of a device, as when a cable is pulled: the node disappears with all its blocks, and every page on
    /// it is lost. Touches of these pages fail until they are taken out of their buffers; pages elsewhere are not
    /// affected.
    ///
    /// Blocks until the pages have left the page cache; never call it from a thread that the page cache may wait for.
    /// Does nothing while the link is down.
    ///
    /// - Parameters:
    ///   - device: the device.
    ///   - onLoss: called with the lost memory after touches no longer find it, before the page cache releases it.
    public func cutLink(of device: Device, _ onLoss: ([LostMemory]) -> Void = { _ in }) {
        failures.cutLink(of: device, onLoss)
    }

    /// Restores the link of a device whose link was cut; ``rescan()`` then finds it. Does nothing while the link is up.
    public func restoreLink(of device: Device) { failures.restoreLink(of: device) }

    /// The physical address of a device address. The device's initial memory begins at 0; its range for added memory
    /// follows it.
    ///
    /// - Throws: EINVAL for an address that is not a multiple of 64, or not the device's (cxl_validate_poison_dpa()).
    public func physicalAddress(_ address: UInt64, of device: Device) throws(Errno) -> UInt64 {
        try device.node.span.physicalAddress(address)
    }

    /// The device address of a physical address of its memory.
    public func deviceAddress(_ address: UInt64, of device: Device) -> UInt64 {
        let span = device.node.span
        let pfn = address >> Page.shift
        let page =
            span.base.contains(pfn)
            ? pfn - span.base.lowerBound : UInt64(span.base.count) + pfn - span.window.lowerBound
        return page << Page.shift | address & (Page.size - 1)
    }

    /// Poisons a page of a device by its device address (cxl_inject_poison()); a poisoned page stays poisoned. Blocks
    /// as ``poison(address:reason:isCancelled:)`` does.
    ///
    /// - Throws: EINVAL for a bad address, ENXIO if there is no memory, EINTR when cancelled.
    public func injectPoison(
        _ address: UInt64, of device: Device, reason: FailureReason = .injected, isCancelled: () -> Bool = { false }
    ) throws(Errno) {
        try failures.injectPoison(address, of: device, reason: reason, isCancelled: isCancelled)
    }

    /// Injects corrected errors of a page. At the threshold the page is taken out of use, if possible.
    ///
    /// - Parameters:
    ///   - count: the number of errors, at least 1.
    ///   - address: a device address; nil for random ones.
    ///   - device: the device.
    ///   - isCancelled: checked repeatedly.
    /// - Throws: EINVAL for a bad address, EINTR when cancelled.
    public func injectCorrectable(
        _ count: UInt64, at address: UInt64? = nil, of device: Device, isCancelled: () -> Bool = { false }
    ) throws(Errno) {
        try failures.injectCorrectable(count, at: address, of: device, isCancelled: isCancelled)
    }

    /// Makes errors at a device's rates until they are 0. Only for the caller that got true from
    /// ``ErrorModel/begin()``.
    public func runErrorModel(of device: Device, isCancelled: () -> Bool) {
        failures.runErrorModel(of: device, isCancelled: isCancelled)
    }

    /// Injects errors of the link of a device: the errors are counted, and until the link is retrained, reads of the
    /// device's memory that are not cached, and copies to and from it, wait, even if the link is not paced.
    ///
    /// - Parameters:
    ///   - count: the number of consecutive errors, at most 1000.
    ///   - device: the device.
    /// - Throws: ERANGE for a bad count, ENODEV if the device is gone.
    public func injectLinkErrors(_ count: UInt64, of device: Device) throws(Errno) {
        try failures.injectLinkErrors(count, of: device)
    }

    /// The number of bytes of a range before the first page whose memory has failed; all of them if the range begins
    /// with one.
    public func goodLength(of buffer: Buffer, at offset: UInt64, length: Int) -> Int {
        let end = Page.count(of: offset + UInt64(max(0, length)))
        let failed = buffer.state.withLock { $0.pages.firstMarker(in: offset >> Page.shift..<end) }
        guard let failed, failed > offset >> Page.shift else { return length }
        return Int(failed << Page.shift - offset)
    }
}
