import CoherentTree

extension Manual {
    /// buffers/, and the controls of buffers and device files.
    static let buffers: [Chapter] = [
        Chapter(
            "buffers", summary: "Named buffers: files and directories of your own. Anybody may make them.",
            text:
                "Links, fifos and device nodes are refused (EPERM). A path below buffers/ has \(BufferPath.maximumLength) bytes at most, so that the paths of the controls, from the root of the mount, end within PATH_MAX: a name that would make a longer one is ENAMETOOLONG, and so is moving a directory where the path of anything below it would be longer. There are as many names as the mount option `nr_inodes=` says (ENOSPC), and a user has the share of these that `user_limit=` says (EDQUOT); df -i shows them. An inode counts until its last file is closed, in the share of its owner. Sockets are names like any other. A file without a name (O_TMPFILE) gets its first one by linkat(2). Attributes `user.NAME` of files and directories are stored as on tmpfs, and copied: at most 128 KiB of values and 64 KiB of names a file (ENOSPC), and each KiB counts as a name in `nr_inodes=`; of `trusted.` and `security.` root's. Access lists are not (EOPNOTSUPP). Times of last access move as relatime has it, at a read that finds nothing in the page cache, and when a file is opened for reading alone. A file handle (name_to_handle_at(2)) leads to its file for as long as that is there.",
            linux: "/dev/shm; quotactl(2)",
            [
                "NAME": ManualPage(
                    summary:
                        "A buffer: ftruncate, mmap, read, write, fallocate, copy_file_range, lseek to data and holes.",
                    text:
                        "A page gets its frame when it is first touched, under the policy of that moment; none to be had is SIGBUS through a mapping, ENOSPC through write(2). What was never touched reads as zeros, and stays so for who opens it to read only. Its controls are in sys/kernel/cdm/buffers/NAME.",
                    linux: "tmpfs; mm/shmem.c"),
                "DIR": ManualPage(summary: "A directory of buffers, which holds what buffers/ holds.", linux: "tmpfs"),
            ]),
        Chapter(
            "sys/kernel/cdm/buffers", summary: "The controls of the buffers, under the same names.",
            text:
                "A directory here has the mode, owner and group that the one below buffers/ has at that moment, and so hides what that hides.",
            linux: "none",
            ["DIR": ManualPage(summary: "The controls of what is in buffers/DIR.")]),
        Chapter(
            "sys/kernel/cdm/buffers/NAME", "sys/class/cdm/cdmN/buffer",
            summary: "The controls of a buffer, or of a device file.",
            text:
                "They belong to the owner and group of the file, and who may read a buffer may search the directory of its controls. To be written to they take the owner or root, whoever may write to the file: EACCES here, EPERM as an extended attribute (CAP_FOWNER suffices there). Those that can be read are extended attributes of the data file, too, as `user.cdm.policy`. They answer by name and are not listed, so that no copy takes them along; they cannot be removed (EPERM), nor can others be stored under such names (EOPNOTSUPP).",
            linux: "ceph's virtual attributes, fs/ceph/xattr.c; inode_owner_or_capable() of fs/inode.c",
            [
                "size": ManualPage(reads: "bytes, decimal", linux: "stat(2)"),
                "resident": ManualPage(reads: "bytes, decimal", linux: "mincore(2)"),
                "policy": ManualPage(
                    reads:
                        "`default`, `local`, `bind:NODES`, `prefer:NODE`, `prefer (many):NODES`, `interleave:NODES` or `weighted interleave:NODES`, NODES a list; with `=static` or `=relative` behind the word",
                    writes:
                        "the same; `interleave` and `weighted interleave` alone mean all nodes with memory, `prefer` alone `local`",
                    errors: [
                        "EINVAL":
                            "another word, a list that the word does not go with, or a node that has no memory online",
                        "EPERM":
                            "a device file, which stays bound to its node, or a restricted node that the writer may not use",
                    ], text: "It holds for pages to come. Those that are there stay; `migrate` moves them.",
                    linux: "mbind(2); the words of /proc/PID/numa_maps and of tmpfs's mpol="),
                "huge": ManualPage(
                    reads: "`never within_size [always] pool`, the one in force in brackets",
                    writes: "one of the words",
                    errors: [
                        "EINVAL": "another word, or `pool` where the size is no multiple of 2 MiB",
                        "EBUSY": "to or from `pool` while the buffer has pages",
                    ],
                    text:
                        "It holds for pages to come; the mount option `huge=` is what new buffers begin with. always: the first touch of 512 aligned pages that have no frame yet takes one run of 512 aligned frames, if the node whose turn it is has one, else pages as usual. within_size: the same where all of the 512 are within the size. A hole or an end within such pages splits them. pool: pages come whole from the nodes' nr_hugepages, and there are no others: none left is SIGBUS, or ENOSPC of write(2). A hole frees only whole ones and zeroes the rest; ftruncate to no multiple of 2 MiB is EINVAL.",
                    linux: "tmpfs's huge=; hugetlbfs"),
                "contiguous": ManualPage(
                    reads: "`none`, or `NODE PHYS LENGTH`: a number, an address, bytes in hexadecimal",
                    writes:
                        "`NODE`: all of the buffer in one run of frames of that node's contiguous share; `none`: gives them back, and the buffer then reads as zeros",
                    errors: [
                        "EINVAL":
                            "malformed, a node that is not coherent, a buffer of size 0, or one with `huge` at pool",
                        "ERANGE": "a number beyond 64 bits",
                        "ENODEV": "there is no such node, or it has no memory online",
                        "EBUSY": "the buffer has pages already; or `none` while programs go on touching them",
                        "EOPNOTSUPP": "the buffer's `mapping` is `direct`",
                        "ENOMEM": "the share has no run that long",
                        "EPERM":
                            "a device file, a node under `driver`, or one under `restricted` that the writer may not use",
                    ],
                    text:
                        "Any number of pages; the run begins at a multiple of its length rounded up to a power of two, at most 1 MiB. Policies and cpusets do not matter, nor does numastat count it. Until it is given back, by `none` or with the buffer, the pages stay together: reclaim and balancing leave them alone, and what moves one of them, a migration or offlining, moves them all into another such run, of a target with a share that has one, or none. A hole punched into it is zeroed in place, and the size is fixed: ftruncate to another one, and write or fallocate behind the end, are EPERM, as of a sealed memfd.",
                    linux: "dma_alloc_contiguous(); memfd_create(2), F_SEAL_GROW"),
                "placement": ManualPage(
                    reads: "`N0=12 N1=4`: pages of 4 KiB, nodes without any left out", linux: "/proc/PID/numa_maps"),
                "pages": ManualPage(
                    reads:
                        "lines of `OFFSET LENGTH NODE PHYS FLAGS`: bytes in hexadecimal, a number, an address; flags dirty, pinned, poisoned, lost, huge, migrating or `-`. What is poisoned or lost has no memory: NODE and PHYS tell where it had been. Nothing for none",
                    text: "Made bit by bit as it is read: what changes meanwhile may or may not be in it.",
                    linux: "move_pages(2) and /proc/PID/pagemap"),
                "migrate": ManualPage(
                    reads: result,
                    writes:
                        "`[async] [OFFSET LENGTH] NODE`: bytes, in any base, a multiple of 4096 within the size; with `async` the write returns at once. `cancel` ends what runs; it is no error where nothing does",
                    errors: [
                        "EINVAL": "malformed, or a bad range", "ERANGE": "a number beyond 64 bits",
                        "ENODEV": "there is no such node, or it has no memory online",
                        "ENOMEM":
                            "the node is full, and what was moved stays moved; or the buffer is contiguous and the node's share has no run for it, then nothing moved",
                        "EBUSY": "pages are pinned; the others were moved",
                        "EPERM": "a restricted node that the writer may not use",
                        "EINTR": "interrupted, or cancelled; what was moved stays moved",
                    ],
                    text:
                        "Of several at once, it shows the one that was started last; sys/kernel/cdm/jobs shows all. Who polls it is woken at its start and end, and at most ten times a second on the way.",
                    linux: "move_pages(2)"),
                "pinned": ManualPage(
                    reads: "`0` or `1`", writes: "`0` or `1`",
                    errors: [
                        "EINVAL": "another word",
                        "EAGAIN":
                            "with it the writer's user would have more pinned than the writer's RLIMIT_MEMLOCK; not with CAP_IPC_LOCK. Of the extended attribute it is EDQUOT, for setxattr(2) has no EAGAIN",
                        "EDQUOT": "the user would have more than a share of what may be pinned",
                        "ENOSPC": "there would be more than the mount option `max_pinned=` says",
                    ],
                    text:
                        "The size of the buffer counts, as that of a mapping in mlock(2), until it is unpinned or gone, and is the writer's, whoever owns the file. What a pinned buffer grows by counts, too: EDQUOT of ftruncate, write and fallocate. While it is 1, no page of the buffer moves: migrations fail for it with EBUSY and move the rest, a block with a page of it does not go offline (EBUSY), and reclaim leaves it alone. nodeN/cdm/blockers tells where; nodeN/meminfo counts it as Unevictable and Mlocked, and no more as Active or Inactive.",
                    linux: "mlock(2); FOLL_LONGTERM of mm/gup.c"),
                "poison": ManualPage(
                    writes: "`OFFSET` or `OFFSET LENGTH`: bytes, in any base, multiples of 4096 within the size",
                    errors: [
                        "EINVAL": "malformed, or a bad range", "ERANGE": "a number beyond 64 bits",
                        "ENOSPC": "a page that had no frame got none; those before it are poisoned",
                        "EPERM": "the same, for a restricted node that the writer may not use",
                        "EINTR": "interrupted; pages until then are poisoned",
                    ],
                    text:
                        "As hard_offline_page for each page, which gets a frame first if it has none. For whoever mounts alone, as the memory is lost to all, and so no extended attribute.",
                    linux: "madvise(2), MADV_HWPOISON"),
                "mapping": ManualPage(
                    reads: "`[tracked] direct`, the one in force in brackets", writes: "either word",
                    errors: [
                        "EINVAL": "another word",
                        "EBUSY": "somebody has it open or mapped, or may have and does not let itself be read",
                        "EOPNOTSUPP":
                            "the daemon has not CAP_SYS_ADMIN, the host not Linux 6.9, or the buffer is contiguous or has `huge` at pool",
                        "ENOSPC": "not every page can get a frame",
                        "EPERM": "or the writer may not use those there are",
                        "EMFILE":
                            "there are as many direct buffers as the mount option `max_direct=` says, or the daemon would have too few descriptors left",
                        "EDQUOT": "the buffer's owner has a user's share of these already",
                        "EIO": "to tracked: pages of it are poisoned or lost",
                    ],
                    text:
                        "tracked: the page cache stands between programs and the memory, so that each first touch is seen. direct: programs map a file of the buffer's own, at the speed of tmpfs, in huge pages where `huge` and the size allow it (within_size, where nobody chose). All its frames are taken when it is sized, ENOSPC if the nodes are full, and a hole gives none back. Policy, placement, pages, migrate, pinned and offlining are as ever, but moving a page moves no bytes; reclaim and balancing leave it alone, and `pages` calls dirty what was touched. The mount option `mapping=` is what new buffers begin with.",
                    linux: "FUSE passthrough: Documentation/filesystems/fuse-passthrough.rst"),
                "faults": ManualPage(
                    reads: "lines of `NAME COUNT`: read, write, cpu, device, refused", linux: "/proc/vmstat, pgfault"),
            ]),
    ]
}
