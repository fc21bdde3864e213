import AttributeTree
import CoherentMemory
import MachineTopology
import SystemPackage

/// sys/devices/system/node: the lists (node_state_attr of drivers/base/node.c).
enum NodeListAttributes {
    static let table: [Attribute<Machine>] = [
        list("online", "Online nodes: all except those whose device was removed.") { $0.isPresent },
        .readOnly("possible", summary: "Possible nodes.") { "\($0.topology.possible)" },
        list("has_cpu", "Nodes with CPUs.") { !$0.cpus.isEmpty },
        list("has_normal_memory", "Nodes with memory in zone Normal.") {
            $0.hasNormalMemory
        },
        list("has_memory", "Nodes with memory that policies may name.", isPollable: true) {
            $0.hasMemory && $0.capabilities.contains(.mempolicy)
        },
        list(
            "has_private_memory", "Nodes with memory that policies may not name, under the name of the 2026 proposal.",
            isPollable: true
        ) { $0.hasMemory && !$0.capabilities.contains(.mempolicy) },
        list("has_generic_initiator", "Nodes with initiators other than CPUs.") {
            $0.initiator != nil && $0.isPresent
        },
        list("is_coherent_device", "Coherent device nodes, under the name of the 2016 proposal.") {
            $0.kind == .coherent && $0.isPresent
        },
        list("is_cdm_node", "Coherent device nodes, under the name of the 2017 proposal.") {
            $0.kind == .coherent && $0.isPresent
        },
    ]

    private static func list(
        _ name: String, _ summary: String, isPollable: Bool = false,
        _ isMember: @escaping @Sendable (CoherentMemory.Node) -> Bool
    ) -> Attribute<Machine> {
        .readOnly(name, isPollable: isPollable, summary: summary) { machine in
            "\(IDSet(machine.nodes.lazy.filter(isMember).map(\.id)))"
        }
    }
}

/// sys/devices/system/node/nodeN.
enum NodeAttributes {
    static let table: [Attribute<Subject<CoherentMemory.Node>>] = [
        .readOnly("cpulist", summary: "The node's CPUs as a list.") { "\($0.part.cpus)" },
        .readOnly("cpumap", summary: "The node's CPUs as a mask.") {
            $0.part.cpus.map(width: $0.machine.cpuMaskWidth)
        },
        .readOnly("distance", summary: "The distances to all online nodes; 10 is local.") { subject in
            zip(subject.machine.nodes, subject.part.distances).filter(\.0.isPresent).map { "\($1)" }
                .joined(separator: " ")
        },
        .readOnly("meminfo", summary: "Memory of the node by use, kB.") { NodeMeminfo.text(of: $0) },
        .readOnly("numastat", summary: "Allocation counters, pages.") { subject in
            let statistics = subject.part.statistics
            return nameValueLines([
                ("numa_hit", statistics.hit), ("numa_miss", statistics.miss), ("numa_foreign", statistics.foreign),
                ("interleave_hit", statistics.interleaveHit), ("local_node", statistics.local),
                ("other_node", statistics.other),
            ])
        },
        .readOnly("vmstat", summary: "Memory and events of the node, pages.") { NodeVmstat.text(of: $0) },
    ]
}

/// sys/devices/system/node/nodeN/cdm of coherent nodes.
enum CoherentNodeAttributes {
    static let table: [Attribute<Subject<CoherentMemory.Node>>] = [
        .readWrite(
            "isolation", isPollable: true,
            summary: "Which allocations may get pages of the node: a name for its rights.",
            show: { subject in
                let word = Isolation(subject.part.capabilities)?.rawValue ?? ""
                return choices(of: Isolation.allCases.map(\.rawValue), selected: word)
            },
            store: { subject, text throws(Errno) in
                try subject.machine.setIsolation(try text.keyword(as: Isolation.self), of: subject.part)
            }),
        .readWrite(
            "capabilities", isPollable: true, summary: "What the system may do with the node's memory, a right a line.",
            show: { subject in
                let capabilities = subject.part.capabilities
                return nameValueLines(
                    NodeCapabilities.table.map { ($0.name, capabilities.contains($0.capability) ? 1 : 0) })
            },
            store: { subject, text throws(Errno) in
                let (given, taken) = try capabilityChanges(text)
                try subject.machine.updateCapabilities(of: subject.part) { $0 = $0.union(given).subtracting(taken) }
            }),
        .readOnly("contiguous", summary: "The share reserved for contiguous buffers, pages.") { subject in
            let usage = subject.part.usage.contiguous
            return nameValueLines([
                ("total", UInt64(usage.total)), ("free", UInt64(usage.free)), ("largest", UInt64(usage.largest)),
            ])
        },
        .readOnly("refused", summary: "Allocations that isolation refused.") { subject in
            let statistics = subject.part.statistics
            return nameValueLines([
                ("fallback", statistics.refusedFallback), ("not_allowed", statistics.refusedNotAllowed),
                ("hugetlb", statistics.refusedHugePages),
            ])
        },
        .readWrite(
            "tasks",
            summary:
                "Processes that get pages without the right any_task, besides those that hold the device open; write PID or -PID.",
            records: { subject, number, client in
                TaskNumbers(for: client).records(subject.machine.permittedProcesses(on: subject.part), from: number)
            },
            store: { subject, text throws(Errno) in try permit(subject, text) }),
        PressureAttributes.pressure,
        .readWrite(
            "migrate", isPollable: true,
            summary: "Moves all pages of the node to another node, or cancels the move; shows the last result.",
            show: { $0.part.migration.line },
            start: { subject, text throws(Errno) in
                let (machine, node) = (subject.machine, subject.part)
                let word = try text.word
                if word == "cancel" {
                    subject.services.jobs.cancel(about: node)
                    node.cancelMigrations()
                    return Job("migrate-cancel") { _ in }
                }
                let target = try text.nodeID(of: machine)
                try machine.checkMigration(ofNode: node, to: target)
                if let node = machine.node(target) { try machine.checkAccess(to: node, by: text.writer) }
                return Job(.node, from: [node.id], to: [target], subject: node) {
                    cancellation, account throws(Errno) in
                    try machine.migrate(node: node, to: target, account: account) { cancellation.isCancelled }
                }
            }
        ).changingSteadily(),
    ]

    /// Reads `NAME 0` and `NAME 1`, any number of them. EINVAL for another name or value, and for a name that comes twice.
    private static func capabilityChanges(
        _ text: AttributeText
    ) throws(Errno) -> (given: NodeCapabilities, taken: NodeCapabilities) {
        let words = text.words
        guard !words.isEmpty, words.count.isMultiple(of: 2) else {
            throw text.refused(.invalidArgument, "expected NAME 0 or NAME 1")
        }
        var (given, taken) = (NodeCapabilities(), NodeCapabilities())
        for place in stride(from: 0, to: words.count, by: 2) {
            let name = words[place].text
            guard let row = NodeCapabilities.table.first(where: { $0.name == name }) else {
                throw text.refused(.invalidArgument, "\(words[place].quoted) is not a right")
            }
            guard given.union(taken).isDisjoint(with: row.capability) else {
                throw text.refused(.invalidArgument, "\(name) is given twice")
            }
            switch words[place + 1].text {
            case "1": given.formUnion(row.capability)
            case "0": taken.formUnion(row.capability)
            default: throw text.refused(.invalidArgument, "\(words[place + 1].quoted) is not 0 or 1")
            }
        }
        return (given, taken)
    }

    @Sendable private static func permit(
        _ subject: Subject<CoherentMemory.Node>, _ text: AttributeText
    ) throws(Errno) {
        let (machine, node) = (subject.machine, subject.part)
        let word = try text.word
        guard word.utf8.first == UInt8(ascii: "-") else {
            let task = try subject.services.task(try text.part(word).task())
            try machine.setPermitted(true, process: task.id, startTime: task.startTime, on: node)
            return
        }
        let process = try subject.services.process(
            of: try text.part(word.dropFirst()).task())
        // It is there, but not in the list.
        guard machine.permittedProcesses(on: node).contains(process.id) else {
            throw text.refused(.invalidArgument, "the process is not in the list")
        }
        try machine.setPermitted(false, process: process.id, on: node)
    }
}
