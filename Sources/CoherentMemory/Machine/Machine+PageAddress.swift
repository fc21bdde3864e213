import MachineTopology

extension Machine {
    /// The kind of a physical address for soft_offline_page() and memory_failure().
    public enum AddressKind: Sendable, Hashable {
        /// A page of a block that is online, or going offline.
        case online
        /// A page of a block that is offline.
        case offline
        /// Not memory of this machine.
        case none
    }

    /// The kind of a physical address, in bytes (pfn_valid() and pfn_to_online_page()).
    public func kind(ofAddress address: UInt64) -> AddressKind {
        guard let block = block(address / topology.blockSize) else { return .none }
        return block.state == .offline ? .offline : .online
    }
}
