import AttributeTree
import CoherentMemory
import MachineTopology
import SystemPackage

/// sys/fs/cgroup: groups of tasks with the cpuset controller, as of cgroup v2 (kernel/cgroup).
enum ControlGroupTree {
    static func directory(of group: ControlGroup, _ services: TreeServices) -> Directory {
        let subject = Subject(services, group)
        var children: [Child] = [.attributes(ControlGroupAttributes.everywhere, of: subject)]
        if group.parent != nil { children.append(.attributes(ControlGroupAttributes.belowRoot, of: subject)) }
        children.append(
            .dynamic(
                list: { group.children.keys.sorted() },
                lookup: { name in group.children[name].map { .directory(directory(of: $0, services)) } }))
        let maker = Directory.Maker(
            make: { name throws(Errno) in
                // As in Linux, for a name is a line of /proc/PID/cgroup.
                guard !name.utf8.contains(UInt8(ascii: "\n")) else { throw .invalidArgument }
                _ = try services.machine.makeGroup(name, in: group)
            },
            remove: { name throws(Errno) in
                guard group.children[name] != nil else { throw .notPermitted }
                try services.machine.removeGroup(name, in: group)
            })
        return Directory(identity: .init(group.id), maker: maker, children)
    }
}

/// The files of a group.
enum ControlGroupAttributes {
    static let everywhere: [Attribute<Subject<ControlGroup>>] = [
        .readWrite(
            "cgroup.procs",
            summary: "The processes of the group, a line each; write PID, or 0 for the writer, to add one.",
            records: { subject, number, client throws(Errno) in
                TaskNumbers(for: client).records(subject.machine.processes(in: try subject.living), from: number)
            }, start: attach),
        .readOnly("cpuset.mems.effective", summary: "The nodes that tasks of the group may use, a list.") {
            subject throws(Errno) in "\(subject.machine.effectiveMems(of: try subject.living))"
        },
    ]

    static let belowRoot: [Attribute<Subject<ControlGroup>>] = [
        .readWrite(
            "cpuset.mems",
            summary: "The requested nodes, a list; empty for those of the parent. Memory outside them is moved there.",
            show: { subject throws(Errno) in "\(try subject.living.mems)" }, start: setMems)
    ]

    @Sendable private static func attach(
        _ subject: Subject<ControlGroup>, _ text: AttributeText
    ) throws(Errno) -> Job {
        let (services, machine, group) = (subject.services, subject.machine, try subject.living)
        // cgroup_procs_write_start() has one errno for whatever is no process's number.
        guard let task = try? text.part(text.stripped).task() else {
            throw text.refused(.invalidArgument, "\(text.quoted) is not the number of a process")
        }
        let process = try services.process(of: task)
        return Job(.cpuset, to: machine.effectiveMems(of: group)) { cancellation, account throws(Errno) in
            let from = machine.effectiveMems(
                of: try machine.attach(process: process.id, startTime: process.startTime, to: group))
            services.follow(process, from: from, to: machine.effectiveMems(of: group), account, cancellation)
        }
    }

    @Sendable private static func setMems(
        _ subject: Subject<ControlGroup>, _ text: AttributeText
    ) throws(Errno) -> Job {
        let (services, machine, group) = (subject.services, subject.machine, try subject.living)
        let nodes = try text.part(text.stripped).nodes()
        let missing = nodes.subtracting(machine.topology.possible)
        guard missing.isEmpty else { throw text.refused(.invalidArgument, "not possible nodes: \(missing)") }
        return Job(.cpuset, from: machine.effectiveMems(of: group), to: nodes) {
            cancellation, account throws(Errno) in
            for (group, old, new) in try machine.setMems(nodes, of: group) {
                for process in machine.processes(in: group).compactMap(services.processes.identity) {
                    services.follow(process, from: old, to: new, account, cancellation)
                }
            }
        }
    }
}

extension AttributeText {
    /// The text without white space at its ends (strstrip()).
    fileprivate var stripped: String {
        let utf8 = text.utf8
        let blanks: (UInt8) -> Bool = { $0 == 0x20 || (0x09...0x0d).contains($0) }
        guard let first = utf8.firstIndex(where: { !blanks($0) }), let last = utf8.lastIndex(where: { !blanks($0) })
        else { return "" }
        return String(text[first...last])
    }
}

extension Subject<ControlGroup> {
    /// The group. ENODEV once it was removed, as kernfs has it.
    fileprivate var living: ControlGroup {
        get throws(Errno) {
            guard !part.isRemoved else { throw .operationNotSupportedByDevice }
            return part
        }
    }
}

extension TreeServices {
    /// Moves a process's memory to where it may be now (cpuset_migrate_mm()). As in Linux, what cannot be moved stays, and
    /// without an error.
    fileprivate func follow(
        _ process: TaskIdentity, from old: IDSet, to new: IDSet, _ account: MigrationAccount,
        _ cancellation: Cancellation
    ) {
        guard old != new else { return }
        try? moveMemory(of: process, from: old, to: new, account) { cancellation.isCancelled }
    }
}
