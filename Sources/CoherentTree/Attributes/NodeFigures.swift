import CoherentMemory

/// nodeN/meminfo in the format of node_read_meminfo() and hugetlb_report_node_meminfo().
///
/// Buffers are to the simulation what shared memory is to Linux: page cache without a disk behind it.
enum NodeMeminfo {
    /// With HardwareCorrupted, which in Linux only /proc/meminfo has, once there was any on some node: until then the keys are
    /// Linux's.
    static func text(of subject: Subject<CoherentMemory.Node>) -> String {
        let node = subject.part
        let usage = node.usage
        let lists = PageLists(of: node, usage, in: subject.machine)
        let (anonymous, file) = (usage.anonymous, usage.allocated - usage.anonymous)
        var pages: [(String, Int)] = [
            ("MemTotal", usage.present), ("MemFree", usage.free), ("MemUsed", usage.present - usage.free),
            ("SwapCached", 0), ("Active", lists.activeAnonymous + lists.active),
            ("Inactive", lists.inactiveAnonymous + lists.inactive), ("Active(anon)", lists.activeAnonymous),
            ("Inactive(anon)", lists.inactiveAnonymous), ("Active(file)", lists.active),
            ("Inactive(file)", lists.inactive), ("Unevictable", lists.unevictable), ("Mlocked", lists.unevictable),
            ("Dirty", usage.written), ("Writeback", 0), ("FilePages", file),
            ("Mapped", usage.cached), ("AnonPages", anonymous), ("Shmem", file), ("KernelStack", 0),
            ("PageTables", 0), ("SecPageTables", 0), ("NFS_Unstable", 0), ("Bounce", 0), ("WritebackTmp", 0),
            ("KReclaimable", 0), ("Slab", 0), ("SReclaimable", 0), ("SUnreclaim", 0), ("AnonHugePages", 0),
            ("ShmemHugePages", usage.huge * HugePage.frames), ("ShmemPmdMapped", 0), ("FileHugePages", 0),
            ("FilePmdMapped", 0),
        ]
        if subject.machine.hasPoisonedMemory { pages.append(("HardwareCorrupted", usage.poisoned)) }
        var lines = pages.map { name, count in
            "Node \(node.id) \((name + ":").padded(to: 15)) \(String(count * 4).leftPadded(to: 8)) kB"
        }
        let pool = usage.hugePool
        for (name, count) in [
            ("HugePages_Total", pool.total), ("HugePages_Free", pool.free), ("HugePages_Surp", pool.surplus),
        ] {
            lines.append("Node \(node.id) \((name + ":").padded(to: 16)) \(String(count).leftPadded(to: 5))")
        }
        return lines.joined(separator: "\n")
    }
}

/// The pages of a node by the list that they are on. Pinned and locked ones are on none that reclaim looks at.
struct PageLists {
    let active: Int
    let inactive: Int
    let activeAnonymous: Int
    let inactiveAnonymous: Int
    let unevictable: Int

    init(of node: CoherentMemory.Node, _ usage: NodeUsage, in machine: Machine) {
        // Counted one after the other, while pages come and go.
        let file = usage.allocated - usage.anonymous
        let locked = machine.lockedPages(on: node)
        let pinned = min(machine.pinnedPages(on: node) + locked.shared, file)
        let own = min(locked.own, usage.anonymous)
        active = min(usage.active - usage.activeAnonymous, file - pinned)
        inactive = file - pinned - active
        activeAnonymous = min(usage.activeAnonymous, usage.anonymous - own)
        inactiveAnonymous = usage.anonymous - own - activeAnonymous
        unevictable = pinned + own
    }
}

/// nodeN/vmstat in the format of node_read_vmstat(): zone figures, NUMA events, node figures (mm/vmstat.c).
enum NodeVmstat {
    static func text(of subject: Subject<CoherentMemory.Node>) -> String {
        let known = figures(of: subject.part, in: subject.machine)
        return keys.map { "\($0) \(known[$0] ?? 0)" }.joined(separator: "\n")
    }

    /// What the simulation has of a node; every other key is 0.
    static func figures(of node: CoherentMemory.Node, in machine: Machine) -> [String: UInt64] {
        let usage = node.usage
        let lists = PageLists(of: node, usage, in: machine)
        let statistics = node.statistics
        let pressure = node.pressure
        return [
            "nr_free_pages": UInt64(usage.free),
            // Pages in free blocks of at least a pageblock (order 9).
            "nr_free_pages_blocks": UInt64(usage.freeBlocks.enumerated().dropFirst(9).reduce(0) { $0 + $1.1 << $1.0 }),
            "nr_free_cma": UInt64(usage.contiguous.free),
            "nr_zone_inactive_anon": UInt64(lists.inactiveAnonymous),
            "nr_zone_active_anon": UInt64(lists.activeAnonymous),
            "nr_inactive_anon": UInt64(lists.inactiveAnonymous),
            "nr_active_anon": UInt64(lists.activeAnonymous),
            "nr_anon_pages": UInt64(usage.anonymous),
            "nr_zone_inactive_file": UInt64(lists.inactive),
            "nr_zone_active_file": UInt64(lists.active),
            "nr_zone_unevictable": UInt64(lists.unevictable),
            "nr_mlock": UInt64(lists.unevictable),
            "nr_inactive_file": UInt64(lists.inactive),
            "nr_active_file": UInt64(lists.active),
            "nr_unevictable": UInt64(lists.unevictable),
            "nr_file_pages": UInt64(usage.allocated - usage.anonymous),
            "nr_shmem": UInt64(usage.allocated - usage.anonymous),
            "nr_mapped": UInt64(usage.cached),
            "nr_dirty": UInt64(usage.written),
            // In huge pages, as every key of them (vmstat_item_print_in_thp()).
            "nr_shmem_hugepages": UInt64(usage.huge),
            "nr_hugetlb": UInt64(usage.hugePool.used * HugePage.frames),
            "pgpromote_success": pressure.promoted,
            "pgpromote_candidate": pressure.promotionCandidates,
            "pgdemote_kswapd": pressure.demotedByKswapd,
            "pgdemote_proactive": pressure.demotedProactively,
            "numa_hit": statistics.hit,
            "numa_miss": statistics.miss,
            "numa_foreign": statistics.foreign,
            "numa_interleave": statistics.interleaveHit,
            "numa_local": statistics.local,
            "numa_other": statistics.other,
        ]
    }

    /// Linux's keys, in its order.
    static let keys = """
        nr_free_pages nr_free_pages_blocks nr_zone_inactive_anon nr_zone_active_anon nr_zone_inactive_file
        nr_zone_active_file nr_zone_unevictable nr_zone_write_pending nr_mlock nr_zspages nr_free_cma numa_hit
        numa_miss numa_foreign numa_interleave numa_local numa_other nr_inactive_anon nr_active_anon
        nr_inactive_file nr_active_file nr_unevictable nr_slab_reclaimable nr_slab_unreclaimable nr_isolated_anon
        nr_isolated_file workingset_nodes workingset_refault_anon workingset_refault_file
        workingset_activate_anon workingset_activate_file workingset_restore_anon workingset_restore_file
        workingset_nodereclaim nr_anon_pages nr_mapped nr_file_pages nr_dirty nr_writeback nr_shmem
        nr_shmem_hugepages nr_shmem_pmdmapped nr_file_hugepages nr_file_pmdmapped nr_anon_transparent_hugepages
        nr_vmscan_write nr_vmscan_immediate_reclaim nr_dirtied nr_written nr_throttled_written
        nr_kernel_misc_reclaimable nr_foll_pin_acquired nr_foll_pin_released nr_kernel_stack nr_page_table_pages
        nr_sec_page_table_pages nr_iommu_pages nr_swapcached pgpromote_success pgpromote_candidate
        pgpromote_candidate_nrl pgdemote_kswapd pgdemote_direct pgdemote_khugepaged pgdemote_proactive nr_hugetlb
        nr_balloon_pages nr_kernel_file_pages
        """.split(separator: "\n").flatMap { $0.split(separator: " ") }.map(String.init)
}
