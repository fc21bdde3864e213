import CoherentMemory
import Glibc
import SystemPackage

/// The advices of madvise(2) that have memory fail (madvise_inject_error() of mm/madvise.c).
extension CallContext {
    /// madvise(2) with MADV_HWPOISON or MADV_SOFT_OFFLINE.
    ///
    /// Memory of the host does not fail: there it is EINVAL, as on a kernel without these advices.
    func failMemory(start: UInt64, length: UInt64, advice: UInt64) throws(Errno) -> CallOutcome {
        let isPoison = advice & 0xffff_ffff == 100
        guard start & (Page.size - 1) == 0, length <= UInt64.max - (Page.size - 1) else { throw .invalidArgument }
        let length = (length + Page.size - 1) & ~(Page.size - 1)
        let (end, overflow) = start.addingReportingOverflow(length)
        guard !overflow else { throw .invalidArgument }
        guard length > 0 else { return .value(0) }
        guard mayFailMemory else { throw .notPermitted }
        var page = start
        while page < end {
            guard let area = try areas(of: nil, at: page..<page + 1).area(at: page) else { throw .badAddress }
            let addresses = page..<min(end, area.addresses.upperBound)
            guard let part = area.part(at: addresses) else { throw .invalidArgument }
            // A huge page of a pool fails as a whole.
            for offset in stride(from: 0, to: UInt64(part.bytes.count), by: 1 << part.buffer.failureShift) {
                try fail(
                    part.buffer, at: part.bytes.lowerBound + offset, address: page + offset, isOwn: area.isOwn,
                    isPoison: isPoison)
            }
            page = addresses.upperBound
        }
        return .value(0)
    }

    private func fail(
        _ buffer: Buffer, at offset: UInt64, address: UInt64, isOwn: Bool, isPoison: Bool
    ) throws(Errno) {
        if isOver { throw .interrupted }
        let bytes = offset..<offset + Page.size
        func run() -> PageRun? { machine.runs(of: buffer, from: offset, limit: 1).first { $0.offset <= offset } }
        if let run = run(), run.isPoisoned || run.isLost { throw Errno(rawValue: EHWPOISON) }
        // What is not there is loaded from first.
        if machine.nodeID(of: buffer, at: offset) == nil { _ = try read(address, 1) }
        // A page of zeros does not fail: it is the kernel's (me_kernel(), get_any_page()).
        if isOwn, machine.nodeID(of: buffer, at: offset) == nil { throw isPoison ? .resourceBusy : .ioError }
        if isPoison {
            try machine.poison(buffer, bytes: bytes, origin: Origin(pid: task, node: node)) { isOver }
            return
        }
        guard let run = run() else { throw .badAddress }
        try machine.softOffline(address: run.physicalAddress + (offset - run.offset)) { isOver }
    }
}
