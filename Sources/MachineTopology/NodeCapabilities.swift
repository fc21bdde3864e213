/// What the system may do with the memory of a node: one right a bit.
///
/// Rights that exist in Linux's proposals of private memory nodes have their names (NODE_PRIVATE_CAP_* of "mm: private
/// memory nodes", 2026): a private node is hidden from every service of the memory management, and its driver permits
/// services one by one. Where the versions of that series divide rights differently, the smaller right is used here:
/// USER_NUMA is ``mempolicy`` and ``userMigrate``, TIERING is ``demotion`` and ``numaBalancing``. The other rights are
/// those of an ordinary node, which has them as N_MEMORY. RAM has all of them.
public struct NodeCapabilities: OptionSet, Sendable, Hashable {
    /// One bit for each right, in the order of ``table``.
    public let rawValue: UInt32

    /// The rights of a set of bits; unknown bits are kept and have no effect.
    @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// The memory belongs to a NUMA node: its blocks are online and its pages are counted. Without it only the driver has
    /// the memory, and the other rights have no effect.
    @inlinable public static var node: Self { Self(rawValue: 1 << 0) }
    /// The node is in the zonelists of other nodes (N_MEMORY and ZONELIST_FALLBACK).
    @inlinable public static var fallback: Self { Self(rawValue: 1 << 1) }
    /// Every task may get its pages, not only those that hold the device open or were allowed by name.
    @inlinable public static var anyTask: Self { Self(rawValue: 1 << 2) }
    /// Policies may name the node (NODE_PRIVATE_CAP_MEMPOLICY): mbind(2), set_mempolicy(2), a buffer's policy, its pools of
    /// huge pages and its contiguous share.
    @inlinable public static var mempolicy: Self { Self(rawValue: 1 << 3) }
    /// cpuset.mems applies to the node. Without it no cpuset grants or denies it.
    @inlinable public static var cpuset: Self { Self(rawValue: 1 << 4) }
    /// Programs may move pages to the node and away from it (NODE_PRIVATE_CAP_USER_MIGRATE): move_pages(2),
    /// migrate_pages(2), `migrate`.
    @inlinable public static var userMigrate: Self { Self(rawValue: 1 << 5) }
    /// Its blocks go offline by migrating their pages (NODE_PRIVATE_CAP_HOTUNPLUG); without it only empty ones do.
    @inlinable public static var hotunplug: Self { Self(rawValue: 1 << 6) }
    /// kswapd and `reclaim` take its pages (NODE_PRIVATE_CAP_RECLAIM).
    @inlinable public static var reclaim: Self { Self(rawValue: 1 << 7) }
    /// Reclaim of faster nodes moves pages to it (NODE_PRIVATE_CAP_DEMOTION); needs ``reclaim``.
    @inlinable public static var demotion: Self { Self(rawValue: 1 << 8) }
    /// NUMA balancing marks its pages, and moves pages to it and away from it (NODE_PRIVATE_CAP_NUMA_BALANCING).
    @inlinable public static var numaBalancing: Self { Self(rawValue: 1 << 9) }
    /// Its pages may be pinned for long (NODE_PRIVATE_CAP_LTPIN).
    @inlinable public static var longtermPin: Self { Self(rawValue: 1 << 10) }
    /// The kernel takes its pages without a request for the node: it has a part of the machine-wide pool of huge pages.
    @inlinable public static var kernel: Self { Self(rawValue: 1 << 11) }

    /// The name and the needs of a right.
    public struct Row: Sendable {
        /// The right, a single bit.
        public let capability: NodeCapabilities
        /// Its name in `nodeN/cdm/capabilities`.
        public let name: String
        /// The rights that it needs.
        public let needs: NodeCapabilities
        /// A clause about what it permits.
        public let summary: String
    }

    /// All rights.
    public static let table = [
        Row(
            capability: .node, name: "node", needs: [],
            summary: "the memory belongs to a NUMA node; without it only the driver has the memory"),
        Row(
            capability: .fallback, name: "fallback", needs: [.node, .mempolicy],
            summary: "allocations for other nodes fall back to it"),
        Row(
            capability: .anyTask, name: "any_task", needs: .node,
            summary: "tasks that neither hold the device open nor are in `tasks` get its pages, too"),
        Row(
            capability: .mempolicy, name: "mempolicy", needs: .node,
            summary: "policies, pools of huge pages and contiguous buffers may name it"),
        Row(capability: .cpuset, name: "cpuset", needs: .node, summary: "cpuset.mems grants and denies it"),
        Row(
            capability: .userMigrate, name: "user_migrate", needs: .node,
            summary: "programs may move pages to it and away from it"),
        Row(
            capability: .hotunplug, name: "hotunplug", needs: .node,
            summary: "pages are migrated away when a block of it goes offline"),
        Row(capability: .reclaim, name: "reclaim", needs: .node, summary: "kswapd and `reclaim` free its pages"),
        Row(
            capability: .demotion, name: "demotion", needs: [.node, .reclaim],
            summary: "reclaim of faster nodes moves pages to it"),
        Row(
            capability: .numaBalancing, name: "numa_balancing", needs: .node,
            summary: "NUMA balancing moves pages to it and away from it"),
        Row(capability: .longtermPin, name: "ltpin", needs: .node, summary: "its pages may be pinned"),
        Row(
            capability: .kernel, name: "kernel", needs: [.node, .mempolicy],
            summary: "the machine-wide pool of huge pages takes its pages without a request for the node"),
    ]

    /// All rights, which RAM has.
    public static let all = table.reduce(into: Self()) { $0.formUnion($1.capability) }

    /// The names of the rights, in the order of ``table``.
    public var names: [String] { Self.table.filter { contains($0.capability) }.map(\.name) }

    /// Whether each right has the rights that it needs.
    public var isConsistent: Bool {
        Self.table.allSatisfy { !contains($0.capability) || isSuperset(of: $0.needs) } && isSubset(of: .all)
    }
}
