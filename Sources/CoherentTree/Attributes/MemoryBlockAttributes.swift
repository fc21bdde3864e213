import AttributeTree
import CoherentMemory
import MachineTopology
import SystemPackage

/// sys/devices/system/memory/memoryM (drivers/base/memory.c).
enum MemoryBlockAttributes {
    static let table: [Attribute<Subject<MemoryBlock>>] = [
        .readOnly("phys_index", summary: "The block's number.") { subject in
            let digits = String(subject.part.number, radix: 16)
            return String(repeating: "0", count: max(0, 8 - digits.utf8.count)) + digits
        },
        .readOnly("phys_device", summary: "The device of the block, if the firmware reports it: 0.") { _ in "0" },
        .readWrite(
            "state", isPollable: true,
            summary: "Whether the block's memory is in use: online or offline.",
            show: { $0.part.state.word },
            start: { subject, text throws(Errno) in
                let type = try text.keyword(as: OnlineType.self)
                // Memory of a device is never in the ordinary zone.
                if type == .onlineKernel, subject.part.node.kind == .coherent {
                    throw text.refused(.invalidArgument, "memory of a device is never in zone Normal")
                }
                // Setting what is set is an error here, and fine through `online`.
                if subject.part.state == (type == .offline ? .offline : .online) {
                    throw text.refused(.invalidArgument, "the block is \(subject.part.state.word) already")
                }
                return change(subject, to: type)
            }),
        .readWrite(
            "online", isPollable: true, summary: "Whether the block is online; writing the present state is accepted.",
            show: { $0.part.state == .offline ? "0" : "1" },
            start: { subject, text throws(Errno) in
                let isOnline = try text.bool()
                if subject.part.state == (isOnline ? .online : .offline) { return Job("memory-online") { _ in } }
                let (part, job) = (subject.part, change(subject, to: isOnline ? .online : .offline))
                return Job(job.name, details: job.details) { cancellation throws(Errno) in
                    do throws(Errno) {
                        try job.run(cancellation)
                    } catch .invalidArgument where part.state == (isOnline ? .online : .offline) {
                        // Another thread was faster.
                    }
                }
            }),
        .readOnly("removable", summary: "Whether the block may go offline: always, as in Linux since 5.6.") { _ in
            "1"
        },
        .readOnly("valid_zones", summary: "The zone of the block; while it is offline, the zones that it may get.") {
            subject in
            let block = subject.part
            if block.state == .online, let zone = block.zone { return zone.name }
            return block.allowedZones.map(\.name).joined(separator: " ")
        },
    ]

    private static func change(_ subject: Subject<MemoryBlock>, to type: OnlineType) -> Job {
        let (machine, block) = (subject.machine, subject.part)
        guard type == .offline else {
            return Job("memory-online") { _ throws(Errno) in try machine.online(block, as: type) }
        }
        return Job(.offline, from: [block.node.id]) { cancellation, account throws(Errno) in
            try machine.offline(block, account: account) { cancellation.isCancelled }
        }
    }
}

extension MemoryBlockState {
    /// The word in `state`.
    var word: String {
        switch self {
        case .online: "online"
        case .offline: "offline"
        case .goingOffline: "going-offline"
        // It is not visible: the files have gone with the block.
        case .absent: ""
        }
    }
}
