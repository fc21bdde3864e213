import CLinux
import CoherentMemory
import Glibc
import LinuxSupport
import SystemPackage

/// What the page table of a process has for one page: an entry of /proc/PID/pagemap and what PAGEMAP_SCAN adds.
struct PageState: Sendable {
    var entry: UInt64 = 0
    var isZero = false
    /// Mapped by an entry of an upper level: of 2 MiB or more.
    var isHuge = false

    var isPresent: Bool { entry >> 63 & 1 == 1 }
    var isSwapped: Bool { entry >> 62 & 1 == 1 }
    /// Of a file, or anonymous memory that is shared.
    var isFile: Bool { entry >> 61 & 1 == 1 }
    /// Whether no other process maps the page.
    var isExclusive: Bool { entry >> 56 & 1 == 1 }

    /// What stays the same for as long as the page does. The frame's number is in it where the daemon may see that.
    var identity: UInt64 { entry & 0xe07f_ffff_ffff_ffff }

    /// Whether a store would need no fault, as far as can be told from outside: for shared memory the permission.
    func isWritable(in area: MemoryArea) -> Bool {
        guard area.isWritable, isPresent, !isZero else { return false }
        return area.isShared || !isFile && isExclusive
    }
}

/// The page table of a process.
final class PageMap: Sendable {
    private let file: ProcDescriptor

    init(task: Int32) throws(Errno) { file = try ProcDescriptor("/proc/\(task)/pagemap") }

    /// The states of pages, in their order.
    func states(of pages: Range<UInt64>) throws(Errno) -> [PageState] {
        var entries = [UInt64](repeating: 0, count: pages.count)
        var done = 0
        while done < entries.count {
            let count = try SystemCall.retry {
                unsafe entries.withUnsafeMutableBytes { bytes in
                    unsafe pread(
                        file.number, bytes.baseAddress! + done * 8, bytes.count - done * 8,
                        Int(pages.lowerBound) * 8 + done * 8)
                }
            }
            // Beyond the last address, or the process has ended: nothing is there.
            if count < 8 { break }
            done += count / 8
        }
        var states = entries.map { PageState(entry: $0) }
        if states.contains(where: \.isPresent) { scan(pages, &states) }
        return states
    }

    /// Notes zero and huge pages; before Linux 6.7 there is no way to ask.
    private func scan(_ pages: Range<UInt64>, _ states: inout [PageState]) {
        let shift = Page.shift
        let end = pages.upperBound << shift
        var start = pages.lowerBound << shift
        var runs = [clinux_page_region](repeating: clinux_page_region(), count: 256)
        while start < end {
            var walked: UInt64 = 0
            let count = unsafe clinux_scan_pages(
                file.number, start, end, UInt64(CLINUX_PAGE_IS_ZERO | CLINUX_PAGE_IS_HUGE), &runs,
                UInt64(runs.count), &walked)
            guard count >= 0, walked > start else { return }
            for run in runs[..<Int(count)] {
                for page in max(run.start >> shift, pages.lowerBound)..<min(run.end >> shift, pages.upperBound) {
                    let index = Int(page - pages.lowerBound)
                    states[index].isZero = run.categories & UInt64(CLINUX_PAGE_IS_ZERO) != 0
                    states[index].isHuge = run.categories & UInt64(CLINUX_PAGE_IS_HUGE) != 0
                }
            }
            start = walked
        }
    }
}
