import CListener
import CoherentMemory
import Glibc
import SystemPackage

/// /proc/PID/pagemap of an address space, also after an exec of its process. Reading it waits for as long as the address space is locked.
final class PageMap: Sendable {
    let file: FileDescriptor
    /// So many ranges are found at a time.
    private static let capacity = 256

    /// - Parameters:
    ///   - process: a process that has the address space.
    ///   - mark: the mark of the address space. Nil where the process has another one by now.
    init?(of process: Int32, mark: AddressSpace.Mark) {
        let number = clistener_open_page_map(process)
        guard number >= 0 else { return nil }
        file = FileDescriptor(rawValue: number)
        // After an exec the number is of another address space.
        guard AddressSpace.Mark(of: process) == mark else {
            Glibc.close(number)
            return nil
        }
    }

    deinit { try? file.close() }

    /// The pages of a range that are there and not write-protected, as those of zeros are, by their addresses.
    func writable(in range: Range<UInt64>) -> RangeSet<UInt64> { search(range, other: nil) }

    /// The pages of a range that are the same memory as another address space has there.
    func shared(with other: PageMap, in range: Range<UInt64>) -> RangeSet<UInt64> { search(range, other: other) }

    private func search(_ range: Range<UInt64>, other: PageMap?) -> RangeSet<UInt64> {
        var found = RangeSet<UInt64>()
        var bounds = [UInt64](repeating: 0, count: 2 * Self.capacity)
        var position = range.lowerBound
        while position < range.upperBound {
            var end = range.upperBound
            let count = unsafe clistener_shared(
                file.rawValue, other?.file.rawValue ?? -1, position, &end, &bounds, Int32(Self.capacity))
            guard count >= 0 else { break }
            for index in 0..<Int(count) { found.insert(contentsOf: bounds[2 * index]..<bounds[2 * index + 1]) }
            position = end
        }
        return found
    }
}

/// Pages that a process has.
enum PresentPages {
    /// Pages of a range that are there, by their addresses (Documentation/admin-guide/mm/pagemap.rst).
    static func of(_ task: Int32, in range: Range<UInt64>) -> [UInt64] {
        let file = unsafe open("/proc/\(task)/pagemap", O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return [] }
        defer { close(file) }
        var found: [UInt64] = []
        var entries = [UInt64](repeating: 0, count: 512)
        var page = range.lowerBound >> Page.shift
        let end = range.upperBound >> Page.shift
        while page < end {
            let wanted = Int(min(512, end - page))
            let count = unsafe pread(file, &entries, wanted * 8, off_t(page * 8)) / 8
            guard count > 0 else { break }
            // Present, or swapped.
            for index in 0..<count where entries[index] >> 62 != 0 {
                found.append((page + UInt64(index)) << Page.shift)
            }
            // New memory is all there or not at all.
            if page << Page.shift == range.lowerBound, found.isEmpty, range.count > 512 << 12 { break }
            page += UInt64(count)
        }
        return found
    }
}
