/// Which of a node's zones a memory block's frames are in (enum zone_type).
public enum ZoneKind: UInt8, Sendable, Hashable {
    /// Memory that the kernel itself may use, ZONE_NORMAL.
    case normal
    /// Memory from which everything can be moved away, ZONE_MOVABLE.
    case movable

    /// The name in `valid_zones`.
    public var name: String { self == .normal ? "Normal" : "Movable" }
}

/// What is to become of a memory block, in the words of `state` and `auto_online_blocks` (MMOP_…).
public enum OnlineType: String, Sendable, Hashable, CaseIterable {
    /// Not available.
    case offline
    /// Available, in the zone that its neighbours suggest.
    case online
    /// Available, in the zone that the kernel itself may use.
    case onlineKernel = "online_kernel"
    /// Available, in the zone from which everything can be moved away.
    case onlineMovable = "online_movable"
}
