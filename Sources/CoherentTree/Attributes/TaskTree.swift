import AttributeTree
import CoherentMemory
import LinuxSupport
import SystemPackage

/// sys/kernel/cdm/tasks: what processes have of the machine's memory. The names are the reader's numbers of the processes.
enum TaskTree {
    static func directory(_ services: TreeServices) -> Child {
        .directory(
            "tasks",
            [
                .dynamic(
                    list: { client in
                        let numbers = TaskNumbers(for: client)
                        return services.processesWithMemory.compactMap { process in
                            let number = numbers[process]
                            return number > 0 ? String(number) : nil
                        }
                    },
                    lookup: { name, client in
                        guard let number = Int32(name), number > 0, String(number) == name,
                            let process = try? services.process(of: WrittenTask(number: number, client: client))
                        else { return nil }
                        return .directory(directory(of: process, services))
                    })
            ])
    }

    private static func directory(of process: TaskIdentity, _ services: TreeServices) -> Directory {
        Directory(
            identity: .init(process), ownership: { ownership(of: process) },
            [.attributes(table, of: Subject(services, process))])
    }

    /// As of /proc/PID.
    private static func ownership(of process: TaskIdentity) -> Directory.Ownership {
        let owner = ProcFile.owner(of: process.id)
        return Directory.Ownership(
            permissions: [.ownerRead, .ownerExecute, .groupRead, .groupExecute, .otherRead, .otherExecute],
            uid: owner?.user ?? 0, gid: owner?.group ?? 0)
    }

    private static let table: [Attribute<Subject<TaskIdentity>>] = [
        .readOnly(
            "resident", summary: "The bytes of the process that have a frame.",
            showForClient: { subject, client throws(Errno) in
                "\(try subject.pages(for: client).reduce(UInt64(0)) { $0 + UInt64($1.pages) } * Page.size)"
            }
        ).shownInJob(),
        .readOnly(
            "placement", summary: "The number of its pages on each node.",
            showForClient: { subject, client throws(Errno) in
                try subject.pages(for: client).map { "N\($0.node)=\($0.pages)" }.joined(separator: " ")
            }
        ).shownInJob(),
        .readOnly(
            "policy",
            summary: "The memory policy of the process, and of ranges of its memory without a file with another one.",
            records: policies
        ).shownInJob(),
    ]

    /// The policy of the process under the key 0; then those of ranges, under their addresses.
    @Sendable private static func policies(
        _ subject: Subject<TaskIdentity>, _ address: UInt64, _ client: Client
    ) throws(Errno) -> [TextRecord] {
        let (machine, process) = (subject.machine, subject.part)
        try subject.checkAccess(of: client)
        var records: [TextRecord] = []
        if address == 0 { records.append(TextRecord("\(try machine.policy(ofTask: process.id))\n", next: 1)) }
        var ranges: [(addresses: Range<UInt64>, policy: MemoryPolicy)] = []
        for part in try subject.services.memory(of: process).compactMap({ $0.clamped(to: address..<UInt64.max) }) {
            for range in machine.policyRanges(of: part.buffer, in: part.bytes, limit: rangeLimit) {
                part.addresses(of: range.bytes).map { ranges.append(($0, range.policy)) }
            }
        }
        ranges.sort { $0.addresses.lowerBound < $1.addresses.lowerBound }
        return records
            + ranges.prefix(rangeLimit).map { addresses, policy in
                TextRecord(
                    "\(hex(addresses.lowerBound)) \(hex(UInt64(addresses.count))) \(policy)\n",
                    next: addresses.upperBound)
            }
    }

    /// So many ranges are listed at a time.
    private static let rangeLimit = 256
}

extension Subject<TaskIdentity> {
    /// The pages of a process on each node, ascending by node id.
    fileprivate func pages(for client: Client) throws(Errno) -> [(node: Int, pages: Int)] {
        try checkAccess(of: client)
        var sums: [Int: Int] = [:]
        func add(_ buffer: Buffer, _ bytes: Range<UInt64>) {
            for (node, pages) in machine.residentPages(of: buffer, bytes: bytes).nodes {
                sums[node, default: 0] += pages
            }
        }
        for memory in try services.memory(of: part) { add(memory.buffer, memory.bytes) }
        for mapping in try services.mappings(of: part) { add(mapping.buffer, mapping.bytes) }
        return sums.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    }

    /// Whether a reader may look into the process (ptrace_may_access() with PTRACE_MODE_READ_FSCREDS). EACCES where it may not.
    fileprivate func checkAccess(of client: Client) throws(Errno) {
        guard client.task != 0, client.task != part.id else { return }
        guard let reader = Credentials(task: client.task), let status = try? ProcStatus(task: part.id) else {
            throw .permissionDenied
        }
        if reader.has(.trace) || ProcStatus.process(of: client.task) == part.id { return }
        guard let users = status.users, let groups = status.primaryGroups,
            [users.real, users.effective, users.saved].allSatisfy({ $0 == client.user }),
            [groups.real, groups.effective, groups.saved].allSatisfy({ $0 == reader.gid }),
            // Of root, where the process forbids others to look into it (PR_SET_DUMPABLE).
            ProcFile.ownerOfFiles(of: part.id)?.user == client.user
        else { throw .permissionDenied }
    }
}

extension TreeServices {
    /// The processes that are known to have memory of the machine, or to have buffers open, ascending.
    fileprivate var processesWithMemory: [Int32] {
        let (known, others) = files.processesOfPrograms
        var found = Set(known)
        if others > 0 { addChildren(to: &found, atMost: others) }
        found.formUnion(files.openers.compactMap { processes.task($0)?.process })
        return found.filter { processes.identity(of: $0) != nil }.sorted()
    }

    /// Adds processes that forks have made and that have made no call yet: they are children of others.
    private func addChildren(to found: inout Set<Int32>, atMost limit: Int) {
        var left = limit
        var parents = found
        let all = processes.processes.compactMap { processes.task($0) }
        while left > 0, !parents.isEmpty {
            let children = all.filter { parents.contains($0.parent) && !found.contains($0.process) }
            parents = []
            for child in children {
                let process = TaskIdentity(id: child.process, startTime: child.startTime)
                do throws(Errno) {
                    parents.insert(process.id)
                    guard try !memory(of: process).isEmpty else { continue }
                } catch {
                    // One that does not let itself be read delays no reader twice.
                    if error == .timedOut { return }
                    continue
                }
                found.insert(process.id)
                left -= 1
            }
        }
    }
}
