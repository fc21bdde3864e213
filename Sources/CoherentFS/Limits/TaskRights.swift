import CoherentTree
import LinuxSupport
import SystemPackage

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
        guard let status = try? ProcStatus(task: task), let user = status.users?.fileSystem else { return nil }
        self.user = user
        self.capabilities = Self.isOfOurNamespace(task) ? status.effectiveCapabilities : 0
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
        guard let own = ProcFile.link("/proc/self/ns/user") else { return false }
        return own == ProcFile.link("/proc/\(task)/ns/user")
    }

    private static func lockedMemory(of task: Int32) -> UInt64 {
        let text = (try? SmallFile.text(FilePath("/proc/\(task)/limits"))) ?? ""
        for line in text.split(separator: "\n") where line.hasPrefix("Max locked memory") {
            let word = line.dropFirst("Max locked memory".count).split(separator: " ").first
            return word == "unlimited" ? .max : word.flatMap { UInt64($0) } ?? 0
        }
        return 0
    }
}
