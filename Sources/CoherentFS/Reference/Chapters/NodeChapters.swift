import MachineTopology

extension Manual {
    private static let list = "a list of node numbers, `0-1,4`; an empty line if there are none"

    private static let figure =
        "`[node.link]` of the topology, or else derived from the distance; for a device the present figure of its `link`"

    /// The words of isolation, from their table.
    private static let words = Isolation.allCases.map { "\($0.rawValue): \($0.summary)." }.joined(separator: " ")

    /// The rights of a node, from their table, with the rights that each needs besides `node`.
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
                "possible": ManualPage(
                    reads: list, text: "`possible` of the topology, or else the nodes of the topology."),
                "has_cpu": ManualPage(reads: list),
                "has_memory": ManualPage(
                    reads: list,
                    text: "Includes a coherent node with the right `mempolicy` while a block of it is online."),
                "has_private_memory": ManualPage(
                    reads: list,
                    text: "Includes a coherent node without the right `mempolicy` while a block of it is online.",
                    linux: "none; proposed in 2026 (private memory nodes, N_MEMORY_PRIVATE)"),
                "has_normal_memory": ManualPage(
                    reads: list, text: "Does not include coherent nodes: their memory is ZONE_MOVABLE."),
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
                "cpulist": ManualPage(reads: "a list of CPU numbers, `0-3,8`; an empty line if there are none"),
                "cpumap": ManualPage(reads: "hexadecimal, groups of 32 CPUs, separated by commas, the highest first"),
                "distance": ManualPage(
                    reads: "a number from 10 to 255 for each present node, in order, separated by blanks"),
                "meminfo": ManualPage(
                    reads: "lines of `Node N NAME: VALUE kB`; HugePages_* are counts",
                    text: "MemTotal is the memory that is online. Figures that are not simulated are 0."),
                "numastat": ManualPage(reads: "lines of `NAME PAGES`, counted since the start of the mount"),
                "vmstat": ManualPage(
                    reads: "lines of `NAME VALUE`, in pages of 4 KiB or events",
                    text: "Figures that are not simulated are 0."),
                "hugepages": ManualPage(summary: "The node's reserved huge pages, a directory for each size."),
                "compact": ManualPage(
                    writes: "anything",
                    text:
                        "Moves pages out of units of 512 frames that are partly in use into other such units, the emptiest first. Huge pages do not move. If it is interrupted, it returns EINTR, and pages that have moved stay moved.",
                    linux: "mm/compaction.c"),
                "reclaim": ManualPage(
                    writes:
                        "`SIZE [swappiness=VALUE]`: bytes, in any base, with an optional K, M, G, T, P or E; VALUE, 0 to 200 or `max`, has no effect, because there is no swap",
                    errors: [
                        "EINVAL": "malformed, or out of range", "EAGAIN": "less than SIZE could be freed",
                        "EBUSY": "another write reclaims memory of the node",
                        "EINTR": "interrupted; pages that are freed stay freed",
                    ],
                    text:
                        "Reclaims pages that are not in use: unmapped, and still not touched a tenth of a second later. Pages of zeros are freed. While demotion_enabled is set, others move to nodes of slower tiers with memory above their high watermark; an isolated node is a target only for pages whose policy names it. Pages in use stay, and so do those of `huge=pool` buffers.",
                    linux: "mm/vmscan.c"),
                "cpuN": ManualPage(summary: "A CPU of the node."),
                "memoryM": ManualPage(summary: "A memory block of the node, whether online or not."),
            ]),
        Chapter(
            "sys/devices/system/node/nodeN/hugepages",
            summary: "The node's reserved huge pages, a directory for each size.",
            linux: "mm/hugetlb_sysfs.c; Documentation/admin-guide/mm/hugetlbpage.rst",
            ["hugepages-2048kB": ManualPage(summary: "The pool of 2 MiB pages, the only size.")]),
        Chapter(
            "sys/devices/system/node/nodeN/hugepages/hugepages-2048kB",
            summary: "The node's reserved huge pages of 2 MiB.",
            linux: "mm/hugetlb_sysfs.c; Documentation/admin-guide/mm/hugetlbpage.rst",
            [
                "nr_hugepages": ManualPage(
                    reads: "a count, decimal", writes: "the target count, decimal",
                    errors: ["EINVAL": "not a decimal number", "ERANGE": "more than 64 bits"],
                    text:
                        "If there is not enough room, the count stays lower, without an error: read it back. `compact` may make room. Pages above the count that are in use, or promised to a mapping, stay as surplus until they are freed. Offlining of a memory block removes its free huge pages from the pool and moves those in use; their new node then counts them. It is EBUSY where the free ones are promised."
                ),
                "free_hugepages": ManualPage(reads: "a count, decimal"),
                "surplus_hugepages": ManualPage(reads: "a count, decimal"),
            ]),
        Chapter(
            "sys/devices/system/node/nodeN/access0", "sys/devices/system/node/nodeN/access1",
            summary:
                "The initiators with the best access to the node's memory, and their performance. access0 counts CPUs and devices that are initiators ([node.initiator] in the topology), access1 CPUs only. A device has the best access to its own memory.",
            linux: "drivers/base/node.c; Documentation/admin-guide/mm/numaperf.rst",
            [
                "initiators": ManualPage(summary: "The nodes whose CPUs have the best access to this node's memory."),
                "targets": ManualPage(
                    summary: "The nodes to whose memory the CPUs of this node have the best access of all."),
            ]),
        Chapter(
            "sys/devices/system/node/nodeN/access0/initiators", "sys/devices/system/node/nodeN/access1/initiators",
            summary:
                "The nodes whose CPUs have the best access to this node's memory, and their performance, while the node has memory.",
            linux: "drivers/base/node.c; Documentation/admin-guide/mm/numaperf.rst",
            [
                "nodeN": ManualPage(summary: "A node whose CPUs have the best access to this node's memory."),
                "read_bandwidth": ManualPage(reads: "MB/s, decimal; " + figure),
                "read_latency": ManualPage(reads: "nanoseconds, decimal; " + figure),
                "write_bandwidth": ManualPage(reads: "MB/s, decimal; " + figure),
                "write_latency": ManualPage(reads: "nanoseconds, decimal; " + figure),
            ]),
        Chapter(
            "sys/devices/system/node/nodeN/access0/targets", "sys/devices/system/node/nodeN/access1/targets",
            summary: "The nodes to whose memory the CPUs of this node have the best access of all.",
            linux: "drivers/base/node.c; Documentation/admin-guide/mm/numaperf.rst",
            ["nodeN": ManualPage(summary: "A node to whose memory the CPUs of this node have the best access of all.")]),
        Chapter(
            "sys/devices/system/node/nodeN/memory_failure", summary: "The number of memory failures of the node.",
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
            summary: "The caches in front of the node's memory, if the topology has `[[node.cache]]`.",
            linux: "drivers/base/node.c; Documentation/admin-guide/mm/numaperf.rst"),
        Chapter(
            "sys/devices/system/node/nodeN/memory_side_cache/indexN",
            summary: "A cache by its level; a larger number is nearer to the CPUs.",
            linux: "drivers/base/node.c; Documentation/ABI/stable/sysfs-devices-node",
            [
                "address_mode": ManualPage(reads: "`0x0`"),
                "indexing": ManualPage(reads: "0 direct mapped, 1 indexed, 2 other"),
                "line_size": ManualPage(reads: "bytes, decimal"),
                "size": ManualPage(reads: "bytes, decimal"),
                "write_policy": ManualPage(reads: "0 write-back, 1 write-through, 2 other"),
            ]),
        Chapter(
            "sys/devices/system/node/nodeN/cdm", summary: "Attributes of a coherent node that other nodes lack.",
            linux: "none; drivers/base/node.c for its path",
            [
                "device": ManualPage(summary: "The device that the node's memory belongs to."),
                "isolation": ManualPage(
                    reads:
                        "`none [exclusive] restricted driver private`, the current one in brackets; no brackets if no word has these `capabilities`",
                    writes: "one of the words",
                    errors: [
                        "EINVAL": "unknown word",
                        "EBUSY": "change to or from `driver` while a page of the node is in use or moving",
                    ],
                    text: words + " Each means a set of `capabilities`. Existing pages stay."
                ),
                "capabilities": ManualPage(
                    reads: "lines of `NAME VALUE`: a right, and 1 if the node has it, otherwise 0",
                    writes: "`NAME VALUE`, any number of times; rights that are not named do not change",
                    errors: [
                        "EINVAL":
                            "unknown name or value, a repeated name, or a right without one that it needs",
                        "EBUSY": "change of `node` while a page of the node is in use or moving",
                    ],
                    text: rights + " Existing pages stay.",
                    linux: "none; proposed in 2026 (private memory nodes, NODE_PRIVATE_CAP_*)"),
                "contiguous": ManualPage(
                    reads:
                        "lines of `NAME COUNT`, pages: total (the online part of the share), free, largest (the longest free run)",
                    text:
                        "The share is `contiguous` of the topology, rounded up to 2 MiB: the last frames of the node's initial memory. Only a buffer's `contiguous` allocates from it: no other page, huge page or pool does, even if the node is full. Its free frames count in MemFree, and are nr_free_cma of vmstat. A memory block with a part of a contiguous buffer goes offline if the buffer finds another run, of this node's share or of another's; otherwise EBUSY.",
                    linux: "/sys/kernel/mm/cma; mm/cma.c"),
                "refused": ManualPage(
                    reads:
                        "lines of `NAME COUNT`: fallback (allocations that skipped the node), not_allowed, hugetlb"),
                "tasks": ManualPage(
                    reads: "the numbers of processes, a line each; empty if there are none",
                    writes: "`PID`, or `-PID` to remove it; 0 is the writer",
                    errors: [
                        "EINVAL": "not a number, or a process to remove that is not in the list",
                        "ERANGE": "more than 32 bits", "ESRCH": "there is no such process",
                    ],
                    text:
                        "The number of any thread means its process. A process that has ended leaves the list. \(numbers)"
                ),
                "pressure": ManualPage(reads: pressure, linux: "/proc/zoneinfo; mm/vmscan.c"),
                "migrate": ManualPage(
                    reads: Manual.result,
                    writes: "the number of a node, or `cancel`, which is not an error if nothing runs",
                    errors: [
                        "EINVAL": "not a number, or the node itself", "ERANGE": "more than 64 bits",
                        "ENODEV": "there is no such node, or it has no memory online",
                        "ENOMEM": "the node is full; pages that have moved stay moved",
                        "EBUSY": "pages are pinned, or belong to a contiguous buffer; the others have moved",
                        "EINTR": "interrupted, or cancelled; pages that have moved stay moved",
                    ], linux: "none; migrate_pages(2) for all tasks at once"),
                "blockers": ManualPage(
                    reads:
                        "lines of `PHYS LENGTH REASON BUFFER PIDS`: an address and bytes in hexadecimal, `pinned` or `contiguous`, a name below buffers/ or `/dev/cdmN`, processes separated by commas or `-`; empty if there are none. `PID?` has the buffer open and cannot be inspected; a last `?` means other processes that cannot be inspected",
                    text:
                        "contiguous: pages of a contiguous buffer for which no other node's share has a run (nodes under `restricted` or `driver` do not count). A buffer without a name is `(deleted)`; blanks in names are in octal, `\\040`. `inode:NUMBER`, with the number of stat(2), replaces a path that the process that opened the file could not list. The processes that map a buffer are found in /proc/PID/maps, as far as the daemon may inspect them. If an address space stays locked for a fraction of a second, its process is skipped until the lock is free; if a user has several such processes, all processes of the user are skipped. Only the owner of sys/ may read the file. \(numbers)",
                    linux: "none; dump_page() when offline_pages() fails"),
            ]),
    ]

    static let result =
        "`state=STATE moved=PAGES failed=PAGES bytes=BYTES seconds=SECONDS` of the last one; STATE is idle, running, done, partial, failed or cancelled"

    static let pressure =
        "lines of `NAME VALUE`, pages: free; the watermarks min, low (kswapd starts), high (kswapd stops) and promo; the lists active and inactive; then, counted since the start of the mount, the work of the scanner (scanned, referenced, activated, deactivated), reclaimed, demoted from here, promoted to here, kswapd_runs, and numa_pte_updates, numa_hint_faults, numa_hint_faults_local of pages here, numa_pages_migrated to here"
}
