import CoherentMemory
import CoherentTree

extension Manual {
    private static let truth =
        "what begins with 1, y, t, e or on, or with 0, n, f, d or of, in either case (kstrtobool())"
    private static let balancing = "/sys/kernel/debug/sched/numa_balancing; kernel/sched/debug.c"

    /// sys/kernel, but for the controls of buffers.
    static let kernel: [Chapter] = [
        Chapter("sys/kernel", summary: "Controls that belong to no device.", linux: "/sys/kernel"),
        Chapter("sys/kernel/mm", summary: "Memory management as a whole.", linux: "/sys/kernel/mm"),
        Chapter(
            "sys/kernel/mm/numa", summary: "Tiering.",
            linux: "mm/memory-tiers.c; Documentation/ABI/testing/sysfs-kernel-mm-numa",
            [
                "demotion_enabled": ManualPage(
                    reads: "`true` or `false`", writes: truth,
                    errors: ["EINVAL": "anything else"],
                    text:
                        "Pages are demoted when a write to `reclaim` of a node asks for it. kswapd also demotes them from a node whose free pages fall below `low` of its `pressure`, until they reach `high`."
                )
            ]),
        Chapter(
            "sys/kernel/mm/hugepages", summary: "Reserved huge pages of all nodes, a directory for each size.",
            linux: "mm/hugetlb_sysfs.c; Documentation/admin-guide/mm/hugetlbpage.rst",
            ["hugepages-2048kB": ManualPage(summary: "The pool of 2 MiB pages, the only size.")]),
        Chapter(
            "sys/kernel/mm/hugepages/hugepages-2048kB", summary: "Reserved huge pages of 2 MiB, of all nodes.",
            linux: "mm/hugetlb_sysfs.c; Documentation/admin-guide/mm/hugetlbpage.rst",
            [
                "nr_hugepages": ManualPage(
                    reads: "a count, decimal", writes: "the target count, decimal",
                    errors: ["EINVAL": "not a decimal number", "ERANGE": "more than 64 bits"],
                    text:
                        "New huge pages come from the nodes of RAM in equal parts, as far as they have room. A coherent node reserves huge pages only through its own `nr_hugepages`. A lower count takes those that are free and not promised to a mapping from all nodes in equal parts; others stay as surplus until they are freed. If there is not enough room, the count stays lower, without an error: read it back."
                ),
                "free_hugepages": ManualPage(reads: "a count, decimal"),
                "resv_hugepages": ManualPage(reads: "a count, decimal"),
                "surplus_hugepages": ManualPage(reads: "a count, decimal"),
            ]),
        Chapter("sys/kernel/mm/mempolicy", summary: "Memory policies of the machine.", linux: "mm/mempolicy.c"),
        Chapter(
            "sys/kernel/mm/mempolicy/weighted_interleave", summary: "The weights of weighted interleaving.",
            linux: "mm/mempolicy.c; Documentation/ABI/testing/sysfs-kernel-mm-mempolicy-weighted-interleave",
            [
                "auto": ManualPage(
                    reads: "`true` or `false`", writes: truth,
                    errors: ["EINVAL": "anything else"],
                    text:
                        "true: every weight is 1, and weights that were set are dropped. false: the weights stay."
                ),
                "nodeN": ManualPage(
                    reads: "a number from 1 to 255",
                    writes: "a number from 1 to 255, in base 10, 8 (`010`) or 16 (`0x10`)",
                    errors: ["EINVAL": "not a number, or out of range"],
                    text: "There is one for each node that has memory online."),
            ]),
        Chapter(
            "sys/kernel/cdm/pressure", summary: "Memory pressure of each node.", linux: "/proc/zoneinfo; mm/vmscan.c",
            ["nodeN": ManualPage(reads: pressure)]),
        Chapter(
            "sys/kernel/cdm/proc",
            summary: "Files of /proc, for the machine as a whole; `cdmfs run` shows them in place of the host's.",
            linux: "/proc; Documentation/filesystems/proc.rst",
            [
                "buddyinfo": ManualPage(
                    reads: "a line for each zone: the number of free blocks of 2⁰ to 2¹⁰ pages",
                    linux: "/proc/buddyinfo; mm/vmstat.c"),
                "meminfo": ManualPage(
                    reads: "lines of `NAME: KILOBYTES kB`, with Linux's names in Linux's order",
                    text:
                        "MemAvailable is MemFree minus the low watermarks. Figures that are not simulated are 0.",
                    linux: "/proc/meminfo; fs/proc/meminfo.c"),
                "pagetypeinfo": ManualPage(
                    reads:
                        "two tables: the free blocks of 2⁰ to 2¹⁰ pages of each zone and type, and its blocks of 2 MiB",
                    text: "All pages are movable.", linux: "/proc/pagetypeinfo; mm/vmstat.c"),
                "vmstat": ManualPage(
                    reads: "`name value` lines: the keys of nodeN/vmstat, summed, then events of reclaim and balancing",
                    linux: "/proc/vmstat; mm/vmstat.c"),
                "zoneinfo": ManualPage(
                    reads: "a section for each zone: the node's figures, watermarks, and the zone's figures",
                    linux: "/proc/zoneinfo; mm/vmstat.c"),
            ]),
        Chapter(
            "sys/kernel/cdm", summary: "Controls without a Linux counterpart.", linux: "none",
            [
                "pid": ManualPage(reads: "a number, decimal", text: numbers),
                "host_nodes": ManualPage(
                    reads: "lines of `nodeN host=M moved=PAGES failed=PAGES`, in pages of 4 KiB",
                    text:
                        "One for each node with `host_node` in the topology. Its memory comes from that node of the host as long as it has room (MPOL_PREFERRED). Pages of a direct buffer that move to the node move there, too: moved counts the pages that were elsewhere, failed the pages that the host could not move. /proc/PID/numa_maps of the process in `pid` shows where the memory is.",
                    linux: "mbind(2), move_pages(2)"),
                "pressure": ManualPage(summary: "Memory pressure of each node."),
                "vmstat": ManualPage(
                    reads: "lines of `NAME VALUE`, in pages of 4 KiB or events",
                    text: "Tasks do not reclaim when they touch a page, so pgdemote_direct is 0.",
                    linux: "/proc/vmstat; mm/vmstat.c"),
                "numa_balancing": ManualPage(
                    reads: "a number from 0 to 3",
                    writes:
                        "0: off; 1: a page moves to the node whose tasks touch it twice in a row; 2: a page of a slower tier that is touched soon after it was marked, twice in a row, is promoted to the nearest RAM; 3: both",
                    errors: ["EINVAL": "not a number, or out of range"],
                    text:
                        "Applies only to pages of buffers whose policy is `default` that were touched under no other policy, and never to or from isolated nodes. The mount option `numa_balancing` sets the initial value.",
                    linux: "/proc/sys/kernel/numa_balancing; Documentation/admin-guide/sysctl/kernel.rst"),
                "numa_balancing_scan_period_ms": ManualPage(
                    reads: "milliseconds, decimal", writes: "a number from 10 to 60000",
                    errors: ["EINVAL": "not a number, or out of range"], linux: balancing),
                "numa_balancing_scan_size_mb": ManualPage(
                    reads: "MB of 2²⁰ bytes, decimal", writes: "a number from 1 to 65536",
                    errors: ["EINVAL": "not a number, or out of range"], linux: balancing),
                "numa_balancing_hot_threshold_ms": ManualPage(
                    reads: "milliseconds, decimal", writes: "a number from 1 to 60000",
                    errors: ["EINVAL": "not a number, or out of range"],
                    text: "The resolution is 16 ms.", linux: balancing),
                "task_policy": ManualPage(
                    reads: "lines of `PID POLICY`, ascending; empty if there are none",
                    writes: "`PID POLICY`, the policy in the words of a buffer's `policy`; 0 is the writer",
                    errors: [
                        "EINVAL":
                            "not a number, not a policy, or nodes without memory or that the task's cpuset does not allow",
                        "ERANGE": "more than 32 bits", "ESRCH": "there is no such task",
                        "EPERM": "a restricted node that the task may not use",
                    ],
                    text:
                        "It applies to buffers whose own policy is `default`. Later children of the task inherit it; `default` removes it. \(numbers)",
                    linux: "set_mempolicy(2)"),
                "programs": ManualPage(
                    reads:
                        "`memory` where anonymous memory of programs can be the machine's, else an empty line",
                    writes:
                        "`LISTENER SOCKET`, two descriptor numbers of the writer: a listener of seccomp_unotify(2), and a Unix socket that the daemon closes when it no longer answers the listener",
                    errors: [
                        "EINVAL": "malformed, not a listener, or not a socket", "EBADF": "there is no such descriptor",
                        "ESRCH": "the writer has no number in the daemon's PID namespace",
                        "EAGAIN": "the writer's user, or all users, have too many listeners",
                    ],
                    text:
                        "`cdmfs run` writes here; every user may. The reported system calls about memory policies, page locations and CPU affinity act on the memory of the machine that the caller has, with the caller's rights. Reported calls that map anonymous memory make that the machine's. The kernel executes all other calls.",
                    linux: "none"),
                "migrate_pages": ManualPage(
                    writes: "`PID FROM TO`, lists of nodes; 0 is the writer",
                    errors: [
                        "EINVAL": "malformed, or no node of TO has memory and is allowed for the writer",
                        "ERANGE": "a node number above the maximum",
                        "EOVERFLOW": "a number of more than 32 bits in a list",
                        "ESRCH": "there is no such task", "EPERM": "a restricted node that the writer may not use",
                        "ENOMEM": "not all pages could move; pages that have moved stay moved",
                        "EINTR": "interrupted; pages that have moved stay moved",
                        "ETIMEDOUT": "the address space of the task, or of other tasks of its user, stays locked",
                    ], text: "Memory of devices does not move. \(numbers)", linux: "migrate_pages(2)"),
                "machine": ManualPage(
                    reads: "a topology file in TOML, which `cdmfs mount --topology` takes",
                    text: "It says nothing of what has changed since the mount."),
                "metrics": ManualPage(
                    reads:
                        "OpenMetrics text that is also valid in the text format of Prometheus; its last line is `# EOF`",
                    text:
                        "`cdmfs metrics` prints it. Names begin with `cdmfs_`. Names that end in `_total` count since the start of the mount and have no `# TYPE` line, because the two formats require different ones. `cdmfs_buffer_node_bytes` is of the ten largest buffers, as far as who opened the file can list their directories."
                ),
                "bufferinfo": ManualPage(
                    reads:
                        "`ID SIZE RESIDENT READ WRITE CPU DEVICE REFUSED PLACEMENT FLAGS NAME` a line: the number of the buffer in trace records; size and resident bytes; the figures of `faults`; `N0=12,N1=4`, the pages on each node, or `-`; `pinned` or `-`; a path below buffers/, `/dev/cdmN`, or `(deleted)`",
                    text:
                        "It has the buffers whose control directories the process that opened the file can list. Blanks, control characters and backslashes in a name are octal, as `\\040`. `cdmfs top` reads it.",
                    linux: "/sys/kernel/debug/dma_buf/bufinfo"),
                "last_error": ManualPage(
                    reads:
                        "one line, `PATH \"VALUE\" ERRNO: REASON.`: the file from the mount point, or the data file and the name of the extended attribute; what was written, shortened; the name of the errno. Empty if nothing was refused",
                    text:
                        "A process, with all its threads, reads its own line and no other: the one of its last write that was refused. It is forgotten when the process has ended, or after \(LastErrors.limitPerUser) other processes of the same user were refused something. In a shell, `read -r line <last_error` reads the line of a redirection of the shell itself; `cat` is another process. `cdmfs set` writes and shows the line. The daemon logs each line at the level debug.",
                    linux: "none; NLMSGERR_ATTR_MSG of netlink"),
                "retired": ManualPage(
                    reads:
                        "lines of `PHYS LENGTH NODE WHY`: a physical address and bytes in hexadecimal, a number; why: injected, internal, external or offlined, as in poison_list of a device",
                    linux: "/sys/kernel/debug/cxl; HardwareCorrupted of /proc/meminfo"),
                "jobs": ManualPage(
                    reads:
                        "lines of `ID KIND FROM TO DONE/TOTAL BYTES STATE`, ascending; FROM and TO lists of nodes or `-`, DONE and TOTAL pages, BYTES a second; empty if there are none",
                    writes: "`cancel ID`",
                    errors: ["EINVAL": "malformed", "ESRCH": "no job with that number runs"],
                    text:
                        "KIND is buffer, device, node, task (migrate_pages), range (coherent_debug), cpuset, offline, remove, compact, reclaim, kswapd (demotion in the background) or balancing; STATE is as in `migrate`. The list has the running jobs and the last 64 that ended. kswapd and balancing are listed only while they run, because they would soon fill the list; after a cancel they stop until they are needed again. TOTAL grows while a job finds more pages. If a job is cancelled, a write that waits for its end returns EINTR; pages that have moved stay moved. poll(2) wakes when a job begins or ends, and at most ten times a second while one runs."
                ),
                "migrations": ManualPage(
                    reads:
                        "lines of `FROM TO REASON PAGES`, counted since the start of the mount; empty if there are none",
                    text:
                        "REASON is buffer, node, task, range, offline, cpuset, compaction, demotion, promotion, balancing or access (`migrate_after_…` of a device's mmu). FROM and TO are the same if pages only changed their frames.",
                    linux: "pgmigrate_success of /proc/vmstat; enum migrate_reason"),
                "numa_maps": ManualPage(
                    reads:
                        "lines of `ADDRESS POLICY file=PATH anon=PAGES dirty=PAGES mapped=PAGES NN=PAGES kernelpagesize_kB=4`, as /proc/PID/numa_maps has them",
                    writes: "`PID`; 0 is the writer",
                    errors: [
                        "EINVAL": "not a number", "ERANGE": "more than 32 bits", "ESRCH": "there is no such task",
                    ],
                    text:
                        "A read of an open file shows the PID that was last written to this open file, or else the PID that was last written to any. The read is ESRCH after the task has ended, even if its number is in use again, and ETIMEDOUT if its address space stays locked. \(numbers)",
                    linux: "/proc/PID/numa_maps; show_numa_map() of fs/proc/task_mmu.c"),
                "zonelists": ManualPage(
                    reads:
                        "two lines for each node with an order: `nodeN fallback: NODE NODE …` for allocations that may fall back, `nodeN thisnode: NODE` for those that may not",
                    linux: "build_zonelists() of mm/page_alloc.c, as the 2016 proposal changes it"),
                "uevents": ManualPage(
                    reads:
                        "whole events as in `ACTION=online\\nDEVPATH=/devices/…\\nSUBSYSTEM=memory\\nSEQNUM=17\\n\\n`, starting at the open(2)",
                    text:
                        "A read waits for the next event (EAGAIN with O_NONBLOCK, EINTR when interrupted, ENOBUFS if 1024 reads of the user wait already); poll(2) reports it with POLLIN. Every reader gets all events. A reader that is more than \(UeventLog.capacity) events or \(UeventLog.byteCapacity >> 20) MiB behind loses the oldest, and reads `ACTION=lost` and COUNT, their number, in their place. If the process that opened the file could not have listed the path of a buffer or directory at the time of the event, DEVPATH and BUFFER have `inode:NUMBER` in place of the path (a name that begins with this word is shown as `\\151node:…`).",
                    linux: "the NETLINK_KOBJECT_UEVENT socket; lib/kobject_uevent.c"),
            ]),
        Chapter(
            "sys/kernel/cdm/trace", summary: "Trace events of the machine, only for root.",
            text:
                "Each event says what happened to memory and why: no sampling. While an event is off it costs one load and a branch. A page that got its frame is `touch_placed`, a touch without one `touch_refused`, a node that isolation kept a request from `isolation_refused`. Pages that moved are `pages_migrated`, `pages_demoted` or `pages_promoted`, an event for each run of pages, with the modelled time of the links and the real time, which add up to those of the batch. The others are block_state, page_poisoned, page_retired, page_cleared, page_corrected, pages_lost, link_state, link_stalled, command_begin, command_end, policy_set, isolation_set and cpuset_set. For `cdmfs replay` there are touch_found, touch_retried, pages_stored, pages_freed, buffer_made, buffer_removed, setting_changed, request_made, task_placed and node_state.",
            linux: "/sys/kernel/tracing; Documentation/trace/ftrace.rst, Documentation/trace/events.rst",
            [
                "events": ManualPage(
                    reads: "a name a line, in brackets if the event is recorded",
                    writes: "`NAME` to record an event, `!NAME` not to record it; several between white space",
                    errors: ["EINVAL": "no event has that name", "ENOMEM": "the host refuses the memory"],
                    linux: "/sys/kernel/tracing/available_events, set_event"),
                "enable": ManualPage(
                    reads: "`0` for no event, `1` for all, `X` for some", writes: "`0` or `1`",
                    errors: [
                        "EINVAL": "not a decimal number, or another one", "ERANGE": "more than 64 bits",
                        "ENOMEM": "the host refuses the memory",
                    ],
                    linux: "/sys/kernel/tracing/events/enable"),
                "filter": ManualPage(
                    reads: "the filter, or `none`",
                    writes:
                        "`FIELD == VALUE` or `FIELD != VALUE`, joined by `&&` and `||`, of which `&&` binds closer; `0` for no filter",
                    errors: [
                        "EINVAL": "malformed", "ERANGE": "a number out of range",
                        "E2BIG": "more than \(TraceFilter.limit) comparisons",
                        "ENOENT": "there is no such buffer", "ESRCH": "there is no such task",
                    ],
                    text:
                        "FIELD is buffer, node or pid. A buffer is its path below buffers/, or `inode:NUMBER`; a path with blanks stands between double quotes. `node == N` is true if any node of the event is N. \(numbers)",
                    linux: "/sys/kernel/tracing/events/SYSTEM/filter"),
                "trace_pipe": ManualPage(
                    reads:
                        "lines as in `           <...>-1234    [001] .....  1234.567890: touch_placed: buffer=a offset=0x0 length=0x1000 node=1 policy=bind intended=1 by=cpu local=0`",
                    text:
                        "A line has the number of the thread that asked (0 if none did), the CPU that recorded the event, seconds and microseconds, and the fields. A read waits for the next event (EAGAIN with O_NONBLOCK, EINTR when interrupted); poll(2) reports it with POLLIN. A reader begins with the oldest event that no reader has had. Unlike in Linux, every reader gets all events from then on. If events are overwritten before a reader has had them, it reads `CPU:N [LOST COUNT EVENTS]`, and COUNT is exact. Lines are in the order of their times, as far as they were recorded at the time of the read. A blank, tab, newline or backslash in a name is `\\040`, `\\011`, `\\012`, `\\134`. If the process that opened the file may not list the path of a buffer, the line has `inode:NUMBER`.",
                    linux: "/sys/kernel/tracing/trace_pipe"),
                "trace_pipe_raw": ManualPage(
                    reads:
                        "records of eight little-endian 64-bit words, an event each, as the documentation of TraceFormat says; the name of a buffer stands before its first event",
                    text:
                        "An open file is an instance of its own: all events are recorded for it, in memory of its own, with the `clock`, `filter` and `buffer_size_kb` that the trace has at the open(2), and only while the file is open. `events`, `enable` and the readers of other files are not affected. It begins with the state of the machine as events: settings, buffers, policies and pages. Then come the events from the open(2) on. It waits and polls as trace_pipe does. At most \(Tracer.instanceLimit) such files and trace_pipe_watch are open at once; open(2) of more fails with EBUSY. `cdmfs record` reads it.",
                    linux: "/sys/kernel/tracing/instances/NAME/per_cpu/cpuN/trace_pipe_raw"),
                "trace_pipe_watch": ManualPage(
                    reads:
                        "records as in trace_pipe_raw, of all events from the open(2) on but those for `cdmfs replay`",
                    text:
                        "An open file is an instance of its own, as of trace_pipe_raw, without a filter and with the clock `mono`. It keeps the newest 1024 events for each of two stripes a CPU. It waits and polls as trace_pipe does. `cdmfs top` reads it.",
                    linux: "/sys/kernel/tracing/instances/NAME/trace_pipe"),
                "buffer_size_kb": ManualPage(
                    reads: "kB for each CPU, decimal", writes: "kB for each CPU, decimal",
                    errors: [
                        "EINVAL": "not a decimal number, or 0", "ERANGE": "more than 64 bits",
                        "ENOMEM": "more than \(TraceInstance.kilobyteRange.upperBound), or the host refuses the memory",
                    ],
                    text:
                        "An event takes 64 bytes. What is recorded stays readable until the size changes again. The memory is used when the first event is recorded.",
                    linux: "/sys/kernel/tracing/buffer_size_kb"),
                "clock": ManualPage(
                    reads: "the clocks, the present one in brackets", writes: "one of them",
                    errors: ["EINVAL": "another word", "ENOMEM": "the host refuses the memory"],
                    text: "mono is CLOCK_MONOTONIC, mono_raw CLOCK_MONOTONIC_RAW, boot CLOCK_BOOTTIME, tai CLOCK_TAI.",
                    linux: "/sys/kernel/tracing/trace_clock"),
            ]),
        Chapter(
            "sys/kernel/debug", summary: "Interfaces for tests, only for root.", linux: "/sys/kernel/debug",
            [
                "coherent_debug": ManualPage(
                    writes: "`pid,0xstart,0xend,nid`, addresses of whole pages",
                    errors: [
                        "EINVAL": "malformed, an empty range, or not whole pages",
                        "ERANGE": "a number out of range",
                        "ESRCH": "there is no such task", "ENODEV": "there is no such node, or it has no memory online",
                        "EPERM": "a restricted node that the writer may not use",
                        "ENOMEM": "not all pages could move; pages that have moved stay moved",
                        "EINTR": "interrupted; pages that have moved stay moved",
                        "ETIMEDOUT": "the address space of the task, or of other tasks of its user, stays locked",
                    ], text: numbers, linux: "migrate_virtual_range() of the 2016 proposal")
            ]),
        Chapter(
            "sys/kernel/cdm/tasks",
            summary:
                "A directory for each process, by the reader's numbers. Listed are programs under `cdmfs run` and processes that have a buffer open.",
            linux: "/proc"),
        Chapter(
            "sys/kernel/cdm/tasks/PID",
            summary: "Memory of a process: its own under `cdmfs run`, and the buffers that it maps.",
            text:
                "A read is EACCES if the reader may not look into the process (ptrace(2)), and ESRCH if the process has ended.",
            linux: "/proc/PID",
            [
                "resident": ManualPage(
                    reads: "bytes",
                    text:
                        "The pages with frames: of its own memory, and of what it maps of shared memory and of buffers, for each mapping."
                ),
                "placement": ManualPage(reads: "`N0=12 N1=4`, in pages"),
                "policy": ManualPage(
                    reads:
                        "the policy of the process, then a line `START LENGTH POLICY` for each range of its memory without a file with another",
                    text: "`task_policy` sets the policy of a process.",
                    linux: "/proc/PID/numa_maps"),
            ]),
        Chapter("sys/fs", summary: "File systems.", linux: "/sys/fs"),
        Chapter(
            "sys/fs/cgroup", "sys/fs/cgroup/GROUP",
            summary: "Groups of tasks and the nodes that they may use; mkdir(2) makes one.",
            text:
                "rmdir(2) is EBUSY while a group has processes or groups. A group whose path would have PATH_MAX bytes is ENAMETOOLONG.",
            linux: "Documentation/admin-guide/cgroup-v2.rst; kernel/cgroup/cpuset.c",
            [
                "cgroup.procs": ManualPage(
                    reads: "the numbers of processes, a line each; empty if there are none",
                    writes: "`PID`; 0 is the writer",
                    errors: [
                        "EINVAL": "not a number, or one of more than 32 bits", "ESRCH": "there is no such process",
                        "ENODEV": "the group was removed",
                    ],
                    text:
                        "Memory that the process maps moves to the nodes of the group before the write returns. \(numbers)"
                ),
                "cpuset.mems": ManualPage(
                    reads: "a list; an empty line if there are none",
                    writes: "a list, or an empty line for the nodes of the parent",
                    errors: [
                        "EINVAL": "not a list, or a node that is not in `possible`",
                        "ERANGE": "a node number above the maximum",
                        "EOVERFLOW": "more than 32 bits", "ENODEV": "the group was removed",
                    ],
                    text: "Memory that the tasks map moves there before the write returns. The root has no such file."),
                "cpuset.mems.effective": ManualPage(reads: "a list"),
            ]),
    ]
}
