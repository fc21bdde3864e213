/// What the system may do with the memory of a node: one right a bit.
///
/// The rights that Linux's proposals of private memory nodes have are named as there (NODE_PRIVATE_CAP_* of "mm: private
/// memory nodes", 2026): a private node is hidden from every service of the memory management, and its driver lets services
/// in one by one. Where the versions of that series cut differently, the smaller right is here: USER_NUMA is ``mempolicy``
/// and ``userMigrate``, TIERING is ``demotion`` and ``numaBalancing``. The other rights are what an ordinary node has
/// because it is N_MEMORY. RAM has all of them.
public struct NodeCapabilities: OptionSet, Sendable, Hashable {
    /// One bit for each right, in the order of ``table``.
    public let rawValue: UInt32

    /// The rights of a set of bits; those that name none are kept and mean nothing.
    @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// The memory is a NUMA node's: its blocks are online and its pages are counted. Without it only the driver has the
    /// memory, and every other right is void.
    @inlinable public static var node: Self { Self(rawValue: 1 << 0) }
    /// The node is in the zonelists of other nodes (N_MEMORY and ZONELIST_FALLBACK).
    @inlinable public static var fallback: Self { Self(rawValue: 1 << 1) }
    /// Every task may be given its pages, not only those that hold the device open or were allowed by name.
    @inlinable public static var anyTask: Self { Self(rawValue: 1 << 2) }
    /// Policies may name the node (NODE_PRIVATE_CAP_MEMPOLICY): mbind(2), set_mempolicy(2), a buffer's policy, its pools of
    /// huge pages and its contiguous share.
    @inlinable public static var mempolicy: Self { Self(rawValue: 1 << 3) }
    /// cpuset.mems governs the node. Without it no cpuset grants or denies it.
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
    /// The kernel itself takes its pages unasked: the machine-wide pool of huge pages is spread over it.
    @inlinable public static var kernel: Self { Self(rawValue: 1 << 11) }

    /// A right as files and messages have it.
    public struct Row: Sendable {
        /// The right, a single bit.
        public let capability: NodeCapabilities
        /// Its name in `nodeN/cdm/capabilities`.
        public let name: String
        /// The rights without which it is not to be had.
        public let needs: NodeCapabilities
        /// What it lets happen, a clause.
        public let summary: String
    }

    /// Every right there is.
    public static let table = [
        Row(
            capability: .node, name: "node", needs: [],
            summary: "the memory is a NUMA node's; without it the driver alone has it"),
        Row(
            capability: .fallback, name: "fallback", needs: [.node, .mempolicy],
            summary: "allocations for other nodes fall back to it"),
        Row(
            capability: .anyTask, name: "any_task", needs: .node,
            summary: "tasks that neither hold the device open nor stand in `tasks` get its pages, too"),
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
            capability: .kernel, name: "kernel", needs: .node,
            summary: "the machine-wide pool of huge pages takes its pages unasked"),
    ]

    /// All rights there are, which RAM has.
    public static let all = table.reduce(into: Self()) { $0.formUnion($1.capability) }

    /// The names of the rights, in the order of ``table``.
    public var names: [String] { Self.table.filter { contains($0.capability) }.map(\.name) }

    /// Whether each right has those that it needs.
    public var isConsistent: Bool {
        Self.table.allSatisfy { !contains($0.capability) || isSuperset(of: $0.needs) } && isSubset(of: .all)
    }
}
