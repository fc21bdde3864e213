/// The zone of a memory block's frames (enum zone_type).
public enum ZoneKind: UInt8, Sendable, Hashable {
    /// ZONE_NORMAL, which the kernel itself may use.
    case normal
    /// ZONE_MOVABLE, whose pages can all move away.
    case movable

    /// The name in `valid_zones`.
    public var name: String { self == .normal ? "Normal" : "Movable" }
}

/// The target state of a memory block, in the words of `state` and `auto_online_blocks` (MMOP_…).
public enum OnlineType: String, Sendable, Hashable, CaseIterable {
    /// Offline.
    case offline
    /// Online, in the zone that its neighbours suggest.
    case online
    /// Online, in ZONE_NORMAL.
    case onlineKernel = "online_kernel"
    /// Online, in ZONE_MOVABLE.
    case onlineMovable = "online_movable"
}
