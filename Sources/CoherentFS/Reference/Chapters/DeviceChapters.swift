extension Manual {
    private static func figure(_ unit: String) -> ManualPage {
        ManualPage(
            reads: "\(unit), decimal", writes: "\(unit), 1 to 1000000000",
            errors: ["EINVAL": "not a number", "ERANGE": "out of range"])
    }

    /// `remove` of a device, wherever it is.
    static let removal = ManualPage(
        writes: "`1` or `force`",
        errors: [
            "EINVAL": "unknown word",
            "EBUSY":
                "for `1`, a block is online; for `force`, a page cannot move; or another change is in progress",
            "ENODEV": "the device has been removed meanwhile",
            "EPERM": "for `force`, a task that the daemon may not kill maps memory that cannot move",
            "EINTR": "interrupted while pages moved away",
        ],
        text:
            "Removes the node, its memory blocks and this directory. dev/cdmN stays and returns ENODEV; mappings of it get SIGBUS; open files that are removed return ENODEV. `force` moves all pages that can move. Then it kills (SIGKILL) the tasks that map memory of the node that cannot move, which nodeN/cdm/blockers lists with a number, and no others; the log and an event (KILLED=PID, COMM=NAME) name them. A task whose mappings cannot be read is killed if it has the memory open. A task that does not end within a second, because it is blocked in the kernel, is left. The pages are lost as with a link that is cut (EIO, SIGBUS, and `pages` shows it); a contiguous buffer reads as zeros. If `force` fails, the blocks that were online are online again.",
        linux: "drivers/pci/pci-sysfs.c, remove; offline_and_remove_memory() of mm/memory_hotplug.c")

    /// sys/class/cdm and dev/.
    static let devices: [Chapter] = [
        Chapter("sys/class", summary: "Devices by class.", linux: "/sys/class"),
        Chapter(
            "sys/class/cdm", summary: "The coherent devices.", linux: "none",
            [
                "rescan": ManualPage(
                    writes: "`1`",
                    errors: ["EINVAL": "unknown word", "EBUSY": "a device is being removed"],
                    text:
                        "Adds each device that was removed, or whose link was cut and is up again, with its node, its initial memory blocks, and the isolation and link of the topology. Its memory is new: zeroed, and without failed pages.",
                    linux: "drivers/pci/pci-sysfs.c, rescan")
            ]),
        Chapter(
            "sys/class/cdm/cdmN", summary: "A coherent device.", linux: "none; the closest is drivers/dax/bus.c",
            [
                "device": ManualPage(summary: "The device on the PCI bus.", linux: "drivers/base/core.c"),
                "numa_node": ManualPage(reads: "a number, decimal", linux: "drivers/dax/bus.c"),
                "size": ManualPage(reads: "bytes, decimal", linux: "drivers/dax/bus.c"),
                "state": ManualPage(
                    reads: "offline, online_in_progress, online, online_failed, offline_in_progress or offline_failed",
                    writes:
                        "`online` or `offline`: changes every block of the node; offlining begins with the last one",
                    errors: [
                        "EINVAL": "unknown word",
                        "EBUSY":
                            "another change is in progress, or a page cannot move; blocks that are offline by then stay offline",
                        "EINTR": "interrupted; blocks that are offline by then stay offline",
                    ], linux: "none; daxctl online-memory and offline-memory do it block by block"),
                "remove": removal,
            ]),
        Chapter(
            "sys/class/cdm/cdmN/link",
            summary: "The model of the device's link.",
            text:
                "nodeN/access1/initiators shows the same figures, and access0/initiators, too, unless the device is an initiator.",
            linux: "none",
            [
                "read_latency": figure("nanoseconds"), "write_latency": figure("nanoseconds"),
                "read_bandwidth": figure("MB/s (10^6 bytes)"), "write_bandwidth": figure("MB/s (10^6 bytes)"),
                "pace": ManualPage(
                    reads: "`[off] real`, the current one in brackets", writes: "one of the words",
                    errors: ["EINVAL": "unknown word"],
                    text:
                        "real: a batch of pages (at most 512) that moves over the link, and a fault or read(2) of pages of the device that are not cached, take at least the latency plus bytes divided by bandwidth. Between devices the slower link counts. The pages of the batch are unmapped meanwhile, and touches of them wait; the pages of a direct buffer stay mapped. Cancelling a job does not wait for the remaining time of the batch."
                ),
                "modelled_ns": ManualPage(
                    reads: "nanoseconds, decimal",
                    text:
                        "The latency plus bytes divided by bandwidth for each run of pages of the device that faults and read(2) fetch, plus the time in dma/modelled_ns. It is counted even if `pace` is off."
                ),
                "state": ManualPage(
                    reads: "up or down", writes: "`up` or `down`; the current state is accepted",
                    errors: ["EINVAL": "unknown word"],
                    text:
                        "down: a surprise removal. The node and its memory blocks disappear at once, and of this device only link/ and ras/ are left. Every page on it is lost, even if it is mapped or cached: touches of it are SIGBUS, read(2) and write(2) EIO, and `pages` of its buffer shows lost, until it is punched, truncated or unlinked. Pages elsewhere are not affected. dev/cdmN returns ENODEV. up: nothing comes back before `rescan`; then the memory is new and zeroed.",
                    linux: "none; PCI surprise removal, pciehp"),
                "on_loss": ManualPage(
                    reads: "`[touch] sigbus sigkill`, the current one in brackets", writes: "one of the words",
                    errors: ["EINVAL": "unknown word"],
                    text:
                        "touch: only SIGBUS at the next touch. sigbus, sigkill: the daemon sends the signal at once to every process that maps a lost page, or the device's file; its si_code is SI_USER.",
                    linux: "PR_MCE_KILL of prctl(2)"),
                "retrain": ManualPage(
                    reads: "nanoseconds, decimal", writes: "nanoseconds, 0 to 100000000",
                    errors: ["EINVAL": "not a number", "ERANGE": "out of range"], text: "Default: 1000000.",
                    linux: "none; the Recovery state of PCI Express"),
                "stalled_ns": ManualPage(reads: "nanoseconds, decimal"),
            ]),
        Chapter(
            "sys/class/cdm/cdmN/mem", summary: "The size of the device's memory, and how much of it is allocated.",
            text:
                "The same figures as nodeN/meminfo of the device's node. They also apply under the isolation `driver`, where no node has the memory.",
            linux: "drivers/gpu/drm/amd/amdgpu, mem_info_vram_total and mem_info_vram_used",
            [
                "total": ManualPage(reads: "bytes, decimal"), "free": ManualPage(reads: "bytes, decimal"),
                "used": ManualPage(reads: "bytes, decimal: `total` minus `free`"),
                "largest_free": ManualPage(
                    reads: "bytes, decimal", text: "At most 1 GiB; includes the contiguous share."),
            ]),
        Chapter(
            "sys/class/cdm/cdmN/dma", summary: "The copy engine of the device, which migrations use.",
            text:
                "Every batch of at most 512 pages that moves to, from or within the device's memory holds a channel while it is copied, not while it is unmapped and written back. Batches wait for a channel in order of arrival.",
            linux: "drivers/dma; /sys/class/dma",
            [
                "channels": ManualPage(
                    reads: "a number, decimal", writes: "a number, 1 to 64",
                    errors: ["EINVAL": "not a number", "ERANGE": "out of range"]),
                "busy": ManualPage(reads: "a number, decimal"), "queued": ManualPage(reads: "a number, decimal"),
                "bytes": ManualPage(reads: "bytes, decimal", linux: "/sys/class/dma/*/bytes_transferred"),
                "errors": ManualPage(
                    reads: "a number, decimal",
                    text: "Pages that are pinned, or for which no frame is available, do not reach the engine."),
                "modelled_ns": ManualPage(
                    reads: "nanoseconds, decimal",
                    text: "It is counted even if `link/pace` is off. Moves within the device cost nothing."),
            ]),
        Chapter(
            "sys/class/cdm/cdmN/queue", summary: "The command queue of the device.",
            text:
                "Commands run one after the other, on the same memory as the CPU and concurrently with it: the next command sees a mapped store, and the next load sees the result of a command. A page that the device touches first is allocated on the device's node, unless a policy of the buffer or of the writer, the writer's cpuset, or the isolation of the node requires another node. The pages of the running command are pinned: a migration fails for them with EBUSY. If the CPU touches a page that the device maps, an invalidation in the queue hands the page over; until then the touch waits. If the read-ahead of a touch includes pages that the device maps in part, only the touched page is read.",
            linux: "none; the command buffers of any GPU driver",
            [
                "submit": ManualPage(
                    writes:
                        "`fill BUFFER OFFSET LENGTH BYTE`, `copy BUFFER OFFSET BUFFER OFFSET LENGTH`, `crc32 BUFFER OFFSET LENGTH`, `read BUFFER OFFSET LENGTH`, `write BUFFER OFFSET LENGTH` (stores the present bytes), `exclusive BUFFER OFFSET LENGTH` or `fence`, one a line, at most 4096 bytes in all; BUFFER is a path below buffers/, or else below the mount point, such as `dev/cdm0`",
                    errors: [
                        "EINVAL": "a malformed line: the write queues no command",
                        "ERANGE": "a BYTE above 255, a number of more than 64 bits", "ENOENT": "no such buffer",
                        "EAGAIN": "more than 4096 commands would wait", "ENODEV": "the device is gone",
                    ],
                    text: "Numbers are decimal, or hexadecimal with 0x. File names with white space are not supported."
                ),
                "results": ManualPage(
                    reads:
                        "`SEQ STATUS VALUE`, a line a command: its number, from 1; `ok` or the name of an errno; for `crc32` the checksum in decimal, for the others the number of bytes done",
                    text:
                        "EFAULT: the range reaches behind the end of the buffer. EIO: the memory of a page has failed, or is lost with the link of another device. ENOMEM: no frame is available for a page. EPERM: isolation denies a frame. EOPNOTSUPP: exclusive access to a direct buffer, whose CPU touches cannot be seen. ENODEV: the device or its link is gone; waiting commands fail at once. ECANCELED: the mount ended. The effect of a command before it failed stays."
                ),
                "depth": ManualPage(reads: "a number, decimal"),
                "completed": ManualPage(reads: "a number, decimal"),
                "failed": ManualPage(reads: "a number, decimal"),
                "latency": ManualPage(
                    reads: "nanoseconds, decimal", writes: "nanoseconds, 0 to 1000000000",
                    errors: ["EINVAL": "not a number", "ERANGE": "out of range"],
                    text:
                        "It counts from the write of the command. A change also applies to commands that wait already."),
            ]),
        Chapter(
            "sys/class/cdm/cdmN/mmu", summary: "The device's page tables.",
            text:
                "There is one page table for each buffer that the device uses. Commands make its entries when they touch pages, read-only or writable. An entry is removed when the CPU touches the page (all touches: the page is either with the CPU or with devices), when the page moves, and when it is freed; its frame is used again only after the invalidation has had its turn in the queue. If a device maps a page that another device maps exclusively, or maps exclusively a page that others map, an invalidation in the queue of each other device comes first. Two devices that wait for each other serve each other's invalidations meanwhile.",
            linux: "mm/hmm.c, mm/mmu_notifier.c",
            [
                "contexts": ManualPage(reads: "a number, decimal"), "mapped": ManualPage(reads: "pages, decimal"),
                "faults": ManualPage(reads: "a number, decimal"),
                "invalidations": ManualPage(reads: "pages, decimal"), "dirty": ManualPage(reads: "pages, decimal"),
                "accessed": ManualPage(reads: "pages, decimal"),
                "migrate_after_device_faults": ManualPage(
                    reads: "a number, decimal", writes: "a number, 0 to 1000",
                    errors: ["EINVAL": "not a number", "ERANGE": "out of range"],
                    text:
                        "Counted for each page that is not on the device's node, of buffers with the default policy. The page moves when the command is done.",
                    linux: "none; the access counters of nouveau and of uvm"),
                "migrate_after_cpu_faults": ManualPage(
                    reads: "a number, decimal", writes: "a number, 0 to 1000",
                    errors: ["EINVAL": "not a number", "ERANGE": "out of range"],
                    text:
                        "The page moves to the nearest node of RAM. A page that the device does not map is not counted.",
                    linux: "none; the access counters of nouveau and of uvm"),
                "migrated": ManualPage(
                    reads: "`to_device PAGES` and `to_cpu PAGES`, a line each",
                    text: "If both grow, pages thrash: a higher number for either keeps them on one side."),
            ]),
        Chapter(
            "sys/class/cdm/cdmN/lru", summary: "The pages that the device uses, on lists of its own.",
            text:
                "The first command that touches a page puts it on the inactive list, the second one on the active list. Reclaim, and so demotion, skips active pages, and ages those that were not used since its last scan. A page that the device no longer maps is on the node's lists only.",
            linux: "mm/swap.c, folio_mark_accessed(); mm/vmscan.c",
            [
                "active": ManualPage(reads: "pages, decimal"), "inactive": ManualPage(reads: "pages, decimal"),
                "referenced": ManualPage(reads: "pages, decimal"),
            ]),
        Chapter(
            "dev", summary: "A file for each coherent device, and those of the HMM test driver.",
            text:
                "They belong to the user who mounts. The mount options `dev_mode=` (octal, default 660) and `dev_gid=` (a number) give access to others, as a rule of devtmpfs would. A user who may write to a device file can punch out the data of others in it.",
            linux: "/dev; drivers/base/devtmpfs.c",
            [
                "hmm_dmirrorN": ManualPage(
                    summary:
                        "A device that mirrors the address space of the process that opens its file, for Linux's HMM tests.",
                    text:
                        "0 and 1 have private memory, 2 and 3 coherent memory. Pages on a device take frames of the node of the first (0, 2) or second (1, 3) coherent device, if there are two. The ioctls (magic 'H', one `struct hmm_dmirror_cmd`) are READ, WRITE, MIGRATE_TO_DEV, MIGRATE_TO_SYS, SNAPSHOT, EXCLUSIVE, CHECK_EXCLUSIVE, RELEASE and FLAGS; others are ENOTTY. A malformed address or range is EINVAL. Memory that does not exist is EFAULT, memory that is not permitted EPERM. More than 1 GiB in one call, or more than the node has room for, is ENOMEM. Too many open files of one user are EMFILE.",
                    linux: "lib/test_hmm.c, lib/test_hmm_uapi.h"),
                "cdmN": ManualPage(
                    summary: "The device's memory: open, mmap, read, write, fallocate.",
                    text:
                        "It has the size of the device's memory and is always bound to its node; no other size can be set. Its controls are in sys/class/cdm/cdmN/buffer. If no frame is available for a page, a mapping gets SIGBUS and write(2) ENOSPC.",
                    linux: "drivers/dax/device.c"),
            ]),
    ]
}
