import AttributeTree
import CoherentMemory
import LinuxSupport
import SystemPackage

/// A task as a client wrote it: a number of the client's PID namespace, 0 for itself.
struct WrittenTask: Sendable {
    let number: Int32
    let client: Client
}

extension AttributeText {
    /// The number of a thread or process.
    ///
    /// - Throws: EINVAL for what is no number or negative, ERANGE for what does not fit.
    func task() throws(Errno) -> WrittenTask {
        let number = try integer()
        guard number >= 0 else { throw refused(.invalidArgument, "\(quoted) is not the number of a task") }
        guard let id = Int32(exactly: number) else { throw refused(.outOfRange, "\(quoted) has more than 32 bits") }
        return WrittenTask(number: id, client: client)
    }
}

extension TreeServices {
    /// The task that a client has named. ESRCH for no such task.
    func task(_ written: WrittenTask) throws(Errno) -> TaskIdentity {
        let client = written.client.task
        if written.number == 0 || client == 0 {
            return try living(written.number == 0 ? client : written.number)
        }
        // A task without a number here is in a namespace that cannot be seen from here.
        guard client > 0 else { throw .noSuchProcess }
        guard let namespace = try PIDNamespace(of: client) else { return try living(written.number) }
        let task = try living(try namespace.ownNumber(of: written.number))
        // Meanwhile it may have ended, and its number here be another's.
        guard try namespace.ownNumber(of: written.number) == task.id else { throw .noSuchProcess }
        return task
    }

    /// The process of the task that a client has named. ESRCH for no such task.
    func process(of written: WrittenTask) throws(Errno) -> TaskIdentity {
        let task = try task(written)
        guard let description = processes.task(task.id), description.startTime == task.startTime else {
            throw .noSuchProcess
        }
        return description.process == task.id ? task : try living(description.process)
    }

    private func living(_ id: Int32) throws(Errno) -> TaskIdentity {
        guard let task = processes.identity(of: id) else { throw .noSuchProcess }
        return task
    }
}

/// The numbers that tasks have for a client, which are those of its PID namespace.
struct TaskNumbers: ~Copyable {
    private let namespace: PIDNamespace?
    private let isKnown: Bool

    init(for client: Client) {
        guard client.task != 0 else {
            namespace = nil
            isKnown = true
            return
        }
        do throws(Errno) {
            namespace = try PIDNamespace(of: client.task)
            isKnown = true
        } catch {
            namespace = nil
            isKnown = false
        }
    }

    /// The number of a task; 0 where it cannot be seen from there, as Linux has it (pid_nr_ns()).
    subscript(task: Int32) -> Int32 {
        guard isKnown else { return 0 }
        switch namespace {
        case .some(let namespace): return namespace.number(of: task)
        case nil: return task
        }
    }

    /// The numbers of processes, a line each, from one on; none for none, as in cgroup.procs.
    ///
    /// - Parameter processes: ascending, by the numbers that they have here.
    func records(_ processes: [Int32], from number: UInt64) -> [TextRecord] {
        processes.filter { UInt64($0) >= number }.prefix(1024).map {
            TextRecord("\(self[$0])\n", next: UInt64($0) + 1)
        }
    }
}
