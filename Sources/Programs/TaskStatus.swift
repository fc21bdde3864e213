import Glibc
import LinuxSupport
import SystemPackage

/// What a task may do, as far as the checks of the calls need it.
struct TaskStatus: Sendable {
    /// The process that it belongs to.
    var process: Int32
    /// Its real, effective and saved user ids.
    var users: [UInt32]
    /// Its group ids in the same order.
    var groups: [UInt32]
    /// Its effective capabilities, those of its own user namespace.
    var capabilities: UInt64

    init(process: Int32, users: [UInt32], groups: [UInt32], capabilities: UInt64) {
        self.process = process
        self.users = users
        self.groups = groups
        self.capabilities = capabilities
    }

    /// - Throws: ESRCH for no such task.
    init(of task: Int32) throws(Errno) {
        guard let text = try? ProcStatus(task: task), let status = Self(text) else { throw .noSuchProcess }
        self = status
    }

    /// What /proc/PID/status says; nil where that is not all there.
    init?(_ status: ProcStatus) {
        guard let process = status.words("Tgid").first.flatMap({ Int32($0) }) else { return nil }
        func numbers(_ ids: ProcStatus.IDs?) -> [UInt32] { ids.map { [$0.real, $0.effective, $0.saved] } ?? [] }
        self.init(
            process: process, users: numbers(status.users), groups: numbers(status.primaryGroups),
            capabilities: status.effectiveCapabilities)
    }

    /// Whether it has a capability. Its namespace is not looked at: see ``CallingTask``.
    func has(_ capability: Capability) -> Bool { capabilities >> capability.rawValue & 1 == 1 }

    /// Capabilities that matter here (capabilities(7)).
    enum Capability: UInt64 {
        case lockMemory = 14  // CAP_IPC_LOCK
        case trace = 19  // CAP_SYS_PTRACE
        case administer = 21  // CAP_SYS_ADMIN
        case nice = 23  // CAP_SYS_NICE
    }

    /// Whether it may have a userfaultfd that reports what the kernel touches, and so hold the kernel up: as userfaultfd(2) has it, with
    /// CAP_SYS_PTRACE, or where the host lets every user have one (vm.unprivileged_userfaultfd).
    var mayHoldTheKernelUp: Bool { users == [0, 0, 0] && has(.trace) || UserFaults.areForAllUsers }

    /// Whether all ids of another task are the real ones of this (ptrace_may_access() with PTRACE_MODE_REALCREDS).
    func isSameUser(as other: TaskStatus) -> Bool {
        guard let user = users.first, let group = groups.first, other.users.count == 3, other.groups.count == 3 else {
            return false
        }
        return other.users.allSatisfy { $0 == user } && other.groups.allSatisfy { $0 == group }
    }
}

/// Where a link of /proc leads; nil for none.
func linkTarget(_ path: String) -> String? {
    var bytes = [CChar](repeating: 0, count: Int(PATH_MAX))
    let count = unsafe readlink(path, &bytes, bytes.count)
    guard count > 0, count < bytes.count else { return nil }
    return String(decoding: bytes[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
}
