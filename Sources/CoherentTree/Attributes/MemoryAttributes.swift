import AttributeTree
import CoherentMemory
import MachineTopology
import SystemPackage

/// sys/devices/system/memory (drivers/base/memory.c).
enum MemoryAttributes {
    static let table: [Attribute<Subject<Machine>>] = [
        .readOnly("block_size_bytes", summary: "The size of a memory block.") {
            String($0.machine.topology.blockSize, radix: 16)
        },
        .readWrite(
            "auto_online_blocks",
            summary: "The state of hot-added blocks.",
            show: { $0.machine.autoOnline.rawValue },
            store: { subject, text throws(Errno) in
                subject.machine.autoOnline = try text.keyword(as: OnlineType.self)
            }),
        .writeOnly(
            "probe",
            summary:
                "Adds a memory block at a physical address, in the state of auto_online_blocks.",
            store: { subject, text throws(Errno) in try subject.machine.probe(address: try text.unsigned()) }),
        .writeOnly(
            "soft_offline_page",
            summary: "Soft offline of the page at a physical address: the page moves, and its frame is out of use.",
            start: { subject, text throws(Errno) in
                let (machine, address) = (subject.machine, try address(text))
                switch machine.kind(ofAddress: address) {
                case .online:
                    return Job("soft-offline") { cancellation throws(Errno) in
                        try machine.softOffline(address: address) { cancellation.isCancelled }
                    }
                case .offline: throw text.refused(.ioError, "the memory at this address is offline")
                case .none: throw text.refused(.noSuchAddressOrDevice, "there is no memory at this address")
                }
            }),
        .writeOnly(
            "hard_offline_page",
            summary: "Poisons the page at a physical address.",
            start: { subject, text throws(Errno) in
                let (machine, address) = (subject.machine, try address(text))
                switch machine.kind(ofAddress: address) {
                case .online:
                    return Job("poison") { cancellation throws(Errno) in
                        try machine.poison(address: address) { cancellation.isCancelled }
                    }
                case .offline, .none:
                    throw text.refused(.noSuchAddressOrDevice, "no memory is online at this address")
                }
            }),
    ]

    /// A physical address in any base. Unlike elsewhere, one that does not fit is EINVAL, too.
    private static func address(_ text: AttributeText) throws(Errno) -> UInt64 {
        do throws(Errno) {
            return try text.unsigned()
        } catch {
            throw text.refused(.invalidArgument, "\(text.quoted) is not an address of at most 64 bits")
        }
    }
}
