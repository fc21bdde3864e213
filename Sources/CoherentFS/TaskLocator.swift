import CoherentMemory
import Fuse
import Glibc
import SystemPackage

/// Finds the node on whose CPU a task runs.
final class TaskLocator: Sendable {
    private let nodeOfCPU: [Int]
    private let home: Int
    private let isTrivial: Bool

    init(machine: Machine) {
        let withCPUs = machine.nodes.filter { !$0.cpus.isEmpty }
        home = withCPUs.first?.id ?? machine.nodes.first?.id ?? 0
        isTrivial = withCPUs.count < 2
        var nodeOfCPU = [Int](repeating: home, count: (withCPUs.compactMap { $0.cpus.max() }.max() ?? -1) + 1)
        for node in withCPUs {
            for cpu in node.cpus { nodeOfCPU[cpu] = node.id }
        }
        self.nodeOfCPU = nodeOfCPU
    }

    /// Who made a request and where. Asking where costs a read of /proc, so it is left out where there is but one answer.
    func origin(of caller: Caller) -> Origin {
        Origin(pid: caller.pid, node: isTrivial || caller.pid == 0 ? home : node(ofTask: caller.pid))
    }

    private func node(ofTask task: Int32) -> Int {
        guard let cpu = Self.processor(ofTask: task), cpu < nodeOfCPU.count else { return home }
        return nodeOfCPU[cpu]
    }

    private static func text(of file: FileDescriptor, in bytes: UnsafeMutableRawBufferPointer) -> String? {
        do {
            let count = unsafe try file.read(into: bytes)
            return unsafe String(decoding: bytes[..<count], as: UTF8.self)
        } catch {
            return nil
        }
    }

    /// Field 39 of /proc/PID/stat (proc(5)).
    private static func processor(ofTask task: Int32) -> Int? {
        guard let file = try? FileDescriptor.open(FilePath("/proc/\(task)/stat"), .readOnly) else { return nil }
        defer { try? file.close() }
        let text = unsafe withUnsafeTemporaryAllocation(byteCount: 1024, alignment: 1) { bytes in
            unsafe Self.text(of: file, in: bytes)
        }
        // The name in parentheses may hold spaces; the fields are counted from behind it.
        guard let text, let end = text.lastIndex(of: ")") else { return nil }
        let fields = text[text.index(after: end)...].split(separator: " ")
        return fields.count > 36 ? Int(fields[36]) : nil
    }
}
