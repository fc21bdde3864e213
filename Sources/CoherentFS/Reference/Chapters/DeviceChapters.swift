extension Manual {
    private static func figure(_ unit: String) -> ManualPage {
        ManualPage(
            reads: "\(unit), decimal", writes: "\(unit), 1 to 1000000000",
            errors: ["EINVAL": "no number", "ERANGE": "out of range"])
    }

    /// sys/class/cdm and dev/.
    static let devices: [Chapter] = [
        Chapter("sys/class", summary: "Devices by what they are.", linux: "/sys/class"),
        Chapter(
            "sys/class/cdm", summary: "The coherent devices.", linux: "none",
            [
                "rescan": ManualPage(
                    writes: "`1`",
                    errors: ["EINVAL": "another word", "EBUSY": "a device is just being removed"],
                    text:
                        "A device that was removed, or whose link was cut and is up again, comes back with its node, the memory blocks it began with, and the isolation and link of the topology. Its memory is new: zero, and nothing of it has failed.",
                    linux: "drivers/pci/pci-sysfs.c, rescan")
            ]),
        Chapter(
            "sys/class/cdm/cdmN", summary: "A coherent device.", linux: "none; drivers/dax/bus.c is the nearest",
            [
                "numa_node": ManualPage(reads: "a number, decimal", linux: "drivers/dax/bus.c"),
                "size": ManualPage(reads: "bytes, decimal", linux: "drivers/dax/bus.c"),
                "state": ManualPage(
                    reads: "offline, online_in_progress, online, online_failed, offline_in_progress or offline_failed",
                    writes: "`online` or `offline`: every block of the node, going offline the last one first",
                    errors: [
                        "EINVAL": "another word",
                        "EBUSY":
                            "another change is under way, or a page has nowhere to go; blocks that are offline by then stay so",
                        "EINTR": "interrupted; blocks that are offline by then stay so",
                    ], linux: "none; daxctl online-memory and offline-memory do it block by block"),
                "remove": ManualPage(
                    writes: "`1` or `force`",
                    errors: [
                        "EINVAL": "another word",
                        "EBUSY":
                            "for `1`, a block is online; for `force`, a page has nowhere to go, or a task does not end; or another change is under way",
                        "ENODEV": "somebody else was faster",
                        "EPERM": "for `force`, a task that the daemon may not kill maps memory that cannot move",
                        "EINTR": "interrupted while pages were moved away",
                    ],
                    text:
                        "The node, its memory blocks and this directory go. dev/cdmN stays and answers ENODEV, mappings of it SIGBUS, open files of what has gone ENODEV. `force` moves what can be moved, then kills (SIGKILL) the tasks that map memory of the node that cannot, which is what nodeN/cdm/blockers lists, and no others; the log and an event (KILLED=PID, COMM=NAME) name them. Those pages are lost as with a link that is cut (EIO, SIGBUS, and `pages` says so); a contiguous buffer reads as zeros. Where `force` fails, what was online is so again.",
                    linux: "drivers/pci/pci-sysfs.c, remove; offline_and_remove_memory() of mm/memory_hotplug.c"),
            ]),
        Chapter(
            "sys/class/cdm/cdmN/link",
            summary: "The model of the device's link.",
            text: "What nodeN/access0/initiators shows follows.", linux: "none",
            [
                "read_latency": figure("nanoseconds"), "write_latency": figure("nanoseconds"),
                "read_bandwidth": figure("MB/s (10^6 bytes)"), "write_bandwidth": figure("MB/s (10^6 bytes)"),
                "pace": ManualPage(
                    reads: "`[off] real`, the one in force in brackets", writes: "one of the words",
                    errors: ["EINVAL": "another word"],
                    text:
                        "real: a batch of pages (at most 512) that is copied over the link, and a fault or read(2) of pages of the device that is not cached, takes at least latency plus bytes by bandwidth; between devices the slower link counts. Whoever cancels a job does not have to wait for the rest of that."
                ),
                "modelled_ns": ManualPage(
                    reads: "nanoseconds, decimal",
                    text:
                        "Of pages of the device that faults and read(2) fetch, latency plus bytes by bandwidth for each run of them, and of what dma/modelled_ns counts. Counted whether `pace` imposes it or not."
                ),
                "state": ManualPage(
                    reads: "up or down", writes: "`up` or `down`; what is so already stays so",
                    errors: ["EINVAL": "another word"],
                    text:
                        "down: a surprise removal. The node and its memory blocks are gone at once, and of this device only link/ and ras/ are left. Every page on it is lost, whoever has it mapped or cached: touches of it are SIGBUS, read(2) and write(2) EIO, `pages` of its buffer says lost, until it is punched, truncated or unlinked away. Pages elsewhere stay. dev/cdmN answers ENODEV. up: nothing comes back before `rescan`, and then as new memory, zeroed.",
                    linux: "none; PCI surprise removal, pciehp"),
                "on_loss": ManualPage(
                    reads: "`[touch] sigbus sigkill`, the one in force in brackets", writes: "one of the words",
                    errors: ["EINVAL": "another word"],
                    text:
                        "touch: nothing but SIGBUS at the next touch. sigbus, sigkill: the signal at once to every process that maps a page that is lost, or the device's file; its si_code is SI_USER.",
                    linux: "PR_MCE_KILL of prctl(2)"),
                "retrain": ManualPage(
                    reads: "nanoseconds, decimal", writes: "nanoseconds, 0 to 100000000",
                    errors: ["EINVAL": "no number", "ERANGE": "out of range"], text: "1000000 to begin with.",
                    linux: "none; the Recovery state of PCI Express"),
                "stalled_ns": ManualPage(reads: "nanoseconds, decimal"),
            ]),
        Chapter(
            "sys/class/cdm/cdmN/mem", summary: "How much memory the device has, and how much of it is given out.",
            text:
                "As nodeN/meminfo tells it of the device's node; but these are true under the isolation `driver`, too, where the memory is no node's.",
            linux: "drivers/gpu/drm/amd/amdgpu, mem_info_vram_total and mem_info_vram_used",
            [
                "total": ManualPage(reads: "bytes, decimal"), "free": ManualPage(reads: "bytes, decimal"),
                "used": ManualPage(reads: "bytes, decimal: `total` less `free`"),
                "largest_free": ManualPage(
                    reads: "bytes, decimal", text: "At most 1 GiB; the contiguous share counts."),
            ]),
        Chapter(
            "sys/class/cdm/cdmN/dma", summary: "The copy engine of the device, which migrations use.",
            text:
                "Every batch of at most 512 pages that moves to, from or within the device's memory holds a channel while it is copied, not while it is unmapped and written back; those that wait for one get it in their order.",
            linux: "drivers/dma; /sys/class/dma",
            [
                "channels": ManualPage(
                    reads: "a number, decimal", writes: "a number, 1 to 64",
                    errors: ["EINVAL": "no number", "ERANGE": "out of range"]),
                "busy": ManualPage(reads: "a number, decimal"), "queued": ManualPage(reads: "a number, decimal"),
                "bytes": ManualPage(reads: "bytes, decimal", linux: "/sys/class/dma/*/bytes_transferred"),
                "errors": ManualPage(
                    reads: "a number, decimal",
                    text: "Pages that are pinned, or that find no frame, never get as far as the engine."),
                "modelled_ns": ManualPage(
                    reads: "nanoseconds, decimal",
                    text: "Counted whether `link/pace` imposes it or not. What stays on the device costs nothing."),
            ]),
        Chapter(
            "sys/class/cdm/cdmN/queue", summary: "The command queue of the device.",
            text:
                "Commands are executed one after the other, on the same memory as the CPU and beside it: a mapped store is seen by the next command, a command's result by the next load. What the device touches first is allocated for it on its own node, unless a policy of the buffer or of the writer, his cpuset or the isolation of the node have it otherwise. The pages of the command under way are pinned: a migration fails for them with EBUSY. A page that the CPU touches while the device maps it is handed over by an invalidation that waits its turn in the queue; until then the touch waits. Where a touch reads in pages around it that the device maps in part, only the touched page is read.",
            linux: "none; the command buffers of any GPU driver",
            [
                "submit": ManualPage(
                    writes:
                        "`fill BUFFER OFFSET LENGTH BYTE`, `copy BUFFER OFFSET BUFFER OFFSET LENGTH`, `crc32 BUFFER OFFSET LENGTH`, `read BUFFER OFFSET LENGTH`, `write BUFFER OFFSET LENGTH` (stores what is there), `exclusive BUFFER OFFSET LENGTH` or `fence`, one a line, at most 4096 bytes in all; BUFFER is a path below buffers/ or, where there is none, below the mount point, as `dev/cdm0`",
                    errors: [
                        "EINVAL": "a malformed line: no command of the write is taken",
                        "ERANGE": "a BYTE above 255, a number of more than 64 bits", "ENOENT": "no such buffer",
                        "EAGAIN": "more than 4096 commands would wait", "ENODEV": "the device is gone",
                    ],
                    text: "Numbers are decimal, or hexadecimal with 0x. A file name with white space cannot be given."
                ),
                "results": ManualPage(
                    reads:
                        "`SEQ STATUS VALUE`, a line a command: its number, from 1 on; `ok` or the name of an errno; the checksum of `crc32` in decimal, of the others the bytes that were done",
                    text:
                        "EFAULT: the range reaches behind the end of the buffer. EIO: the memory of a page failed, or was lost with the link of another device. ENOMEM, EPERM: a page got no frame, or not under isolation. EOPNOTSUPP: exclusive access to a direct buffer, of which nobody sees the CPU touch it. ENODEV: the device or its link went; what waits then fails at once. ECANCELED: the mount ended. What a command did before it failed stays done."
                ),
                "depth": ManualPage(reads: "a number, decimal"),
                "completed": ManualPage(reads: "a number, decimal"),
                "failed": ManualPage(reads: "a number, decimal"),
                "latency": ManualPage(
                    reads: "nanoseconds, decimal", writes: "nanoseconds, 0 to 1000000000",
                    errors: ["EINVAL": "no number", "ERANGE": "out of range"],
                    text: "Counted from when the command was written; for what waits already, too."),
            ]),
        Chapter(
            "sys/class/cdm/cdmN/mmu", summary: "The device's page tables.",
            text:
                "There is one for each buffer that the device uses. Its entries are made as commands touch pages, read-only or writable; they go when the CPU touches the page (all touches: the page is with the CPU or with devices), when it moves, and when it is freed, whose frame is used anew only when the invalidation has had its turn in the queue. What one device has for itself another one takes by an invalidation that waits its turn in the first one's queue, before it maps the page, and so does who takes for itself what others map; two that wait for each other serve each other meanwhile.",
            linux: "mm/hmm.c, mm/mmu_notifier.c",
            [
                "contexts": ManualPage(reads: "a number, decimal"), "mapped": ManualPage(reads: "pages, decimal"),
                "faults": ManualPage(reads: "a number, decimal"),
                "invalidations": ManualPage(reads: "pages, decimal"), "dirty": ManualPage(reads: "pages, decimal"),
                "accessed": ManualPage(reads: "pages, decimal"),
                "migrate_after_device_faults": ManualPage(
                    reads: "a number, decimal", writes: "a number, 0 to 1000",
                    errors: ["EINVAL": "no number", "ERANGE": "out of range"],
                    text:
                        "Counted for each page that is not on the device's node, of buffers whose policy is the default; it moves when the command is done.",
                    linux: "none; the access counters of nouveau and of uvm"),
                "migrate_after_cpu_faults": ManualPage(
                    reads: "a number, decimal", writes: "a number, 0 to 1000",
                    errors: ["EINVAL": "no number", "ERANGE": "out of range"],
                    text:
                        "It moves to the nearest node of RAM. A page that is not mapped by the device is not counted.",
                    linux: "none; the access counters of nouveau and of uvm"),
                "migrated": ManualPage(
                    reads: "`to_device PAGES` and `to_cpu PAGES`, a line each",
                    text: "Where both grow, pages thrash: a higher number for either leaves them on one side."),
            ]),
        Chapter(
            "sys/class/cdm/cdmN/lru", summary: "The pages that the device uses, on lists of its own.",
            text:
                "A page that a command touches is on the inactive list, and on the active one from the second command on. Reclaim, and so demotion, leaves active pages where they are, and ages those that were not used since it last came by; whatever the device no longer maps is on the node's lists alone.",
            linux: "mm/swap.c, folio_mark_accessed(); mm/vmscan.c",
            [
                "active": ManualPage(reads: "pages, decimal"), "inactive": ManualPage(reads: "pages, decimal"),
                "referenced": ManualPage(reads: "pages, decimal"),
            ]),
        Chapter(
            "dev", summary: "A file for each coherent device, and those of the HMM test driver.",
            text:
                "They belong to whoever mounts; the mount options `dev_mode=` (octal, 660 to begin with) and `dev_gid=` (a number) say who else may use them, as a rule of devtmpfs would. Whoever may write to a device file may punch out what others have in it.",
            linux: "/dev; drivers/base/devtmpfs.c",
            [
                "hmm_dmirrorN": ManualPage(
                    summary:
                        "A device that mirrors the address space of whoever opens its file, as Linux's HMM tests want it.",
                    text:
                        "0 and 1 have private memory, 2 and 3 coherent memory; pages on a device take frames of the node of the first (0, 2) or second (1, 3) coherent device, as far as there are two. The ioctls (magic 'H', one `struct hmm_dmirror_cmd`) are READ, WRITE, MIGRATE_TO_DEV, MIGRATE_TO_SYS, SNAPSHOT, EXCLUSIVE, CHECK_EXCLUSIVE, RELEASE and FLAGS; others are ENOTTY. An address or range that is malformed is EINVAL, memory that is not there or not permitted EFAULT or EPERM, more than 1 GiB in one call, or more than the node has room for, ENOMEM, too many open files of one user EMFILE.",
                    linux: "lib/test_hmm.c, lib/test_hmm_uapi.h"),
                "cdmN": ManualPage(
                    summary: "The device's memory: open, mmap, read, write, fallocate.",
                    text:
                        "As large as the device's memory, and always bound to its node; no other size can be set. Its controls are in sys/class/cdm/cdmN/buffer. A page without a frame to be had is SIGBUS through a mapping, ENOSPC through write(2).",
                    linux: "drivers/dax/device.c"),
            ]),
    ]
}
