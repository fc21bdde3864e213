import CLinux
import Glibc
import LinuxSupport
import SystemPackage

/// A task as readers see it later, when it may have ended: with the numbers that it has in all its PID namespaces.
package struct ToldTask: Sendable {
    /// The number that the daemon knows it by.
    private let number: Int32
    /// Its numbers in namespaces below the daemon's, by the inodes of these.
    private let inner: [UInt64: Int32]

    /// A task that has not ended yet.
    package init(_ task: Int32) {
        number = task
        inner = Self.numbers(of: task)
    }

    private static func numbers(of task: Int32) -> [UInt64: Int32] {
        // The daemon's own first, then the namespaces down to the task's own.
        guard let numbers = PIDNamespace.numbers(of: task), numbers.count > 1,
            let innermost = try? ProcDescriptor("/proc/\(task)/ns/pid")
        else { return [:] }
        var found: [UInt64: Int32] = [:]
        for (level, number) in numbers.enumerated().dropFirst() {
            let levels = numbers.count - 1 - level
            let namespace =
                levels == 0 ? dup(innermost.number) : clinux_ancestor_namespace(innermost.number, Int32(levels))
            guard namespace >= 0 else { continue }
            defer { close(namespace) }
            var status = stat()
            if unsafe fstat(namespace, &status) == 0 { found[UInt64(status.st_ino)] = number }
        }
        return found
    }

    /// The number that it has for a reader; 0 where it cannot be seen from there, as Linux has it (pid_nr_ns()).
    func number(for reader: PIDReader) -> Int32 {
        switch reader {
        case .ours: number
        case .namespace(let inode): inner[inode] ?? 0
        case .unknown: 0
        }
    }
}

/// The namespace whose numbers of tasks a reader gets.
package enum PIDReader: Sendable, Hashable {
    /// Those of the daemon's PID namespace.
    case ours
    /// Those of another one, by its inode.
    case namespace(UInt64)
    /// Numbers of a namespace that the daemon does not see.
    case unknown

    /// Of a task that reads; 0 for none in particular, -1 for one without a number here.
    package init(_ task: Int32) {
        guard task != 0 else {
            self = .ours
            return
        }
        guard task > 0, let own = ProcFile.namespace("pid"), let other = ProcFile.namespace("pid", of: task) else {
            self = .unknown
            return
        }
        self = own == other ? .ours : .namespace(other)
    }
}
