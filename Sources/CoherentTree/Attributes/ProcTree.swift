import AttributeTree
import CoherentMemory
import MachineTopology

/// sys/kernel/cdm/proc: the files of /proc that are of the machine as a whole, in Linux's formats. `cdmfs run` puts them over
/// the host's.
enum ProcTree {
    static func directory(_ services: TreeServices) -> Child {
        .directory("proc", [.attributes(table, of: services.machine)])
    }

    private static let table: [Attribute<Machine>] = [
        .readOnly("buddyinfo", summary: "Free blocks of each zone by their order.", records: byNode(buddyinfo)),
        .readOnly("meminfo", summary: "The memory of the machine.", show: meminfo),
        .readOnly(
            "pagetypeinfo", summary: "Free blocks of each zone by their order and mobility.", records: pagetypeinfo),
        .readOnly("vmstat", summary: "Counters and events, summed over all nodes.", show: vmstat),
        .readOnly("zoneinfo", summary: "Figures and watermarks of each zone.", records: byNode(zoneinfo)),
    ]

    private static func nodes(of machine: Machine) -> [CoherentMemory.Node] {
        machine.presentNodes.filter(\.hasMemory)
    }

    /// The only zone of a node with memory.
    private static func zone(of node: CoherentMemory.Node) -> String { node.kind == .coherent ? "Movable" : "Normal" }

    /// A text of each node in turn: the key is the id.
    private static func byNode(
        _ text: @escaping @Sendable (CoherentMemory.Node, Machine) -> String
    ) -> Attribute<Machine>.Records {
        { machine, id, _ in
            nodes(of: machine).lazy.filter { UInt64($0.id) >= id }.prefix(1).map {
                TextRecord(text($0, machine) + "\n", next: UInt64($0.id) + 1)
            }
        }
    }

    /// frag_show_print() of mm/vmstat.c.
    @Sendable private static func buddyinfo(_ node: CoherentMemory.Node, _ machine: Machine) -> String {
        "Node \(node.id), zone \(zone(of: node).leftPadded(to: 8)) "
            + orders(node.usage.freeBlocks).map { String($0).leftPadded(to: 6) + " " }.joined()
    }

    /// pagetypeinfo_show() of mm/vmstat.c. All pages are movable. The keys are 0 for the first heading, the nodes after it, and the same
    /// once more for the second part.
    @Sendable private static func pagetypeinfo(_ machine: Machine, _ key: UInt64, _ client: Client) -> [TextRecord] {
        let types = ["Unmovable", "Movable", "Reclaimable", "HighAtomic"]
        let second = UInt64(IDSet.maxNodes) + 1
        if key == 0 {
            let orders = (0...10).map { String($0).leftPadded(to: 6) + " " }.joined()
            return [
                TextRecord(
                    "Page block order: 9\nPages per block:  512\n\nFree pages count per migrate type at order  \(orders)\n",
                    next: 1)
            ]
        }
        if key < second, let node = nodes(of: machine).first(where: { UInt64($0.id) + 1 >= key }) {
            let free = orders(node.usage.freeBlocks)
            let lines = types.map { type in
                "Node \(String(node.id).leftPadded(to: 4)), zone \(zone(of: node).leftPadded(to: 8)), "
                    + "type \(type.leftPadded(to: 12)) "
                    + free.map { String(type == "Movable" ? $0 : 0).leftPadded(to: 6) + " " }.joined() + "\n"
            }
            return [TextRecord(lines.joined(), next: UInt64(node.id) + 2)]
        }
        if key <= second {
            let names = types.map { $0.leftPadded(to: 12) + " " }.joined()
            return [TextRecord("\nNumber of blocks type  \(names)\n", next: second + 1)]
        }
        guard let node = nodes(of: machine).first(where: { UInt64($0.id) + second + 1 >= key }) else { return [] }
        let blocks = node.usage.present / 512
        let counts = types.map { String($0 == "Movable" ? blocks : 0).leftPadded(to: 12) + " " }.joined()
        return [
            TextRecord(
                "Node \(node.id), zone \(zone(of: node).leftPadded(to: 8)) \(counts)\n",
                next: UInt64(node.id) + second + 2)
        ]
    }

    /// The counts by Linux's orders, up to MAX_PAGE_ORDER: a larger block is several of the largest.
    private static func orders(_ counts: [Int]) -> [Int] {
        let largest = 10
        var folded = Array(counts.prefix(largest + 1))
        for (order, count) in counts.enumerated().dropFirst(largest + 1) {
            folded[largest] += count << (order - largest)
        }
        return folded
    }

    /// meminfo_proc_show() of fs/proc/meminfo.c.
    private static func meminfo(_ machine: Machine) -> String {
        let nodes = nodes(of: machine)
        let usages = nodes.map(\.usage)
        let lists = zip(nodes, usages).map { PageLists(of: $0, $1, in: machine) }
        func sum(_ figure: (NodeUsage) -> Int) -> Int { usages.reduce(0) { $0 + figure($1) } }
        let (active, inactive) = (lists.reduce(0) { $0 + $1.active }, lists.reduce(0) { $0 + $1.inactive })
        let unevictable = lists.reduce(0) { $0 + $1.unevictable }
        let activeAnonymous = lists.reduce(0) { $0 + $1.activeAnonymous }
        let inactiveAnonymous = lists.reduce(0) { $0 + $1.inactiveAnonymous }
        let anonymous = sum(\.anonymous)
        let file = sum(\.allocated) - anonymous
        let (total, free, huge) = (sum(\.present), sum(\.free), sum(\.hugePool.total))
        let reserve = nodes.reduce(0) { $0 + $1.watermarks.low }
        let pages: [(String, Int)] = [
            ("MemTotal", total), ("MemFree", free), ("MemAvailable", max(0, free - reserve)), ("Buffers", 0),
            ("Cached", file), ("SwapCached", 0), ("Active", activeAnonymous + active),
            ("Inactive", inactiveAnonymous + inactive), ("Active(anon)", activeAnonymous),
            ("Inactive(anon)", inactiveAnonymous), ("Active(file)", active), ("Inactive(file)", inactive),
            ("Unevictable", unevictable), ("Mlocked", unevictable), ("SwapTotal", 0), ("SwapFree", 0), ("Zswap", 0),
            ("Zswapped", 0), ("Dirty", sum(\.written)), ("Writeback", 0), ("AnonPages", anonymous),
            ("Mapped", sum(\.cached)),
            ("Shmem", file), ("KReclaimable", 0), ("Slab", 0), ("SReclaimable", 0), ("SUnreclaim", 0),
            ("KernelStack", 0), ("PageTables", 0), ("SecPageTables", 0), ("NFS_Unstable", 0), ("Bounce", 0),
            ("WritebackTmp", 0),
            // vm_commit_limit() with overcommit_ratio at its default of 50.
            ("CommitLimit", (total - huge * HugePage.frames) / 2), ("Committed_AS", 0), ("VmallocTotal", 0),
            ("VmallocUsed", 0), ("VmallocChunk", 0), ("Percpu", 0), ("HardwareCorrupted", sum(\.poisoned)),
            ("AnonHugePages", 0), ("ShmemHugePages", sum(\.huge) * HugePage.frames), ("ShmemPmdMapped", 0),
            ("FileHugePages", 0), ("FilePmdMapped", 0),
        ]
        let pools: [(String, Int)] = [
            ("HugePages_Total", huge), ("HugePages_Free", sum(\.hugePool.free)),
            ("HugePages_Rsvd", machine.reservedHugePages),
            ("HugePages_Surp", sum(\.hugePool.surplus)),
        ]
        let sizes = [("Hugepagesize", HugePage.frames), ("Hugetlb", huge * HugePage.frames)]
        func kilobytes(_ figures: [(String, Int)]) -> [String] {
            figures.map { "\(($0 + ":").padded(to: 16))\(String($1 * 4).leftPadded(to: 8)) kB" }
        }
        let counts = pools.map { "\(($0 + ":").padded(to: 16)) \(String($1).leftPadded(to: 7))" }
        return (kilobytes(pages) + counts + kilobytes(sizes)).joined(separator: "\n")
    }

    /// vmstat_show() of mm/vmstat.c: the keys of the nodes, then the events of the machine.
    private static func vmstat(_ machine: Machine) -> String {
        let figures = nodes(of: machine).map { NodeVmstat.figures(of: $0, in: machine) }
        let sums = NodeVmstat.keys.map { key in (key, figures.reduce(0) { $0 + ($1[key] ?? 0) }) }
        return nameValueLines(sums + PressureAttributes.events(of: machine).filter { !NodeVmstat.keys.contains($0.0) })
    }

    /// zoneinfo_show_print() of mm/vmstat.c, as far as the simulation has what it shows.
    @Sendable private static func zoneinfo(_ node: CoherentMemory.Node, _ machine: Machine) -> String {
        let usage = node.usage
        let marks = node.watermarks
        let figures = NodeVmstat.figures(of: node, in: machine)
        func lines(_ keys: [String]) -> [String] {
            keys.map { "      \($0.padded(to: 12)) \(figures[$0] ?? 0)" }
        }
        let isOfZone = { (key: String) in
            key.hasPrefix("nr_zone_")
                || ["nr_free_pages", "nr_free_pages_blocks", "nr_mlock", "nr_free_cma"].contains(key)
        }
        let events = NodeVmstat.keys.filter { $0.hasPrefix("numa_") }
        let pages: [(String, Int)] = [
            ("  pages free", usage.free), ("boost", 0), ("min", marks.min), ("low", marks.low),
            ("high", marks.high),
            ("promo", marks.promo), ("spanned", spanned(node, machine)), ("present", usage.present),
            ("managed", usage.present), ("cma", usage.contiguous.total),
        ]
        return
            (["Node \(node.id), zone \(zone(of: node).leftPadded(to: 8))", "  per-node stats"]
            + lines(NodeVmstat.keys.filter { !isOfZone($0) && !events.contains($0) })
            + pages.map { name, count in
                name.hasPrefix(" ") ? "\(name)     \(count)" : "        \(name.padded(to: 8)) \(count)"
            }
            + ["        protection: (0, 0, 0, 0, 0)"]
            + lines(NodeVmstat.keys.filter(isOfZone) + events)).joined(separator: "\n")
    }
}

extension ProcTree {
    /// Pages from the first block of a node to its last, holes and all.
    private static func spanned(_ node: CoherentMemory.Node, _ machine: Machine) -> Int {
        let blocks = machine.blockNumbers(of: node)
        guard let first = blocks.first, let last = blocks.last else { return 0 }
        return Int(last - first + 1) * machine.pagesPerBlock
    }
}

extension String {
    /// With blanks behind it up to a width.
    func padded(to width: Int) -> String { self + String(repeating: " ", count: max(0, width - utf8.count)) }

    /// With blanks before it up to a width.
    func leftPadded(to width: Int) -> String { String(repeating: " ", count: max(0, width - utf8.count)) + self }
}
