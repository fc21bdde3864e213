/// One node of a ``Topology``: a `[[node]]` of its file.
public struct NodeDescription: Sendable, Hashable {
    /// The kind of a node's memory.
    public enum Kind: String, Sendable, Hashable, CaseIterable {
        /// Ordinary memory.
        case ram
        /// Memory of a device, coherent with the CPUs' caches; it has no CPUs.
        case coherent
    }

    /// The node's number, `0 ..< IDSet.maxNodes`.
    public var id: Int
    /// The kind of the node's memory.
    public var kind: Kind
    /// The size of its memory in bytes, a multiple of the block size.
    public var memory: UInt64
    /// The CPUs of the node, empty on a coherent one.
    public var cpus: IDSet
    /// The name of the device (`cdm0`) whose memory this is, `nil` on a RAM node.
    public var device: String?
    /// Who may be given its pages; ``Isolation/none`` on a RAM node.
    public var isolation: Isolation
    /// The share in bytes that is reserved for contiguous buffers, at most ``memory``.
    public var contiguous: UInt64
    /// Whether its memory blocks are online at the start; otherwise they are offline, as after hot-add.
    public var isOnline: Bool
    /// The node of the host that provides its memory, as far as it can; `nil` if the host chooses.
    public var hostNode: Int?
    /// What its device is on the buses of the machine, which a ``Topology`` completes; `nil` on a RAM node.
    public var pci: PCIDevice?
    /// The initial capabilities of its memory.
    public var capabilities: NodeCapabilities { kind == .ram ? .all : isolation.capabilities }
    /// The performance of the CPUs' access to its memory; `nil` for figures from the distance to the nearest CPUs,
    /// which a ``Topology`` fills in.
    public var link: Link?
    /// The performance of its device's own access to its memory, if the device is an initiator like a CPU (a generic initiator
    /// of ACPI); `nil` on a RAM node.
    public var initiator: Link?
    /// The caches in front of its memory, each of a different level.
    public var caches: [MemorySideCache] = []

    /// A node of RAM of `memory` bytes with the CPUs `cpus`.
    public static func ram(
        id: Int, memory: UInt64, cpus: IDSet = [], isOnline: Bool = true, link: Link? = nil
    ) -> NodeDescription {
        NodeDescription(
            id: id, kind: .ram, memory: memory, cpus: cpus, device: nil, isolation: .none, contiguous: 0,
            isOnline: isOnline, hostNode: nil, pci: nil, link: link)
    }

    /// A coherent device node of `memory` bytes. Without a `device`, the topology gives it the first free name
    /// of `cdm0`, `cdm1`, …
    public static func coherent(
        id: Int, memory: UInt64, device: String? = nil, isolation: Isolation = .exclusive, contiguous: UInt64 = 0,
        isOnline: Bool = true, link: Link? = nil, pci: PCIDevice = PCIDevice(),
        initiator: Link? = nil
    ) -> NodeDescription {
        NodeDescription(
            id: id, kind: .coherent, memory: memory, cpus: [], device: device, isolation: isolation,
            contiguous: contiguous, isOnline: isOnline, hostNode: nil, pci: pci, link: link,
            initiator: initiator)
    }
}
