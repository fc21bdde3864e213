import CoherentMemory
import CoherentTree

extension Manual {
    /// buffers/, and the controls of buffers and device files.
    static let buffers: [Chapter] = [
        Chapter(
            "buffers", summary: "Named buffers: files and directories of users. Every user may make them.",
            text:
                "Links, fifos and device nodes are refused (EPERM). A path below buffers/ has at most \(BufferPath.maximumLength) bytes, so that the path of each control, from the root of the mount, fits in PATH_MAX. A name that would make a longer path is ENAMETOOLONG, and so is a move of a directory that would make the path of anything below it longer. The mount option `nr_inodes=` limits the number of names (ENOSPC), and `user_limit=` limits the share of one user (EDQUOT); df -i shows both. An inode counts in the share of its owner until its last file is closed. Sockets are ordinary names. linkat(2) gives a file without a name (O_TMPFILE) its first name. Attributes `user.NAME` of files and directories are stored as on tmpfs, and copied. A file has at most 128 KiB of values and 64 KiB of names (ENOSPC), and each KiB counts as a name in `nr_inodes=`. Of `trusted.` and `security.`, only those of root are stored. Access control lists are EOPNOTSUPP. The time of last access follows relatime, at a read that misses the page cache and at an open for reading only. A file handle (name_to_handle_at(2)) is valid as long as its file exists.",
            linux: "/dev/shm; quotactl(2)",
            [
                "NAME": ManualPage(
                    summary:
                        "A buffer: ftruncate, mmap, read, write, fallocate, copy_file_range, lseek to data and holes.",
                    text:
                        "A page gets its frame when it is first touched, under the policy of that moment. If no frame is available, a mapping gets SIGBUS and write(2) ENOSPC. A page that was never touched reads as zeros; a read through a file that was opened read-only does not touch it. The controls are in sys/kernel/cdm/buffers/NAME.",
                    linux: "tmpfs; mm/shmem.c"),
                "DIR": ManualPage(
                    summary: "A directory of buffers, with the same kinds of files as buffers/.", linux: "tmpfs"),
            ]),
        Chapter(
            "sys/kernel/cdm/buffers", summary: "The controls of the buffers, under the same names.",
            text:
                "A directory here has the current mode, owner and group of the one below buffers/, and so hides the same names.",
            linux: "none",
            ["DIR": ManualPage(summary: "The controls of the buffers in buffers/DIR.")]),
        Chapter(
            "sys/kernel/cdm/buffers/NAME", "sys/class/cdm/cdmN/buffer",
            summary: "The controls of a buffer, or of a device file.",
            text:
                "They belong to the owner and group of the file. Users who can read a buffer can search the directory of its controls. Only the owner and root may write to a control, even if the mode lets others write to the file: EACCES here, EPERM as an extended attribute (for which CAP_FOWNER is enough). Controls that can be read are also extended attributes of the data file, such as `user.cdm.policy`. They answer by name and are not listed, so that no copy includes them. They cannot be removed (EPERM), and no others can be stored under such names (EOPNOTSUPP).",
            linux: "ceph's virtual attributes, fs/ceph/xattr.c; inode_owner_or_capable() of fs/inode.c",
            [
                "size": ManualPage(reads: "bytes, decimal", linux: "stat(2)"),
                "resident": ManualPage(reads: "bytes, decimal", linux: "mincore(2)"),
                "policy": ManualPage(
                    reads:
                        "`default`, `local`, `bind:NODES`, `prefer:NODE`, `prefer (many):NODES`, `interleave:NODES` or `weighted interleave:NODES`, NODES a list; with `=static` or `=relative` after the word. Ranges with another policy follow, a line each: `OFFSET LENGTH POLICY`, bytes in hexadecimal",
                    writes:
                        "one such line: `POLICY` for the whole buffer, which removes the policies of ranges, or `OFFSET LENGTH POLICY` for whole pages; `interleave` and `weighted interleave` without nodes mean all nodes with memory, `prefer` without a node means `local`",
                    errors: [
                        "EINVAL":
                            "unknown word, a list that the word does not take, a node that has no memory online, or a range that is empty or not of whole pages",
                        "EPERM":
                            "a device file, which stays bound to its node, or a restricted node that the writer may not use",
                        "ENOMEM": "more than \(Machine.policyRangeLimit) ranges",
                    ], text: "It applies to pages that are allocated later. Existing pages stay; `migrate` moves them.",
                    linux: "mbind(2); the words of /proc/PID/numa_maps and of tmpfs's mpol="),
                "huge": ManualPage(
                    reads: "`never within_size [always] pool`, the current one in brackets",
                    writes: "one of the words",
                    errors: [
                        "EINVAL": "unknown word, or `pool` if the size is not a multiple of 2 MiB",
                        "EBUSY": "change to or from `pool` while the buffer has pages",
                    ],
                    text:
                        "It applies to pages that are allocated later; the mount option `huge=` is the default of new buffers. always: the first touch of 512 aligned pages without frames takes one run of 512 aligned frames if the node that the policy selects has one, otherwise single pages. within_size: the same if all of the 512 are within the size. A hole or an end within such pages splits them. pool: only whole huge pages are allocated, from nr_hugepages of the nodes; if none is left, a mapping gets SIGBUS and write(2) ENOSPC. A hole frees whole huge pages only and zeroes the rest; ftruncate to a size that is not a multiple of 2 MiB is EINVAL.",
                    linux: "tmpfs's huge=; hugetlbfs"),
                "contiguous": ManualPage(
                    reads: "`none`, or `NODE PHYS LENGTH`: a number, an address, bytes in hexadecimal",
                    writes:
                        "`NODE`: allocates all of the buffer as one run of frames of that node's contiguous share; `none`: frees them, and the buffer then reads as zeros",
                    errors: [
                        "EINVAL":
                            "malformed, a node that is not coherent, a buffer of size 0, or one with `huge` at pool",
                        "ERANGE": "more than 64 bits",
                        "ENODEV": "there is no such node, or it has no memory online",
                        "EBUSY": "the buffer has pages already; or, for `none`, programs keep touching them",
                        "EOPNOTSUPP": "the buffer's `mapping` is `direct`",
                        "ENOMEM": "the share has no run of that length",
                        "EPERM":
                            "a device file, a node under `driver`, or one under `restricted` that the writer may not use",
                    ],
                    text:
                        "The run has any number of pages. It begins at a multiple of its length rounded up to a power of two, at most 1 MiB. Policies and cpusets do not apply, and numastat does not count it. The pages stay together until `none` is written or the buffer is removed. Reclaim and balancing skip them. A migration or offlining of one of them moves all of them into another such run of a target's share; if no target has one, none of them moves. A hole is zeroed in place. The size is fixed: ftruncate to another size, and write or fallocate behind the end, are EPERM, as for a sealed memfd.",
                    linux: "dma_alloc_contiguous(); memfd_create(2), F_SEAL_GROW"),
                "placement": ManualPage(
                    reads: "`N0=12 N1=4`: pages of 4 KiB; nodes without pages are left out",
                    linux: "/proc/PID/numa_maps"),
                "pages": ManualPage(
                    reads:
                        "lines of `OFFSET LENGTH NODE PHYS FLAGS`: bytes in hexadecimal, a number, an address; flags dirty, pinned, poisoned, lost, huge, migrating or `-`. A poisoned or lost page has no memory: NODE and PHYS are its last ones. Empty if there are no pages",
                    text: "The text is made in parts as it is read: changes during the read may or may not be in it.",
                    linux: "move_pages(2) and /proc/PID/pagemap"),
                "migrate": ManualPage(
                    reads: result,
                    writes:
                        "`[async] [OFFSET LENGTH] NODE`: bytes, in any base, a multiple of 4096 within the size; with `async` the write returns at once. `cancel` stops what runs; it is not an error if nothing runs",
                    errors: [
                        "EINVAL": "malformed, or a bad range", "ERANGE": "more than 64 bits",
                        "ENODEV": "there is no such node, or it has no memory online",
                        "ENOMEM":
                            "the node is full, and pages that have moved stay moved; or the buffer is contiguous and the node's share has no run for it, and nothing has moved",
                        "EBUSY": "pages are pinned; the others have moved",
                        "EPERM": "a restricted node that the writer may not use",
                        "EINTR": "interrupted, or cancelled; pages that have moved stay moved",
                    ],
                    text:
                        "If several run at once, a read shows the one that was started last; sys/kernel/cdm/jobs shows all. A poll of the file wakes at the start and the end, and at most ten times a second in between.",
                    linux: "move_pages(2)"),
                "pinned": ManualPage(
                    reads: "`0` or `1`", writes: "`0` or `1`",
                    errors: [
                        "EINVAL": "unknown word",
                        "EAGAIN":
                            "the writer's user would have more pinned than the writer's RLIMIT_MEMLOCK; does not apply with CAP_IPC_LOCK. The extended attribute returns EDQUOT instead, because setxattr(2) has no EAGAIN",
                        "EDQUOT": "the user would have more than the share of one user of pinned memory",
                        "ENOSPC": "the total would exceed the mount option `max_pinned=`",
                    ],
                    text:
                        "The size of the buffer counts as the writer's until it is unpinned or removed, as the size of a mapping does in mlock(2), even if another user owns the file. Growth of a pinned buffer counts, too: EDQUOT of ftruncate, write and fallocate. While it is 1, no page of the buffer moves: migrations fail for its pages with EBUSY and move the rest, a block with a page of it does not go offline (EBUSY), and reclaim skips it. nodeN/cdm/blockers shows where its pages are. nodeN/meminfo counts them as Unevictable and Mlocked, not as Active or Inactive.",
                    linux: "mlock(2); FOLL_LONGTERM of mm/gup.c"),
                "poison": ManualPage(
                    writes: "`OFFSET` or `OFFSET LENGTH`: bytes, in any base, multiples of 4096 within the size",
                    errors: [
                        "EINVAL": "malformed, or a bad range", "ERANGE": "more than 64 bits",
                        "ENOSPC": "no frame is available for a page that had none; the pages before it are poisoned",
                        "EPERM": "the same, for a restricted node that the writer may not use",
                        "EINTR": "interrupted; the pages before are poisoned",
                    ],
                    text:
                        "Does the same as hard_offline_page for each page. A page without a frame gets one first. Only the user who mounts may write it, because all users lose the memory. For the same reason it is not an extended attribute.",
                    linux: "madvise(2), MADV_HWPOISON"),
                "mapping": ManualPage(
                    reads: "`[tracked] direct`, the current one in brackets", writes: "one of the words",
                    errors: [
                        "EINVAL": "unknown word",
                        "EBUSY": "a process has it open or mapped, or may have and cannot be inspected",
                        "EOPNOTSUPP":
                            "the daemon lacks CAP_SYS_ADMIN, the host is older than Linux 6.9, or the buffer is contiguous or has `huge` at pool",
                        "ENOSPC": "there is no frame for every page",
                        "EPERM": "the same, for frames that the writer may not use",
                        "EMFILE":
                            "the number of direct buffers is at the mount option `max_direct=`, or the daemon would have too few descriptors left",
                        "EDQUOT": "the buffer's owner has a user's share of direct buffers already",
                        "EIO": "to tracked: pages of it are poisoned or lost",
                    ],
                    text:
                        "tracked: programs access the memory through the page cache, so that the daemon sees each first touch. direct: programs map a file of the buffer's own, at the speed of tmpfs, in huge pages where `huge` and the size allow it (within_size, if nothing was chosen). All frames are taken when the buffer is sized, ENOSPC if the nodes are full, and a hole frees none. Policy, placement, pages, migrate, pinned and offlining work as before, but a move of a page copies no bytes. Reclaim and balancing skip the buffer, and `pages` shows touched pages as dirty. The mount option `mapping=` is the default of new buffers.",
                    linux: "FUSE passthrough: Documentation/filesystems/fuse-passthrough.rst"),
                "faults": ManualPage(
                    reads: "lines of `NAME COUNT`: read, write, cpu, device, refused", linux: "/proc/vmstat, pgfault"),
            ]),
    ]
}
