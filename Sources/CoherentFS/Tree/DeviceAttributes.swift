import AttributeTree
import CoherentMemory
import SystemPackage

/// sys/class/cdm/cdmN.
enum DeviceAttributes {
    static let table: [Attribute<Subject<Device>>] = [
        .readOnly("numa_node", summary: "The node of the device's memory.") { "\($0.part.node.id)" },
        .readOnly("size", summary: "The size of the device's memory.") { "\($0.part.memory.size)" },
        .readWrite(
            "state", isPollable: true, summary: "The state of the device's memory as a whole.",
            show: { $0.part.state.rawValue },
            start: { subject, text throws(Errno) in
                let (machine, device) = (subject.machine, subject.part)
                if try text.keyword(of: ["online", "offline"]) == "online" {
                    return Job("device-online") { _ throws(Errno) in try machine.online(device) }
                }
                return Job("device-offline") { cancellation throws(Errno) in
                    try machine.offline(device) { cancellation.isCancelled }
                }
            }),
    ]
}
