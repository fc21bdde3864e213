import CoherentMemory
import Glibc
import LinuxSupport
import MachineTopology
import SystemPackage

/// Files that a program opens and that are not the host's: those of /proc/PID that tell of nodes, CPUs and control groups.
extension CallingTask {
    /// What a program gets that opens a file to read it.
    func open(_ path: UInt64, from directory: Int32) -> CallOutcome {
        // Most paths are of something else, and then nothing more is asked.
        guard let path = self.path(at: path), let name = path.utf8.split(separator: UInt8(ascii: "/")).last,
            let file = SimulatedFile(rawValue: String(Substring(name))), let whole = absolute(path, from: directory)
        else { return .pass }
        guard let contents = contents(of: file, at: whole), !isOver else { return .pass }
        return .file(Array(contents.utf8))
    }

    private enum SimulatedFile: String {
        case status
        case numaMaps = "numa_maps"
        case group = "cgroup"
        case cpuset
    }

    private func absolute(_ path: String, from directory: Int32) -> String? {
        if path.utf8.first == UInt8(ascii: "/") { return path }
        let base = directory == AT_FDCWD ? "cwd" : "fd/\(directory)"
        guard let folder = linkTarget("/proc/\(task)/\(base)"), folder.utf8.first == UInt8(ascii: "/") else {
            return nil
        }
        return folder + "/" + path
    }

    private func contents(of file: SimulatedFile, at path: String) -> String? {
        guard let process = process(at: path) else { return nil }
        switch file {
        case .status: return mayLookInto(process.process) ? status(of: process.task) : nil
        case .numaMaps: return mayLookInto(process.process) ? numaMaps(of: process.process) : nil
        // Of cgroup v2 (proc_cgroup_show(), proc_cpuset_show()).
        case .group: return group(of: process.process).map { "0::/\($0)\n" }
        case .cpuset: return group(of: process.process).map { "/\($0)\n" }
        }
    }

    /// The path of the control group of a process, without the slash in front.
    private func group(of process: Int32) -> String? { (try? machine.group(ofProcess: process))?.path }

    /// The task that `/proc/WHO/FILE` or `/proc/WHO/task/TID/FILE` is of.
    private func process(at path: String) -> (process: Int32, task: Int32)? {
        let words = path.utf8.split(separator: UInt8(ascii: "/")).map { String(Substring($0)) }
        guard words.first == "proc", words.count == 3 || words.count == 5 && words[2] == "task" else { return nil }
        let own = status?.process ?? task
        func named(_ word: String) -> Int32? {
            switch word {
            case "self": return own
            case "thread-self": return task
            default:
                guard let number = Int32(word), number > 0 else { return nil }
                return try? process(named: number) ?? own
            }
        }
        guard let process = named(words[1]) else { return nil }
        let target = words.count == 5 ? named(words[3]) : process
        guard let target, let status = try? TaskStatus(of: target) else { return nil }
        return (status.process, words[1] == "self" && words.count == 3 ? own : target)
    }

    /// The host's text, with the nodes that the task may use (cpuset_task_status_allowed()).
    private func status(of task: Int32) -> String? {
        guard let text = try? SmallFile.text(FilePath("/proc/\(task)/status")), let nodes = try? allowedNodes(of: task)
        else {
            return nil
        }
        // Where the machine has the host's CPUs, affinity is the host's, too.
        let cpus = machine.cpus == .onlineCPUs ? nil : try? machine.affinity(ofTask: task)
        let hugePages = hugeKilobytes(of: task)
        return text.split(separator: "\n", omittingEmptySubsequences: false).map { line in
            if hugePages > 0, line.hasPrefix("HugetlbPages:") {
                let number = String(hugePages)
                return "HugetlbPages:\t\(String(repeating: " ", count: max(0, 8 - number.utf8.count)))\(number) kB"
            }
            if let cpus, line.hasPrefix("Cpus_allowed:") {
                return "Cpus_allowed:\t\(cpus.map(width: (machine.cpus.max() ?? 0) + 1))"
            }
            if let cpus, line.hasPrefix("Cpus_allowed_list:") { return "Cpus_allowed_list:\t\(cpus)" }
            if line.hasPrefix("Mems_allowed:") { return "Mems_allowed:\t\(nodes.map(width: IDSet.maxNodes))" }
            if line.hasPrefix("Mems_allowed_list:") { return "Mems_allowed_list:\t\(nodes)" }
            return String(line)
        }.joined(separator: "\n")
    }

    /// The memory of a task in huge pages (hugetlb_report_usage()).
    private func hugeKilobytes(of task: Int32) -> Int {
        guard let space = spaces?.space(of: task) else { return 0 }
        let areas = space.state.withLock { $0.shared.areas.filter { $0.attachment.object.isHuge } }
        let parts = areas.flatMap(\.pieces).parts(at: 0..<UInt64.max)
        return parts.reduce(0) { $0 + machine.residentPages(of: $1.buffer, bytes: $1.bytes).total << 2 }
    }

    /// show_numa_map() of fs/proc/task_mmu.c.
    private func numaMaps(of process: Int32) -> String? {
        guard let lines = try? MapsReader.mappings(of: process, at: 0..<UInt64.max),
            let areas = try? areas(of: process, at: 0..<UInt64.max), let own = try? machine.policy(ofTask: process),
            let usable = try? usableNodes(of: process)
        else { return nil }
        let space = spaces?.space(of: process)
        return lines.filter { !$0.addresses.isAgents }.flatMap { space?.parts(of: $0) ?? [($0, nil)] }.map {
            line, huge in
            let parts = areas.parts(at: line.addresses).map { ($0.buffer, $0.bytes) }
            // What a child has of its parent's huge pages has the policy of the child.
            let place = huge.map { ($0.attachment.object.memory, $0.offset) } ?? parts.first.map { ($0, $1.lowerBound) }
            let bound = place.map { machine.policy(of: $0, at: $1) } ?? .default
            let policy = (bound == .default ? own : bound).standing(within: usable)
            return machine.numaMapsLine(of: line, parts: parts, policy: policy) + "\n"
        }.joined()
    }
}
