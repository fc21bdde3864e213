import AttributeTree
import Glibc
import LinuxSupport
import SystemPackage

/// What a task may do by its user, groups and capabilities, as it was at the moment it asked (struct cred).
package struct Credentials: Sendable {
    /// Capabilities that matter here (capabilities(7)).
    package enum Capability: UInt64 {
        case overrideAccess = 1  // CAP_DAC_OVERRIDE
        case readAndSearch = 2  // CAP_DAC_READ_SEARCH
        case owner = 3  // CAP_FOWNER
        case lockMemory = 14  // CAP_IPC_LOCK
        case trace = 19  // CAP_SYS_PTRACE
        case overrideQuota = 24  // CAP_SYS_RESOURCE
    }

    package let uid: UInt32
    package let gid: UInt32
    private var groups: [UInt32] = []
    private var capabilities: UInt64 = 0
    /// The users and groups that the task's user namespace knows: over others its capabilities have no power.
    private var users: [ClosedRange<UInt32>] = []
    private var userGroups: [ClosedRange<UInt32>] = []
    /// Whether that namespace is the daemon's. In one of its own every user may have every capability.
    private var areOfOurNamespace = false

    /// Of a task, which must not end meanwhile: one whose request is being served.
    package init(task: Int32, uid: UInt32, gid: UInt32) {
        self.init(task: task, uid: uid, gid: gid, try? ProcStatus(task: task))
    }

    /// Of a task; nil where there is none, or it is in a PID namespace of which the daemon knows nothing.
    package init?(task: Int32) {
        guard let status = try? ProcStatus(task: task), let user = status.users, let group = status.primaryGroups else {
            return nil
        }
        self.init(task: task, uid: user.fileSystem, gid: group.fileSystem, status)
    }

    private init(task: Int32, uid: UInt32, gid: UInt32, _ status: ProcStatus?) {
        (self.uid, self.gid) = (uid, gid)
        guard let status else {
            // It has no number here. Root is root all the same.
            if uid == 0 {
                capabilities = .max
                (users, userGroups) = ([0...UInt32.max], [0...UInt32.max])
            }
            return
        }
        (groups, capabilities) = (status.groups, status.effectiveCapabilities)
        guard capabilities != 0 else { return }
        users = Self.outside("/proc/\(task)/uid_map")
        userGroups = Self.outside("/proc/\(task)/gid_map")
        if let own = ProcFile.namespace("user") { areOfOurNamespace = own == ProcFile.namespace("user", of: task) }
    }

    package init(_ opener: Opener) { self.init(task: opener.task, uid: opener.uid, gid: opener.gid) }

    /// The numbers of this namespace that a map of another one has: lines of `INSIDE OUTSIDE LENGTH` (user_namespaces(7)).
    private static func outside(_ file: String) -> [ClosedRange<UInt32>] {
        let text = (try? SmallFile.text(FilePath(file))) ?? ""
        return text.split(separator: "\n").compactMap { line in
            let numbers = line.split(separator: " ").compactMap { UInt64($0) }
            guard numbers.count == 3, numbers[2] > 0 else { return nil }
            return UInt32(clamping: numbers[1])...UInt32(clamping: numbers[1] + numbers[2] - 1)
        }
    }

    /// Whether they have a capability over the machine as a whole (capable()).
    package func has(_ capability: Capability) -> Bool {
        areOfOurNamespace && capabilities >> capability.rawValue & 1 == 1
    }

    private func has(_ capability: Capability, over uid: UInt32) -> Bool {
        capabilities >> capability.rawValue & 1 == 1 && users.contains { $0.contains(uid) }
    }

    /// capable_wrt_inode_uidgid()
    private func has(_ capability: Capability, over ownership: Directory.Ownership) -> Bool {
        has(capability, over: ownership.uid) && userGroups.contains { $0.contains(ownership.gid) }
    }

    /// Whether this is a file's owner, or may act as such (inode_owner_or_capable()).
    package func areOwners(of uid: UInt32) -> Bool { self.uid == uid || has(.owner, over: uid) }

    /// Whether a directory may be listed and searched (generic_permission()).
    package func mayLookInto(_ directory: Directory.Ownership) -> Bool {
        let needed: FilePermissions = [.otherRead, .otherExecute]
        let bits = directory.permissions.rawValue
        let mine =
            if uid == directory.uid { bits >> 6 } else if isMember(of: directory.gid) { bits >> 3 } else { bits }
        return FilePermissions(rawValue: mine).isSuperset(of: needed)
            || has(.overrideAccess, over: directory) || has(.readAndSearch, over: directory)
    }

    private func isMember(of group: UInt32) -> Bool { gid == group || groups.contains(group) }
}
