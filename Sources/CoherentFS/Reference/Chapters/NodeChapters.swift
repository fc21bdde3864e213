import MachineTopology

extension Manual {
    private static let list = "a list of node numbers, `0-1,4`; an empty line for none"

    private static let figure =
        "`[node.link]` of the topology, or what follows from the distance; of a device that of its `link` now"

    /// The words of isolation, from their table.
    private static let words = Isolation.allCases.map { "\($0.rawValue): \($0.summary)." }.joined(separator: " ")

    /// The rights of a node, from their table, with what each needs beside `node`.
    private static let rights = NodeCapabilities.table.map { row in
        let needs = row.needs.subtracting(.node).names.map { "; needs `\($0)`" }.joined()
        return "\(row.name): \(row.summary)\(needs)."
    }.joined(separator: " ")

    /// sys/devices/system/node.
    static let nodes: [Chapter] = [
        Chapter(
            "sys/devices/system/node", summary: "The nodes, and lists of those with a property.",
            linux: "drivers/base/node.c; Documentation/ABI/stable/sysfs-devices-node",
            [
                "online": ManualPage(reads: list),
                "possible": ManualPage(reads: list, text: "`possible` of the topology, or else the nodes that it has."),
                "has_cpu": ManualPage(reads: list),
                "has_memory": ManualPage(
                    reads: list, text: "Coherent nodes with the right `mempolicy` are in it while a block is online."),
                "has_private_memory": ManualPage(
                    reads: list,
                    text: "Coherent nodes without the right `mempolicy` are in it while a block is online.",
                    linux: "none; proposed in 2026 (private memory nodes, N_MEMORY_PRIVATE)"),
                "has_normal_memory": ManualPage(
                    reads: list, text: "Coherent nodes are not in it: their memory is ZONE_MOVABLE."),
                "has_generic_initiator": ManualPage(reads: list),
                "is_coherent_device": ManualPage(
                    reads: list, linux: "none; proposed in 2016 (coherent device memory, RFC)"),
                "is_cdm_node": ManualPage(
                    reads: list, linux: "none; proposed in 2017 (coherent device memory, RFC v2)"),
            ]),
        Chapter(
            "sys/devices/system/node/nodeN", summary: "A node.",
            linux: "drivers/base/node.c; Documentation/ABI/stable/sysfs-devices-node",
            [
                "cpulist": ManualPage(reads: "a list of CPU numbers, `0-3,8`; an empty line for none"),
                "cpumap": ManualPage(reads: "hexadecimal, 32 CPUs a group, groups between commas, the highest first"),
                "distance": ManualPage(
                    reads: "a number from 10 to 255 for each node that is there, in order, between blanks"),
                "meminfo": ManualPage(
                    reads: "lines of `Node N NAME: VALUE kB`; HugePages_* are counts",
                    text: "MemTotal is what is online. Figures that the simulation does not have are 0."),
                "numastat": ManualPage(reads: "lines of `NAME PAGES`, counted since the mount began"),
                "vmstat": ManualPage(
                    reads: "lines of `NAME VALUE`, in pages of 4 KiB or events",
                    text: "Figures that the simulation does not have are 0."),
                "hugepages": ManualPage(summary: "The node's reserved huge pages, a directory for each size."),
                "compact": ManualPage(
                    writes: "anything",
                    text:
                        "Units of 512 frames that are in use in part are emptied into one another, the emptiest first. Huge pages stay where they are. Interrupted it is EINTR, and what was moved stays moved.",
                    linux: "mm/compaction.c"),
                "reclaim": ManualPage(
                    writes:
                        "`SIZE [swappiness=VALUE]`: bytes, in any base, perhaps with K, M, G, T, P or E; VALUE, 0 to 200 or `max`, changes nothing, as there is no swap",
                    errors: [
                        "EINVAL": "malformed, or out of range", "EAGAIN": "less than that could be freed",
                        "EBUSY": "somebody else reclaims memory of the node",
                        "EINTR": "interrupted; what was freed stays free",
                    ],
                    text:
                        "Pages that nobody uses: a tenth of a second after they were taken from those who map them, they are still untouched. What holds nothing but zeros is freed. While demotion_enabled is set, others are moved to nodes of slower tiers with memory above their high watermark; isolated ones are for those who name them. Pages in use stay, and so do those of `huge=pool` buffers.",
                    linux: "mm/vmscan.c"),
                "cpuN": ManualPage(summary: "A CPU of the node."),
                "memoryM": ManualPage(summary: "A memory block of the node, whether online or not."),
            ]),
        Chapter(
            "sys/devices/system/node/nodeN/hugepages",
            summary: "The node's reserved huge pages, a directory for each size.",
            linux: "mm/hugetlb_sysfs.c; Documentation/admin-guide/mm/hugetlbpage.rst",
            ["hugepages-2048kB": ManualPage(summary: "Those of 2 MiB, the only size.")]),
        Chapter(
            "sys/devices/system/node/nodeN/hugepages/hugepages-2048kB",
            summary: "The node's reserved huge pages of 2 MiB.",
            linux: "mm/hugetlb_sysfs.c; Documentation/admin-guide/mm/hugetlbpage.rst",
            [
                "nr_hugepages": ManualPage(
                    reads: "a count, decimal", writes: "the count there shall be, decimal",
                    errors: ["EINVAL": "no decimal number", "ERANGE": "a number beyond 64 bits"],
                    text:
                        "What does not fit is left out without an error: read it back. `compact` may make room. Those in use beyond the count stay as surplus until they are given up. Taking a memory block offline gives up the free ones in it and moves those in use, whose new place then counts them."
                ),
                "free_hugepages": ManualPage(reads: "a count, decimal"),
                "surplus_hugepages": ManualPage(reads: "a count, decimal"),
            ]),
        Chapter(
            "sys/devices/system/node/nodeN/access0", "sys/devices/system/node/nodeN/access1",
            summary:
                "Who reaches the node's memory best, and how fast that is; access1 of CPUs only, which here are all.",
            linux: "drivers/base/node.c; Documentation/admin-guide/mm/numaperf.rst",
            [
                "initiators": ManualPage(summary: "The nodes whose CPUs reach this node's memory best."),
                "targets": ManualPage(summary: "The nodes whose memory the CPUs of this node reach best of all."),
            ]),
        Chapter(
            "sys/devices/system/node/nodeN/access0/initiators", "sys/devices/system/node/nodeN/access1/initiators",
            summary: "The nodes whose CPUs reach this node's memory best, and how fast, while it has memory.",
            linux: "drivers/base/node.c; Documentation/admin-guide/mm/numaperf.rst",
            [
                "nodeN": ManualPage(summary: "A node whose CPUs reach this node's memory best."),
                "read_bandwidth": ManualPage(reads: "MB/s, decimal; " + figure),
                "read_latency": ManualPage(reads: "nanoseconds, decimal; " + figure),
                "write_bandwidth": ManualPage(reads: "MB/s, decimal; " + figure),
                "write_latency": ManualPage(reads: "nanoseconds, decimal; " + figure),
            ]),
        Chapter(
            "sys/devices/system/node/nodeN/access0/targets", "sys/devices/system/node/nodeN/access1/targets",
            summary: "The nodes whose memory the CPUs of this node reach best of all.",
            linux: "drivers/base/node.c; Documentation/admin-guide/mm/numaperf.rst",
            ["nodeN": ManualPage(summary: "A node whose memory the CPUs of this node reach best of all.")]),
        Chapter(
            "sys/devices/system/node/nodeN/memory_failure", summary: "How often memory of the node failed.",
            linux: "mm/memory-failure.c; Documentation/ABI/testing/sysfs-memory-page-offline",
            [
                "total": ManualPage(reads: "a number of pages, decimal: the sum of the others"),
                "ignored": ManualPage(reads: "a number of pages, decimal"),
                "failed": ManualPage(reads: "a number of pages, decimal"),
                "delayed": ManualPage(reads: "a number of pages, decimal"),
                "recovered": ManualPage(reads: "a number of pages, decimal"),
            ]),
        Chapter(
            "sys/devices/system/node/nodeN/memory_side_cache",
            summary: "The caches in front of the node's memory, where the topology has `[[node.cache]]`.",
            linux: "drivers/base/node.c; Documentation/admin-guide/mm/numaperf.rst"),
        Chapter(
            "sys/devices/system/node/nodeN/memory_side_cache/indexN",
            summary: "A cache by its level; the larger the number, the nearer to the CPUs.",
            linux: "drivers/base/node.c; Documentation/ABI/stable/sysfs-devices-node",
            [
                "address_mode": ManualPage(reads: "`0x0`"),
                "indexing": ManualPage(reads: "0 direct mapped, 1 indexed, 2 other"),
                "line_size": ManualPage(reads: "bytes, decimal"),
                "size": ManualPage(reads: "bytes, decimal"),
                "write_policy": ManualPage(reads: "0 write-back, 1 write-through, 2 other"),
            ]),
        Chapter(
            "sys/devices/system/node/nodeN/cdm", summary: "What a coherent node has beyond others.",
            linux: "none; drivers/base/node.c for its place",
            [
                "device": ManualPage(summary: "The device that the node's memory belongs to."),
                "isolation": ManualPage(
                    reads:
                        "`none [exclusive] restricted driver private`, the one in force in brackets; none where `capabilities` are those of no word",
                    writes: "one of the words",
                    errors: [
                        "EINVAL": "another word",
                        "EBUSY": "`driver` is entered or left while a page of the node is in use or on its way",
                    ],
                    text: words + " Each stands for a set of `capabilities`. Pages that are here stay."
                ),
                "capabilities": ManualPage(
                    reads: "lines of `NAME VALUE`: a right, and 1 where the node has it, else 0",
                    writes: "`NAME VALUE`, any number of them; what is not named stays",
                    errors: [
                        "EINVAL":
                            "another name or value, a name that comes twice, or a right without one that it needs",
                        "EBUSY": "`node` is given or taken while a page of the node is in use or on its way",
                    ],
                    text: rights + " Pages that are here stay.",
                    linux: "none; proposed in 2026 (private memory nodes, NODE_PRIVATE_CAP_*)"),
                "contiguous": ManualPage(
                    reads:
                        "lines of `NAME COUNT`, pages: total (the share, as far as its memory is online), free, largest (run of free ones)",
                    text:
                        "What `contiguous` of the topology sets aside, rounded up to 2 MiB: the last frames that the node begins with. Only a buffer's `contiguous` hands them out: no other page, huge page or pool lands there, even when the node is full. Free ones count in MemFree, and are nr_free_cma of vmstat. A memory block that a contiguous buffer has a part of goes offline when the buffer finds another run, of this node's share or of another's; EBUSY where there is none.",
                    linux: "/sys/kernel/mm/cma; mm/cma.c"),
                "refused": ManualPage(
                    reads:
                        "lines of `NAME COUNT`: fallback (allocations that passed the node by), not_allowed, hugetlb"),
                "tasks": ManualPage(
                    reads: "the numbers of processes, a line each; nothing for none",
                    writes: "`PID`, or `-PID` to take it back; 0 is the writer",
                    errors: [
                        "EINVAL": "no number, or a process to be taken back that is not in the list",
                        "ERANGE": "a number beyond 32 bits", "ESRCH": "there is no such process",
                    ],
                    text:
                        "Any thread's number stands for its process, and a process that has ended leaves the list. \(numbers)"
                ),
                "pressure": ManualPage(reads: pressure, linux: "/proc/zoneinfo; mm/vmscan.c"),
                "migrate": ManualPage(
                    reads: Manual.result,
                    writes: "the number of a node, or `cancel`, which is no error where nothing runs",
                    errors: [
                        "EINVAL": "no number, or the node itself", "ERANGE": "a number beyond 64 bits",
                        "ENODEV": "there is no such node, or it has no memory online",
                        "ENOMEM": "the node is full; what was moved stays moved",
                        "EBUSY": "pages are pinned, as those of a contiguous buffer; the others were moved",
                        "EINTR": "interrupted, or cancelled; what was moved stays moved",
                    ], linux: "none; migrate_pages(2) for all tasks at once"),
                "blockers": ManualPage(
                    reads:
                        "lines of `PHYS LENGTH REASON BUFFER PIDS`: an address and bytes in hexadecimal, `pinned` or `contiguous`, a name below buffers/ or `/dev/cdmN`, processes between commas or `-`; nothing for none. `PID?` has the buffer open and does not let itself be read; a last `?` stands for others who do not",
                    text:
                        "contiguous: of a contiguous buffer for which no other node's share has a run (a node under `restricted` or `driver` does not count). What has no name any more is `(deleted)`; blanks of names are in octal, `\\040`. `inode:NUMBER`, with the number that stat(2) tells, stands in the place of a path that who opened the file could not list. Who maps a buffer is read from /proc/PID/maps, of processes that the daemon may look into. A process that keeps its address space locked is given a fraction of a second, and not asked again before it has let go; of a user with several such processes no other is asked either. Only the owner of sys/ may read the file. \(numbers)",
                    linux: "none; dump_page() when offline_pages() fails"),
            ]),
    ]

    static let result =
        "`state=STATE moved=PAGES failed=PAGES bytes=BYTES seconds=SECONDS` of the last one; STATE is idle, running, done, partial, failed or cancelled"

    static let pressure =
        "lines of `NAME VALUE`, pages: free; the watermarks min, low (kswapd begins), high (it ends) and promo; the lists active and inactive; then, counted since the mount began, what the scanner did (scanned, referenced, activated, deactivated), reclaimed, demoted from here, promoted to here, kswapd_runs, and numa_pte_updates, numa_hint_faults, numa_hint_faults_local of pages here, numa_pages_migrated to here"
}
