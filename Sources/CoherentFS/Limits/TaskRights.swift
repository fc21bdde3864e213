import Glibc

/// What a task may do, as /proc tells it. None of these files waits for the task.
struct TaskRights {
    /// Capabilities by their numbers (capabilities(7)).
    enum Capability: UInt64 {
        case lockMemory = 14
        case overrideQuota = 24
    }

    /// The user by whom it is known to file systems.
    let user: UInt32
    private let capabilities: UInt64
    /// The soft limit of what it may lock, bytes (RLIMIT_MEMLOCK).
    let lockedMemory: UInt64

    /// Of a task; nil where there is none, or it is in a namespace of process numbers of which the daemon knows nothing.
    init?(task: Int32) {
        guard task > 0, let status = try? ProcFile.contents("/proc/\(task)/status") else { return nil }
        var user: UInt32?
        var capabilities: UInt64 = 0
        for line in String(decoding: status, as: UTF8.self).split(separator: "\n") {
            let words = line.split(whereSeparator: { $0 == "\t" || $0 == " " })
            // Real, effective, saved, and of the file system.
            if words.first == "Uid:", words.count == 5 { user = UInt32(words[4]) }
            if words.first == "CapEff:", words.count == 2 { capabilities = UInt64(words[1], radix: 16) ?? 0 }
        }
        guard let user else { return nil }
        self.user = user
        self.capabilities = Self.isOfOurNamespace(task) ? capabilities : 0
        lockedMemory = Self.lockedMemory(of: task)
    }

    /// Whether it has a capability where it counts: in a user namespace of its own everybody may have them all.
    func has(_ capability: Capability) -> Bool { capabilities >> capability.rawValue & 1 != 0 }

    /// Whether a task may take more than a user's share: whoever mounts, root, and who has CAP_SYS_RESOURCE, as of disk quotas.
    static func isExempt(user: UInt32?, task: Int32) -> Bool {
        if user == owner.uid { return true }
        guard let rights = TaskRights(task: task) else { return false }
        return rights.user == owner.uid || rights.user == 0 || rights.has(.overrideQuota)
    }

    private static func isOfOurNamespace(_ task: Int32) -> Bool {
        guard let own = namespace("self"), let other = namespace("\(task)") else { return false }
        return own == other
    }

    private static func namespace(_ task: String) -> [CChar]? {
        var target = [CChar](repeating: 0, count: 64)
        let length = unsafe readlink("/proc/\(task)/ns/user", &target, target.count)
        return length > 0 ? Array(target.prefix(length)) : nil
    }

    private static func lockedMemory(of task: Int32) -> UInt64 {
        let text = (try? ProcFile.contents("/proc/\(task)/limits")).map { String(decoding: $0, as: UTF8.self) } ?? ""
        for line in text.split(separator: "\n") where line.hasPrefix("Max locked memory") {
            let word = line.dropFirst("Max locked memory".count).split(separator: " ").first
            return word == "unlimited" ? .max : word.flatMap { UInt64($0) } ?? 0
        }
        return 0
    }
}
