import CLinux
import MachineTopology

/// How the text of an event names what it is about.
public protocol TraceNames {
    /// The name of a buffer or of a device's memory.
    mutating func buffer(_ id: UInt64) -> String
    /// The name of the device of a node.
    mutating func device(ofNode node: Int) -> String
    /// The number of a thread for the reader.
    mutating func task(_ pid: Int32) -> Int32
}

extension TraceEvent {
    /// The fields of the event, in the order of its text.
    public func fields(_ names: inout some TraceNames) -> [(name: String, value: String)] {
        var fields: [(name: String, value: String)] = []
        func node(_ id: UInt16) -> String { id == Self.noNode ? "-" : "\(id)" }
        func addBuffer() { fields.append(("buffer", buffer == 0 ? "-" : names.buffer(buffer))) }
        func addPages() {
            addBuffer()
            fields.append(("offset", Self.hex(start << Page.shift)))
            fields.append(("length", Self.hex(count << Page.shift)))
        }
        func addToucher() {
            fields.append(("by", flags.contains(.byDevice) ? "device" : "cpu"))
            fields.append(("local", node(local)))
        }
        func addDevice() { fields.append(("device", to == Self.noNode ? "-" : names.device(ofNode: Int(to)))) }
        switch kind {
        case .touchPlaced:
            addPages()
            fields += [("node", node(to)), ("policy", Self.policy(detail)), ("intended", node(from))]
            addToucher()
        case .touchRefused:
            addPages()
            fields.append(("error", Self.error(value)))
            addToucher()
        case .isolationRefused:
            addPages()
            fields += [("node", node(to)), ("why", IsolationRefusal(rawValue: detail)?.name ?? "-")]
            addToucher()
        case .migrated, .demoted, .promoted:
            addPages()
            fields += [
                ("from", node(from)), ("to", node(to)), ("reason", moveReason?.rawValue ?? "-"),
                ("modelled_ns", "\(value)"), ("real_ns", "\(other)"),
            ]
        case .blockState:
            let states = Kind.blockStates
            fields = [
                ("block", "\(start)"), ("node", node(to)),
                ("state", Int(detail) < states.count ? states[Int(detail)] : "-"),
            ]
        case .pagePoisoned, .pageRetired, .pageCleared, .pageCorrected:
            fields = [("address", Self.hex(start)), ("node", node(to))]
            addBuffer()
            fields += [("offset", Self.hex(value)), ("count", "\(count)")]
        case .pagesLost:
            addPages()
            fields.append(("node", node(from)))
        case .linkState:
            addDevice()
            fields.append(("state", detail == 0 ? "down" : "up"))
        case .linkStalled:
            addDevice()
            fields += [("errors", "\(count)"), ("stalled_ns", "\(value)")]
        case .commandBegin:
            addDevice()
            fields += [("number", "\(value)"), ("command", command)]
            addBuffer()
            fields += [("offset", Self.hex(start)), ("length", Self.hex(count))]
        case .commandEnd:
            addDevice()
            fields += [
                ("number", "\(value)"), ("command", command), ("error", count == 0 ? "0" : Self.error(count)),
                ("value", "\(start)"), ("real_ns", "\(other)"),
            ]
        case .policySet:
            if buffer == 0 { fields.append(("task", "\(names.task(pid))")) } else { addBuffer() }
            if flags.contains(.range) {
                fields += [("offset", Self.hex(start << Page.shift)), ("length", Self.hex(count << Page.shift))]
            }
            fields += [("policy", Self.policy(detail)), ("nodes", nodeList)]
        case .isolationSet:
            let rights = NodeCapabilities(rawValue: UInt32(truncatingIfNeeded: value)).names.joined(separator: ",")
            fields = [("node", node(to)), ("capabilities", rights.isEmpty ? "-" : rights)]
        case .cpusetSet: fields = [("group", "\(other)"), ("nodes", nodeList)]
        case .touchFound, .touchRetried:
            addPages()
            addToucher()
        case .pagesStored, .pagesFreed: addPages()
        case .bufferMade, .bufferRemoved:
            addBuffer()
            if to != Self.noNode { fields.append(("node", node(to))) }
        case .settingChanged:
            if buffer != 0 { addBuffer() }
            if to != Self.noNode { fields.append(("node", node(to))) }
            fields += [("setting", Setting(rawValue: detail)?.word ?? "-"), ("value", "\(value)")]
        case .requestMade:
            fields.append(("request", Request(rawValue: detail)?.word ?? "-"))
            if buffer == 0 { fields.append(("pages", "\(count)")) } else { addPages() }
            fields += [("from", node(from)), ("to", node(to))]
        case .taskPlaced:
            fields += [("task", "\(names.task(pid))"), ("policy", Self.policy(detail)), ("nodes", nodeList)]
            fields.append(("allowed", count == 0 ? "-" : "\(Self.nodes(ofBits: start))"))
        case .nodeState: fields = [("node", node(to)), ("state", detail == 0 ? "absent" : "present")]
        }
        return fields
    }

    /// The reason of a move.
    public var moveReason: MoveReason? {
        switch kind {
        case .migrated, .demoted, .promoted:
            Int(detail) < MoveReason.allCases.count ? MoveReason.allCases[Int(detail)] : nil
        default: nil
        }
    }

    /// The word of a command.
    private var command: String {
        Int(detail) < DeviceCommand.words.count ? DeviceCommand.words[Int(detail)] : "-"
    }

    /// The nodes of a policy or group, with an ellipsis where there are others than are recorded.
    private var nodeList: String {
        let nodes = Self.nodes(ofBits: value)
        if nodes.isEmpty, !flags.contains(.moreNodes) { return "-" }
        return "\(nodes)" + (flags.contains(.moreNodes) ? ",…" : "")
    }

    /// The mode of a policy, in one word.
    private static func policy(_ constant: UInt8) -> String {
        guard let mode = MemoryPolicy.Mode(constant: Int32(constant)) else { return "-" }
        return mode == .preferMany ? "prefer_many" : mode.rawValue.replacing(" ", with: "_")
    }

    private static func error(_ number: UInt64) -> String {
        guard let name = unsafe clinux_errno_name(Int32(truncatingIfNeeded: number)) else { return "\(number)" }
        return unsafe String(cString: name)
    }

    private static func hex(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }
}
