import AttributeTree
import CoherentMemory
import LinuxSupport
import SystemPackage

/// An open sys/kernel/cdm/numa_maps: of whose mappings it tells.
final class NumaMapsQuestion: Sendable {
    /// The task that was asked for last, for those who write and read through different files, as a shell does.
    final class Last: Sendable {
        let task = Mutex<TaskIdentity?>(nil)
    }

    private let services: TreeServices
    private let task: Mutex<TaskIdentity?>

    init(_ services: TreeServices) {
        self.services = services
        let last = services.numaMaps.task.withLock { $0 }
        // A read of the whole tree asks for no task in particular.
        task = Mutex(last.flatMap { services.processes.identity(of: $0.id) == $0 ? $0 : nil })
    }

    static let attribute = Attribute<NumaMapsQuestion>.readWrite(
        "numa_maps", permissions: .ownerReadWrite,
        summary: "Write PID; a read then shows the task's memory of this machine as /proc/PID/numa_maps.",
        records: { question, address, _ throws(Errno) in try question.records(from: address) },
        store: { question, text throws(Errno) in
            let task = try question.services.task(try text.task())
            question.task.withLock { $0 = task }
            question.services.numaMaps.task.withLock { $0 = task }
        }
    ).shownInJob()

    /// The lines of mappings from an address on; the process is looked into for each part anew, so it is a large one.
    private func records(from address: UInt64) throws(Errno) -> [TextRecord] {
        guard let task = task.withLock({ $0 }) else { return [] }
        // First: it says whether the task is still the one that was asked for.
        let mappings = try services.machineMappings(of: task)
        let machine = services.machine
        let taskPolicy = try machine.policy(ofTask: task.id)
        let usable = machine.allowedNodes(of: try machine.group(ofProcess: task.id))
        return mappings.lazy.filter { $0.mapping.addresses.lowerBound >= address }.prefix(1024).map {
            mapping, parts in
            let bound = parts.first.map { machine.policy(of: $0.buffer, at: $0.offset) } ?? .default
            let policy = (bound == .default ? taskPolicy : bound).standing(within: usable)
            let line = machine.numaMapsLine(
                of: mapping, parts: parts.map { ($0.buffer, $0.bytes) }, policy: policy)
            return TextRecord(line + "\n", next: mapping.addresses.upperBound)
        }
    }
}
