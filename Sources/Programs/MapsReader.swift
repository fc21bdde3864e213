import CListener
import Glibc
import LinuxSupport
import SystemPackage

/// Reads /proc/PID/maps.
enum MapsReader {
    /// The mappings of a process that have an address of a range, ascending.
    ///
    /// It may wait for as long as the process keeps its address space locked.
    ///
    /// - Throws: ESRCH for no such process, EACCES for one that may not be looked into.
    static func mappings(of process: Int32, at range: Range<UInt64>) throws(Errno) -> [ProcMapping] {
        var mappings: [ProcMapping] = []
        try forEachLine(of: "/proc/\(process)/maps") { line in
            guard let mapping = ProcMapping(line.span), mapping.addresses.upperBound > range.lowerBound else {
                return true
            }
            if mapping.addresses.lowerBound >= range.upperBound { return false }
            mappings.append(mapping)
            return true
        }
        return mappings
    }

    /// Whether the mappings of a task let it store to all of a range. It may wait as above.
    static func mayStore(_ task: Int32, to range: Range<UInt64>) -> Bool {
        let answer = clistener_may_store(task, range.lowerBound, range.upperBound)
        guard answer < 0 else { return answer == 1 }
        let mappings = (try? mappings(of: task, at: range)) ?? []
        return mayStore(to: range, of: mappings)
    }

    /// The same where the mappings are known, ascending.
    static func mayStore(to range: Range<UInt64>, of mappings: [ProcMapping]) -> Bool {
        mappings.lazy.filter(\.isWritable).reduce(range.lowerBound) { place, mapping in
            mapping.addresses.contains(place) ? mapping.addresses.upperBound : place
        } >= range.upperBound
    }

    /// The addresses of a process that are locked (`lo` in VmFlags of /proc/PID/smaps). It may wait as above, and looks at every page.
    static func lockedRanges(of process: Int32) -> [Range<UInt64>] {
        var ranges: [Range<UInt64>] = []
        var last: Range<UInt64>?
        try? forEachLine(of: "/proc/\(process)/smaps") { line in
            if let mapping = ProcMapping(line.span) {
                last = mapping.addresses
            } else if line.starts(with: "VmFlags:".utf8), let addresses = last,
                line.split(separator: UInt8(ascii: " ")).contains(where: { $0.elementsEqual("lo".utf8) })
            {
                ranges.append(addresses)
            }
            return true
        }
        return ranges
    }

    /// Calls `body` with each line of a file of /proc until it returns false.
    private static func forEachLine(of path: String, _ body: ([UInt8]) -> Bool) throws(Errno) {
        let file = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { throw Errno.last == .noSuchFileOrDirectory ? .noSuchProcess : .last }
        defer { close(file) }
        var rest: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16384)
        while true {
            let count = try SystemCall.retry { unsafe read(file, &chunk, chunk.count) }
            if count == 0 { return }
            rest += chunk[..<count]
            guard let end = rest.lastIndex(of: UInt8(ascii: "\n")) else { continue }
            for text in rest[..<end].split(separator: UInt8(ascii: "\n")) {
                guard body(Array(text)) else { return }
            }
            rest.removeSubrange(...end)
        }
    }
}
