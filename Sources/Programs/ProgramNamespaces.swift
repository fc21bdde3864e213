import LinuxSupport

/// The mount namespaces of runs. So programs are known that have made no call yet, and threads of others.
///
/// Every process may hand over a listener from any namespace. Therefore one that is not root's stands for its user's programs there alone.
final class ProgramNamespaces: Sendable {
    /// How many listeners a user has in a namespace.
    private let users = Mutex<[FileIdentity: [UInt32: Int]]>([:])

    /// Whether there is none.
    var isEmpty: Bool { users.withLock { $0.isEmpty } }

    /// Whether a thread of a user lives in one of them.
    func contains(_ thread: Int32, of user: UInt32) -> Bool {
        guard let namespace = Self.namespace(of: thread) else { return false }
        return users.withLock { users in
            users[namespace].map { $0[user] != nil || $0[0] != nil } ?? false
        }
    }

    /// Adds the namespace of a task that makes a call through a listener of a user; nil where it has none to be seen.
    func add(namespaceOf task: Int32, of user: UInt32) -> Membership? {
        guard let namespace = Self.namespace(of: task) else { return nil }
        users.withLock { $0[namespace, default: [:]][user, default: 0] += 1 }
        return Membership(namespaces: self, namespace: namespace, user: user)
    }

    /// A namespace of a listener, for as long as this exists.
    final class Membership: Sendable {
        private let namespaces: ProgramNamespaces
        private let namespace: FileIdentity
        private let user: UInt32

        fileprivate init(namespaces: ProgramNamespaces, namespace: FileIdentity, user: UInt32) {
            self.namespaces = namespaces
            self.namespace = namespace
            self.user = user
        }

        deinit { namespaces.remove(namespace, user) }
    }

    private func remove(_ namespace: FileIdentity, _ user: UInt32) {
        users.withLock { users in
            let left = users[namespace, default: [:]][user, default: 1] - 1
            users[namespace, default: [:]][user] = left > 0 ? left : nil
            if users[namespace]?.isEmpty ?? true { users[namespace] = nil }
        }
    }

    private static func namespace(of task: Int32) -> FileIdentity? {
        try? FileIdentity(cached: "/proc/\(task)/ns/mnt")
    }
}
