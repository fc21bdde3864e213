import CLinux
import CoherentMemory
import Glibc
import LinuxSupport
import SystemPackage

/// Finds out which pages the CPU has touched since they were laid to rest, without the help of the process.
///
/// MADV_COLD takes the accessed bit from a page, and the next access by the CPU sets it again. Nothing shows that bit page by
/// page, but smaps counts those of a mapping: what the count loses when a page is laid to rest again is that page's own.
/// Where other pages of the same mapping are touched at that very moment, a touch may go unnoticed until the next one.
final class TouchDetector: Sendable {
    /// What smaps says of a mapping, bytes.
    struct Usage {
        var resident: UInt64 = 0
        var referenced: UInt64 = 0
        /// Of the pages that the kernel maps it with.
        var pageSize: UInt64 = 0
    }

    /// How many pages are asked for one by one; more go in groups, which come back as a whole. So they do in a process with so
    /// much memory that to look at it so often would take too long.
    private static let limit = 1024
    private static let fewest = 16
    private static let timeLimit = Duration.seconds(5)

    private let smaps: ProcDescriptor
    private let process: ProcDescriptor

    init(process: Int32) throws(Errno) {
        smaps = try ProcDescriptor("/proc/\(process)/smaps")
        self.process = try ProcDescriptor(adopting: pidfd_open(process, 0))
    }

    /// Takes the accessed bits from pages; false where that is not possible: the daemon is not privileged, or the memory is
    /// locked.
    func rest(_ addresses: Range<UInt64>) -> Bool {
        clinux_advise(process.number, addresses.lowerBound, UInt64(addresses.count), Int32(CLINUX_MADV_COLD)) == 0
    }

    /// Makes pages that were allocated just now such as can be laid to rest.
    func drainNewPages() { clinux_drain_new_pages() }

    /// The use of a mapping; nil where it is not as it was.
    func usage(of area: MemoryArea) -> Usage? {
        var usage: Usage?
        try? smaps.forEachLine { line in
            guard !line.isEmpty else { return true }
            let first = line[0]
            // The fields have names in capitals; a mapping begins with its address.
            if first < UInt8(ascii: "A") || first >= UInt8(ascii: "a") {
                if usage != nil { return false }
                let start = Self.number(line, from: 0, radix: 16)
                if start == area.addresses.lowerBound { usage = Usage() }
                return start <= area.addresses.lowerBound
            }
            if usage == nil { return true }
            if Self.has(line, "Rss:") {
                usage?.resident = Self.number(line, from: 4, radix: 10) << 10
            } else if Self.has(line, "Referenced:") {
                usage?.referenced = Self.number(line, from: 11, radix: 10) << 10
                return false
            } else if Self.has(line, "KernelPageSize:") {
                usage?.pageSize = Self.number(line, from: 15, radix: 10) << 10
            }
            return true
        }
        return usage
    }

    private static func has(_ line: Span<UInt8>, _ name: StaticString) -> Bool {
        guard line.count > name.utf8CodeUnitCount else { return false }
        return (0..<name.utf8CodeUnitCount).allSatisfy { unsafe line[$0] == name.utf8Start[$0] }
    }

    private static func number(_ line: Span<UInt8>, from place: Int, radix: UInt64) -> UInt64 {
        var value: UInt64 = 0
        for index in place..<line.count {
            let byte = line[index]
            if byte == UInt8(ascii: " ") { continue }
            let digit = byte >= UInt8(ascii: "a") ? UInt64(byte) - 87 : UInt64(byte) &- 48
            guard digit < radix else { break }
            value = value &* radix &+ digit
        }
        return value
    }

    /// Those of the pages of a mapping at rest, ascending, that were touched since they were laid to it. All of the mapping
    /// rests afterwards, so the pages must be all that matter in it.
    func touched(_ pages: [UInt64], in area: MemoryArea) -> [UInt64] {
        if pages.isEmpty { return [] }
        let start = ContinuousClock.now
        guard let all = usage(of: area) else { return pages }
        let time = ContinuousClock.now - start
        if all.referenced == 0 { return [] }
        if all.referenced == all.resident { return pages }
        // Once the other pages of the mapping rest, too, the count is of these alone.
        for gap in Self.gaps(between: Self.groups(of: pages), in: area) { _ = rest(Self.addresses(of: gap)) }
        guard var last = usage(of: area) else { return pages }
        if last.referenced == 0 { return [] }
        if last.referenced == UInt64(pages.count) * Page.size { return pages }

        let looks = max(Self.fewest, min(Self.limit, Int(Self.timeLimit / time)))
        var touched: [UInt64] = []
        for group in Self.groups(of: pages, upTo: (pages.count + looks - 1) / looks) {
            let isResting = rest(Self.addresses(of: group))
            guard let now = usage(of: area) else { return pages }
            if !isResting || now.referenced < last.referenced { touched += group }
            // All that was touched has been found.
            if isResting && now.referenced == 0 { break }
            last = now
        }
        return touched
    }

    /// The pages of a mapping that are in none of some runs.
    static func gaps(between groups: [Range<UInt64>], in area: MemoryArea) -> [Range<UInt64>] {
        var page = area.addresses.lowerBound >> Page.shift
        var gaps: [Range<UInt64>] = []
        for group in groups {
            if page < group.lowerBound { gaps.append(page..<group.lowerBound) }
            page = group.upperBound
        }
        let end = area.addresses.upperBound >> Page.shift
        return page < end ? gaps + [page..<end] : gaps
    }

    /// Runs of pages without a gap.
    static func groups(of pages: [UInt64], upTo size: Int = .max) -> [Range<UInt64>] {
        var groups: [Range<UInt64>] = []
        for page in pages {
            if let last = groups.last, last.upperBound == page, last.count < size {
                groups[groups.count - 1] = last.lowerBound..<page + 1
            } else {
                groups.append(page..<page + 1)
            }
        }
        return groups
    }

    static func addresses(of pages: Range<UInt64>) -> Range<UInt64> {
        pages.lowerBound << Page.shift..<pages.upperBound << Page.shift
    }
}
