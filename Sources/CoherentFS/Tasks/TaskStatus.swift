import SystemPackage

/// What /proc/PID/status tells of the rights of a task (struct cred). Reading it does not wait for the task.
struct TaskStatus: Sendable {
    /// The user by whom it is known to file systems.
    let user: UInt32
    /// The group by which it is.
    let group: UInt32
    /// Its other groups.
    let groups: [UInt32]
    /// Its effective capabilities, by their bits.
    let capabilities: UInt64

    /// Of a task; nil where there is none.
    init?(task: Int32) {
        guard task > 0, let status = try? ProcFile.contents("/proc/\(task)/status") else { return nil }
        func numbers(_ key: StaticString, radix: Int = 10) -> [UInt64] {
            let line = ProcFile.line(key, in: status) ?? []
            return line.split { $0 == UInt8(ascii: "\t") || $0 == UInt8(ascii: " ") }
                .compactMap { UInt64(String(decoding: $0, as: UTF8.self), radix: radix) }
        }
        // Real, effective, saved, and of the file system.
        let (users, groups) = (numbers("Uid"), numbers("Gid"))
        guard users.count == 4, groups.count == 4, let user = UInt32(exactly: users[3]),
            let group = UInt32(exactly: groups[3])
        else { return nil }
        (self.user, self.group) = (user, group)
        self.groups = numbers("Groups").compactMap { UInt32(exactly: $0) }
        capabilities = numbers("CapEff", radix: 16).first ?? 0
    }

    /// The most bytes that a task may lock (RLIMIT_MEMLOCK, the soft limit); 0 for no such task.
    static func lockedMemoryLimit(of task: Int32) -> UInt64 {
        guard task > 0, let limits = try? ProcFile.contents("/proc/\(task)/limits") else { return 0 }
        let text = String(decoding: limits, as: UTF8.self)
        for line in text.split(separator: "\n") where line.hasPrefix("Max locked memory") {
            let word = line.dropFirst("Max locked memory".count).split(separator: " ").first
            return word == "unlimited" ? .max : word.flatMap { UInt64($0) } ?? 0
        }
        return 0
    }
}
