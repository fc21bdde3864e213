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
        summary: "Write PID; a read then shows the task's mappings of this mount as /proc/PID/numa_maps.",
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
        let mappings = try services.mappings(of: task)
        let taskPolicy = try services.machine.policy(ofTask: task.id)
        return mappings.lazy.filter { $0.addresses.lowerBound >= address }.prefix(1024).map {
            TextRecord(line(of: $0, taskPolicy) + "\n", next: $0.addresses.upperBound)
        }
    }

    /// show_numa_map() of fs/proc/task_mmu.c.
    private func line(of mapping: TaskMapping, _ taskPolicy: MemoryPolicy) -> String {
        let buffer = mapping.buffer
        let own = services.machine.policy(of: buffer, at: mapping.bytes.lowerBound)
        let policy = own == .default ? taskPolicy : own
        let address = String(mapping.addresses.lowerBound, radix: 16)
        var fields = [
            String(repeating: "0", count: max(0, 8 - address.utf8.count)) + address, "\(policy)",
            "file=\(Self.escaped(mapping.path))",
        ]
        let pages = services.machine.residentPages(of: buffer, bytes: mapping.bytes)
        if pages.total > 0 {
            if pages.written > 0 { fields.append("dirty=\(pages.written)") }
            if pages.written != pages.total { fields.append("mapped=\(pages.total)") }
            fields += pages.nodes.map { "N\($0.node)=\($0.pages)" } + ["kernelpagesize_kB=\(Page.size >> 10)"]
        }
        return fields.joined(separator: " ")
    }

    /// What would end a field, in octal; a newline is in octal already.
    private static func escaped(_ path: String) -> String {
        path.unicodeScalars.map { $0 == " " ? "\\040" : $0 == "\t" ? "\\011" : $0 == "=" ? "\\075" : String($0) }
            .joined()
    }
}
