extension Manual {
    private static let sources =
        "drivers/base/memory.c; Documentation/ABI/testing/sysfs-devices-memory; admin-guide/mm/memory-hotplug.rst"

    /// sys/devices/system/memory.
    static let memory: [Chapter] = [
        Chapter(
            "sys/devices/system/memory", summary: "The memory blocks, and what holds for all of them.", linux: sources,
            [
                "block_size_bytes": ManualPage(reads: "bytes, hexadecimal without `0x`"),
                "auto_online_blocks": ManualPage(
                    reads: "offline, online, online_kernel or online_movable", writes: "one of the words",
                    errors: ["EINVAL": "another word"]),
                "probe": ManualPage(
                    writes: "a physical address, in any base, a multiple of the block size",
                    errors: [
                        "EINVAL": "no number, an address within a block, or one that no node has a range at",
                        "ERANGE": "more than 64 bits", "EEXIST": "a block is there already",
                        "ENODEV": "the device whose memory it would be was removed",
                    ],
                    text:
                        "Behind the memory of all nodes each node, in their order, has a range as large as its memory, at least eight blocks and at most 64 GiB, at which blocks can be added to it: the first address behind all memory is one of the first node's.",
                    linux: "drivers/base/memory.c, CONFIG_ARCH_MEMORY_PROBE"),
                "soft_offline_page": ManualPage(
                    writes: "a physical address, in any base, as `pages` of a buffer shows it",
                    errors: [
                        "EINVAL": "no number", "ENXIO": "no block has the address", "EIO": "its block is offline",
                        "EBUSY": "the page is pinned or contiguous", "ENOMEM": "there is no other frame for it",
                        "EINTR": "interrupted before it was done",
                    ],
                    text:
                        "The page moves on its node, else to RAM by distance, and who has it notices nothing. The frame is nobody's any more; a page that has failed already is left as it is. sys/kernel/cdm/retired lists such frames.",
                    linux:
                        "soft_offline_page() of mm/memory-failure.c; Documentation/ABI/testing/sysfs-memory-page-offline"
                ),
                "hard_offline_page": ManualPage(
                    writes: "a physical address, in any base, as `pages` of a buffer shows it",
                    errors: [
                        "EINVAL": "no number", "ENXIO": "no block has the address, or its block is offline",
                        "EHWPOISON": "the page has failed before", "EINTR": "interrupted before it was done",
                    ],
                    text:
                        "What the page held is lost, dirty or not. Its next touch is SIGBUS in every process that maps it (BUS_ADRERR: no file system of user space can send BUS_MCEERR_AR; `pages` of the buffer and sys/kernel/cdm/uevents tell), read(2) and write(2) are EIO or end before it. The pages around it are untouched: a huge page is split, one of a pool fails as a whole and leaves the pool. Punching, truncating or unlinking the page away makes room for a good one; a contiguous buffer keeps it until it is cleared or given back. Migrations count it as failed and go on, and its block goes offline without it. The frame is nobody's any more: nodeN/memory_failure counts it, sys/kernel/cdm/retired lists it, and once there is any, meminfo has HardwareCorrupted.",
                    linux:
                        "memory_failure() of mm/memory-failure.c; Documentation/ABI/testing/sysfs-memory-page-offline"
                ),
            ]),
        Chapter(
            "sys/devices/system/memory/memoryM",
            summary: "A memory block: physical addresses from M times the block size on.",
            linux: sources,
            [
                "state": ManualPage(
                    reads: "online, offline or going-offline",
                    writes: "online, online_kernel, online_movable or offline",
                    errors: [
                        "EINVAL":
                            "another word, the state that is set already, or online_kernel for memory of a device",
                        "EBUSY": "the block is going offline, or a page in it has nowhere to go",
                        "EHWPOISON": "to go online, while pages of it are poisoned or out of use",
                        "EINTR": "interrupted while pages were moved away",
                        "ENODEV": "the link of its device was cut meanwhile",
                    ],
                    text:
                        "Before a block goes offline its pages move to the same node, else to RAM by distance. On an error it is online with all its data."
                ),
                "online": ManualPage(
                    reads: "`1` or `0`",
                    writes:
                        "what begins with 1, y, t, e or on, as `online_movable`, or with 0, n, f, d or of, in either case (kstrtobool()); what is set already is fine",
                    errors: [
                        "EINVAL": "anything else",
                        "EBUSY": "the block is going offline, or a page in it has nowhere to go",
                        "EHWPOISON": "to go online, while pages of it are poisoned or out of use",
                        "EINTR": "interrupted while pages were moved away",
                        "ENODEV": "the link of its device was cut meanwhile",
                    ], linux: "drivers/base/core.c; Documentation/ABI/testing/sysfs-devices-online"),
                "phys_index": ManualPage(reads: "eight hexadecimal digits"),
                "phys_device": ManualPage(reads: "`0`"),
                "removable": ManualPage(reads: "`1`"),
                "valid_zones": ManualPage(
                    reads: "Normal or Movable; while the block is offline both, the one that `online` means first",
                    text: "Memory of a device is Movable alone."),
                "nodeN": ManualPage(summary: "The node of the block."),
            ]),
    ]
}
