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
        let file = unsafe open("/proc/\(process)/maps", O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { throw Errno.last == .noSuchFileOrDirectory ? .noSuchProcess : .last }
        defer { close(file) }
        var mappings: [ProcMapping] = []
        var rest: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16384)
        while true {
            let count = try SystemCall.retry { unsafe read(file, &chunk, chunk.count) }
            if count == 0 { return mappings }
            rest += chunk[..<count]
            guard let end = rest.lastIndex(of: UInt8(ascii: "\n")) else { continue }
            for text in rest[..<end].split(separator: UInt8(ascii: "\n")) {
                let line = Array(text)
                guard let mapping = ProcMapping(line.span), mapping.addresses.upperBound > range.lowerBound else {
                    continue
                }
                if mapping.addresses.lowerBound >= range.upperBound { return mappings }
                mappings.append(mapping)
            }
            rest.removeSubrange(...end)
        }
    }
}
