import Glibc
import LinuxSupport
import SystemPackage

/// The memory of the host that the daemon's memory cgroup allows.
public enum HostMemory {
    /// The size in bytes.
    public static var size: UInt64 {
        let pages = UInt64(max(0, sysconf(Int32(_SC_PHYS_PAGES))))
        let physical = pages * UInt64(max(4096, sysconf(Int32(_SC_PAGESIZE))))
        return MemoryGroup.own.map { min($0.limit, physical) } ?? physical
    }
}

/// A memory cgroup with a limit, of either version of cgroups.
struct MemoryGroup: Sendable {
    private let folder: String
    private let isUnified: Bool
    /// Bytes.
    let limit: UInt64

    /// Of this process and the groups above it, the one with the lowest limit; nil where none has one.
    static let own: MemoryGroup? = {
        guard let bytes = try? SmallFile.read("/proc/self/cgroup") else { return nil }
        var groups: [MemoryGroup] = []
        for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n") {
            let parts = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            guard parts.count == 3 else { continue }
            if parts[1].split(separator: ",").contains("memory") {
                groups += above(String(parts[2]), root: "/sys/fs/cgroup/memory", isUnified: false)
            } else if parts[0] == "0" {
                groups += above(String(parts[2]), root: "/sys/fs/cgroup", isUnified: true)
            }
        }
        return groups.min { $0.limit < $1.limit }
    }()

    /// The groups with a limit from one up to the root. In a container the path may be the host's, and then only the root is there.
    private static func above(_ path: String, root: String, isUnified: Bool) -> [MemoryGroup] {
        var groups: [MemoryGroup] = []
        var path = FilePath(path)
        while true {
            let folder = root + (path.components.isEmpty ? "" : path.string)
            let file = isUnified ? "memory.max" : "memory.limit_in_bytes"
            // Version 1 has a number near 2^63 for none.
            if let limit = number(in: folder + "/" + file), limit < 1 << 60 {
                groups.append(MemoryGroup(folder: folder, isUnified: isUnified, limit: limit))
            }
            guard !path.components.isEmpty else { return groups }
            path.removeLastComponent()
        }
    }

    private static func number(in file: String) -> UInt64? {
        ProcFile.read(file, capacity: 64) { bytes in
            var value: UInt64?
            for index in 0..<bytes.count {
                guard let digit = ProcFile.digit(bytes[index]) else { break }
                value = (value ?? 0) &* 10 &+ digit
            }
            return value
        }
    }

    /// How many pages of buffers there is room for, beside what the daemon itself needs.
    var pages: UInt64 {
        let reserve = min(limit / 4, max(32 << 20, limit / 16))
        return (left - min(left, reserve)) >> 12
    }

    /// Bytes that the group has left, what is cached of files not counted, for the kernel takes that back.
    var left: UInt64 {
        let usage = Self.number(in: folder + (isUnified ? "/memory.current" : "/memory.usage_in_bytes")) ?? 0
        let cached: UInt64 =
            (try? SmallFile.read(FilePath(folder + "/memory.stat"))).map { bytes in
                let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n")
                let names: Set<Substring> =
                    isUnified
                    ? ["active_file", "inactive_file"] : ["total_active_file", "total_inactive_file"]
                return lines.reduce(0) { sum, line in
                    let words = line.split(separator: " ")
                    return words.count == 2 && names.contains(words[0]) ? sum &+ (UInt64(words[1]) ?? 0) : sum
                }
            } ?? 0
        let used = usage - min(usage, cached)
        return limit - min(limit, used)
    }
}
