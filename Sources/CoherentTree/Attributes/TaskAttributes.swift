import AttributeTree
import CoherentMemory
import MachineTopology
import SystemPackage

/// Tasks in sys/kernel/cdm.
enum TaskAttributes {
    static let table: [Attribute<TreeServices>] = [
        .readWrite(
            "task_policy", summary: "PID POLICY of each task that has a policy; write PID POLICY, as set_mempolicy(2).",
            records: { services, number, client in
                let policies = services.machine.taskPolicies.filter { UInt64($0.task) >= number }.prefix(256)
                let numbers = TaskNumbers(for: client)
                return policies.map {
                    TextRecord("\(numbers[$0.task]) \($0.policy)\n", next: UInt64($0.task) + 1)
                }
            }, store: setPolicy),
        .writeOnly(
            "migrate_pages",
            summary: "Write PID FROM TO, lists of nodes: moves the pages that the task maps, as migrate_pages(2) does.",
            start: migratePages),
        .readOnly(
            "zonelists", summary: "The zonelists: the nodes that an allocation for a node tries in turn, a line each.",
            records: { services, place, _ in
                // A record a node.
                services.machine.nodes.dropFirst(Int(clamping: place)).prefix(1).map { node in
                    let lines = services.machine.zonelists(of: node).map { list in
                        (["node\(node.id)", "\(list.kind.rawValue):"] + list.nodes.map(String.init))
                            .joined(separator: " ") + "\n"
                    }
                    return TextRecord(lines.joined(), next: place + 1)
                }
            }),
    ]

    /// sys/kernel/debug.
    static let debugging: [Attribute<TreeServices>] = [
        .writeOnly(
            "coherent_debug",
            summary:
                "Write pid,0xstart,0xend,nid: moves the task's pages of this mount at these addresses to the node.",
            start: migrateVirtualRange)
    ]

    @Sendable private static func setPolicy(_ services: TreeServices, _ text: AttributeText) throws(Errno) {
        let line = text.text.drop { $0 == " " }
        guard let blank = line.firstIndex(of: " ") else { throw text.refused(.invalidArgument, "expected PID POLICY") }
        let task = try text.part(line[..<blank]).task()
        let words = line[blank...].drop { $0 == " " }
        let machine = services.machine
        let policy = try text.part(words).policy(of: machine)
        let target = try services.task(task)
        try machine.setPolicy(policy, ofTask: target.id, startTime: target.startTime)
    }

    @Sendable private static func migratePages(_ services: TreeServices, _ text: AttributeText) throws(Errno) -> Job {
        let words = text.words
        guard words.count == 3 else { throw text.refused(.invalidArgument, "expected PID FROM TO") }
        let machine = services.machine
        let task = try words[0].task()
        let old = try words[1].nodes()
        var new = try words[2].nodes()
        guard !old.isEmpty, !new.isEmpty else { throw text.refused(.invalidArgument, "a list has no node") }
        let process = try services.process(of: task)
        // What the writer may not use, and what has no memory, is left out; something must be left.
        new.formIntersection(machine.nodesWithMemory)
        if let group = try? machine.group(ofProcess: text.writer) {
            new.formIntersection(machine.allowedNodes(of: group))
        }
        guard !new.isEmpty else {
            throw text.refused(.invalidArgument, "no node of TO has memory and is allowed for the writer")
        }
        try machine.checkAccess(to: new, by: text.writer)
        return Job(.task, from: old, to: new) { [new] cancellation, account throws(Errno) in
            try services.moveMemory(of: process, from: old, to: new, account) { cancellation.isCancelled }
        }
    }

    /// migrate_virtual_range() of the 2016 proposal.
    @Sendable private static func migrateVirtualRange(
        _ services: TreeServices, _ text: AttributeText
    ) throws(Errno) -> Job {
        let fields = text.text.split(separator: ",", omittingEmptySubsequences: false).map {
            text.part($0)
        }
        guard fields.count == 4 else { throw text.refused(.invalidArgument, "expected pid,0xstart,0xend,nid") }
        let task = try fields[0].task()
        let (start, end) = (try fields[1].hexadecimal(), try fields[2].hexadecimal())
        let target = try fields[3].nodeID()
        guard start < end, (start | end) & (Page.size - 1) == 0 else {
            throw text.refused(.invalidArgument, "the range is empty, or does not consist of pages")
        }
        guard let node = services.machine.node(target), node.hasMemory else {
            throw text.refused(.operationNotSupportedByDevice, "node \(target) does not exist or has no memory online")
        }
        try services.machine.checkAccess(to: node, by: text.writer)
        let process = try services.process(of: task)
        return Job(.range, to: [target]) { cancellation, account throws(Errno) in
            try services.moveMemory(of: process, addresses: start..<end, to: target, account) {
                cancellation.isCancelled
            }
        }
    }
}
