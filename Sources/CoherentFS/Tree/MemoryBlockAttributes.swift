import AttributeTree
import CoherentMemory
import SystemPackage

/// sys/devices/system/memory.
enum MemoryAttributes {
    static let table: [Attribute<Subject<Machine>>] = [
        .readOnly("block_size_bytes", summary: "The size of a memory block, bytes, hexadecimal without prefix.") {
            String($0.machine.topology.blockSize, radix: 16)
        }
    ]
}

/// sys/devices/system/memory/memoryM (drivers/base/memory.c).
enum MemoryBlockAttributes {
    static let table: [Attribute<Subject<MemoryBlock>>] = [
        .readOnly("phys_index", summary: "The block's number, eight hexadecimal digits.") { subject in
            let digits = String(subject.part.number, radix: 16)
            return String(repeating: "0", count: max(0, 8 - digits.utf8.count)) + digits
        },
        .readOnly("phys_device", summary: "The device the block is on, where firmware tells: 0.") { _ in "0" },
        .readWrite(
            "state", isPollable: true, summary: "online, offline or going-offline; write online or offline.",
            show: { $0.part.state.word },
            start: { subject, text throws(Errno) in
                // A block has the one zone of its node: it cannot be brought online into the other.
                let movable = subject.part.node.kind == .coherent ? "online_movable" : "online_kernel"
                let isOnline = try text.keyword(of: ["online", movable, "offline"]) != "offline"
                // Setting what is set is an error here, and fine through `online`.
                if subject.part.state == (isOnline ? .online : .offline) { throw .invalidArgument }
                return change(subject, toOnline: isOnline)
            }),
        .readWrite(
            "online", isPollable: true, summary: "1 or 0; write either.",
            show: { $0.part.state == .offline ? "0" : "1" },
            start: { subject, text throws(Errno) in
                let isOnline = try text.bool()
                if subject.part.state == (isOnline ? .online : .offline) { return Job("memory-online") { _ in } }
                return change(subject, toOnline: isOnline)
            }),
        .readOnly("removable", summary: "Whether the block may be taken offline: always, as in Linux since 5.6.") { _ in
            "1"
        },
        .readOnly("valid_zones", summary: "The zone of the block, or while it is offline the zones it may get.") {
            subject in
            switch (subject.part.node.kind, subject.part.state) {
            case (.coherent, _): "Movable"
            case (.ram, .offline): "Normal Movable"
            case (.ram, _): "Normal"
            }
        },
    ]

    private static func change(_ subject: Subject<MemoryBlock>, toOnline: Bool) -> Job {
        let (machine, block) = (subject.machine, subject.part)
        return Job(toOnline ? "memory-online" : "memory-offline") { cancellation throws(Errno) in
            if toOnline {
                try machine.online(block)
            } else {
                try machine.offline(block) { cancellation.isCancelled }
            }
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
        }
    }
}
