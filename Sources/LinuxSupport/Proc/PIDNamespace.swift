import CLinux
import Glibc
public import SystemPackage

/// A PID namespace other than the daemon's own, in which tasks have other numbers (pid_namespaces(7)).
///
/// The kernel reports the number of a caller in the namespace of the mount, which is the daemon's. A caller reads and
/// writes numbers of its own namespace.
public struct PIDNamespace: ~Copyable {
    private let descriptor: ProcDescriptor
    /// How many numbers a task of it has where /proc shows them: one more than it is deep.
    private let depth: Int
    /// Whether the kernel is asked; otherwise, as before Linux 6.11, the tasks of the host are.
    private let asksKernel: Bool

    /// The namespace of a task; nil if it is the daemon's.
    ///
    /// - Parameters:
    ///   - task: the number of the task.
    ///   - asksKernel: false for the method of kernels before Linux 6.11, through /proc.
    /// - Throws: ESRCH if there is no such task, EACCES or EPERM if it may not be inspected.
    public init?(of task: Int32, asksKernel: Bool = true) throws(Errno) {
        guard let numbers = Self.numbers(of: task) else { throw .noSuchProcess }
        if numbers.count < 2 { return nil }
        descriptor = try ProcDescriptor("/proc/\(task)/ns/pid")
        depth = numbers.count
        self.asksKernel = asksKernel
    }

    /// The daemon's number of a task with a number in this namespace. ESRCH if there is none.
    public func ownNumber(of task: Int32) throws(Errno) -> Int32 {
        guard task > 0 else { throw .noSuchProcess }
        if asksKernel {
            let found = clinux_pid_from_namespace(descriptor.number, task)
            if found > 0 { return found }
            // ENOTTY is what a kernel says that does not know the question.
            guard errno == ENOTTY else { throw .noSuchProcess }
        }
        guard let found = search(for: task) else { throw .noSuchProcess }
        return found
    }

    /// The number in this namespace of a task with the daemon's number; 0 if it has none.
    public func number(of task: Int32) -> Int32 {
        guard task > 0 else { return 0 }
        if asksKernel {
            let found = clinux_pid_in_namespace(descriptor.number, task)
            if found > 0 { return found }
            guard errno == ENOTTY else { return 0 }
        }
        guard let numbers = Self.numbers(of: task), contains(task, numbers) else { return 0 }
        return numbers[depth - 1]
    }

    /// The number in /proc of a task with the caller's number. They differ if /proc belongs to a namespace above the
    /// caller's. Nil if there is no such task.
    public static func numberInProc(of task: Int32) -> Int32? {
        guard let own = (try? ProcStatus())?.namespaceNumbers else { return nil }
        guard own.count > 1 else { return task }
        return try? PIDNamespace(of: own[0], asksKernel: false)?.ownNumber(of: task)
    }

    /// Whether a task is in the namespace or in one below it.
    private func contains(_ task: Int32, _ numbers: [Int32]) -> Bool {
        guard numbers.count >= depth, let innermost = try? ProcDescriptor("/proc/\(task)/ns/pid") else { return false }
        let found = clinux_ancestor_namespace(innermost.number, Int32(numbers.count - depth))
        guard found >= 0 else { return false }
        defer { close(found) }
        return clinux_is_same_file(found, descriptor.number) == 1
    }

    /// The task of a number here, among all of the host.
    private func search(for task: Int32) -> Int32? {
        func isMeant(_ id: Int32) -> Bool {
            guard let numbers = Self.numbers(of: id), numbers.count >= depth, numbers[depth - 1] == task else {
                return false
            }
            return contains(id, numbers)
        }
        let processes = ProcFile.processes
        if let found = processes.first(where: isMeant) { return found }
        for process in processes {
            let threads = DirectoryListing.numbers(in: "/proc/\(process)/task") ?? []
            if threads.count > 1, let found = threads.first(where: isMeant) { return found }
        }
        return nil
    }

    /// The numbers of a task from the namespace of /proc down to its own; nil if there is no such task.
    public static func numbers(of task: Int32) -> [Int32]? { (try? ProcStatus(task: task))?.namespaceNumbers }
}
