import CListener
import LinuxSupport
import SystemPackage

/// What an agent is left with: ids that no program of its user namespace has, as far as there are any (user_namespaces(7)).
struct AgentRights {
    let kept: clistener_rights

    /// - Parameters:
    ///   - task: a thread of the program.
    ///   - locksMemory: whether the program may lock memory without a limit.
    init(of task: Int32, locksMemory: Bool) {
        func text(_ file: String) -> String { (try? SmallFile.text(FilePath("/proc/\(task)/\(file)"))) ?? "" }
        kept = clistener_rights(
            user: Self.freeID(in: text("uid_map")) ?? .max, group: Self.freeID(in: text("gid_map")) ?? .max,
            keeps_groups: text("setgroups").hasPrefix("deny") ? 1 : 0, locks_memory: locksMemory ? 1 : 0)
    }

    /// An id that nobody has, by the text of a map of ids: not that of nobody, whose processes could signal the agent. Where there is only
    /// the last one of the namespace, that. Nil for a namespace of a single id, which a program of it cannot change either.
    static func freeID(in map: String) -> UInt32? {
        let ranges = map.split(separator: "\n").compactMap { line -> ClosedRange<UInt32>? in
            let numbers = line.split(separator: " ").compactMap { UInt32($0) }
            guard numbers.count == 3, numbers[2] > 0 else { return nil }
            let (last, overflow) = numbers[0].addingReportingOverflow(numbers[2] - 1)
            return overflow ? nil : numbers[0]...last
        }
        if ranges.contains(where: { $0.contains(preferred) }) { return preferred }
        guard ranges.count > 1 || (ranges.first?.count ?? 0) > 1 else { return nil }
        return ranges.map(\.upperBound).max()
    }

    private static let preferred: UInt32 = 0xffff_fff0
}
