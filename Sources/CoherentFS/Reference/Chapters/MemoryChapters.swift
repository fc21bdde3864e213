extension Manual {
    private static let sources =
        "drivers/base/memory.c; Documentation/ABI/testing/sysfs-devices-memory; admin-guide/mm/memory-hotplug.rst"

    /// sys/devices/system/memory.
    static let memory: [Chapter] = [
        Chapter(
            "sys/devices/system/memory", summary: "The memory blocks, and the attributes of all of them.",
            linux: sources,
            [
                "block_size_bytes": ManualPage(reads: "bytes, hexadecimal without `0x`"),
                "auto_online_blocks": ManualPage(
                    reads: "offline, online, online_kernel or online_movable", writes: "one of the words",
                    errors: ["EINVAL": "unknown word"]),
                "probe": ManualPage(
                    writes: "a physical address, in any base, a multiple of the block size",
                    errors: [
                        "EINVAL":
                            "not a number, an address within a block, or an address outside the ranges of all nodes",
                        "ERANGE": "more than 64 bits", "EEXIST": "the block exists already",
                        "ENODEV": "the device of this memory was removed",
                    ],
                    text:
                        "Each node has a range behind the memory of all nodes, in the order of the nodes. The range is as large as the node's memory, at least eight blocks and at most 64 GiB. Blocks can be added to the node within its range. The first address behind all memory is in the first node's range.",
                    linux: "drivers/base/memory.c, CONFIG_ARCH_MEMORY_PROBE"),
                "soft_offline_page": ManualPage(
                    writes: "a physical address, in any base, as `pages` of a buffer shows it",
                    errors: [
                        "EINVAL": "not a number", "ENXIO": "no block has the address", "EIO": "its block is offline",
                        "EBUSY": "the page is pinned or contiguous", "ENOMEM": "no other frame is available",
                        "EINTR": "interrupted before the operation was complete",
                    ],
                    text:
                        "The page moves to another frame of its node, or else to RAM by distance; programs see no change. The old frame is out of use. A page that has failed already is not changed. sys/kernel/cdm/retired lists such frames.",
                    linux:
                        "soft_offline_page() of mm/memory-failure.c; Documentation/ABI/testing/sysfs-memory-page-offline"
                ),
                "hard_offline_page": ManualPage(
                    writes: "a physical address, in any base, as `pages` of a buffer shows it",
                    errors: [
                        "EINVAL": "not a number", "ENXIO": "no block has the address, or its block is offline",
                        "EHWPOISON": "the page has failed before",
                        "EINTR": "interrupted before the operation was complete",
                    ],
                    text:
                        "The contents of the page are lost, dirty or not. Its next touch is SIGBUS in every process that maps it (BUS_MCEERR_AR in programs of `cdmfs run`, and in all with the mount option `mceerr`; elsewhere BUS_ADRERR, and `pages` of the buffer and sys/kernel/cdm/uevents show the cause); read(2) and write(2) are EIO or end before it. The pages around it are not affected: a huge page is split; a huge page of a pool fails as a whole and leaves the pool. If the page is punched, truncated or unlinked, the next touch gets a good frame; a contiguous buffer keeps the page until it is cleared or freed. Migrations count it as failed and continue, and its block goes offline without it. The frame is out of use: nodeN/memory_failure counts it, sys/kernel/cdm/retired lists it, and after the first such frame meminfo has HardwareCorrupted.",
                    linux:
                        "memory_failure() of mm/memory-failure.c; Documentation/ABI/testing/sysfs-memory-page-offline"
                ),
            ]),
        Chapter(
            "sys/devices/system/memory/memoryM",
            summary: "A memory block: the physical addresses from M times the block size.",
            linux: sources,
            [
                "state": ManualPage(
                    reads: "online, offline or going-offline",
                    writes: "online, online_kernel, online_movable or offline",
                    errors: [
                        "EINVAL":
                            "unknown word, the present state, or online_kernel for memory of a device",
                        "EBUSY": "the block is going offline, or a page in it cannot move",
                        "EHWPOISON": "for online: pages of it are poisoned or out of use",
                        "EINTR": "interrupted while pages moved away",
                        "ENODEV": "the link of its device was cut meanwhile",
                    ],
                    text:
                        "Before a block goes offline, its pages move to the same node, or else to RAM by distance. After an error the block is online with all its data."
                ),
                "online": ManualPage(
                    reads: "`1` or `0`",
                    writes:
                        "a word that begins with 1, y, t, e or on, such as `online_movable`, or with 0, n, f, d or of, in either case (kstrtobool()); the present state is accepted",
                    errors: [
                        "EINVAL": "anything else",
                        "EBUSY": "the block is going offline, or a page in it cannot move",
                        "EHWPOISON": "for online: pages of it are poisoned or out of use",
                        "EINTR": "interrupted while pages moved away",
                        "ENODEV": "the link of its device was cut meanwhile",
                    ], linux: "drivers/base/core.c; Documentation/ABI/testing/sysfs-devices-online"),
                "phys_index": ManualPage(reads: "eight hexadecimal digits"),
                "phys_device": ManualPage(reads: "`0`"),
                "removable": ManualPage(reads: "`1`"),
                "valid_zones": ManualPage(
                    reads:
                        "Normal or Movable; both while the block is offline, and the first one is what `online` selects",
                    text: "Memory of a device is always Movable."),
                "nodeN": ManualPage(summary: "The node of the block."),
            ]),
    ]
}
