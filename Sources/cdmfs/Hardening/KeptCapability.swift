/// A capability that root's daemon keeps (capabilities(7)). All others are gone before it mounts, from its bounding set, too.
struct KeptCapability {
    let name: String
    let number: UInt64
    /// What fails without it.
    let reason: String

    /// All of them. What is written to /sys and /sys/fs/fuse/connections takes none: these files are root's.
    static let all = [
        KeptCapability(
            name: "CAP_SYS_ADMIN", number: 21,
            reason: """
                mount(2) and umount2(2) of the mount; the private tmpfs of each direct buffer and FUSE_DEV_IOC_BACKING_OPEN
                """),
        KeptCapability(
            name: "CAP_SYS_PTRACE", number: 19,
            reason: """
                /proc/PID/maps, fdinfo, pagemap and ns of tasks that use the mount; process_vm_readv(2) and process_madvise(2) \
                of those that opened dev/hmm_dmirrorN; pidfd_getfd(2), process_vm_readv(2) /proc/PID/mem, /proc/PID/syscall and ptrace(2) of programs \
                under `cdmfs run`, and with `mceerr` of all that touch failed memory
                """),
        KeptCapability(
            name: "CAP_DAC_READ_SEARCH", number: 2,
            reason: """
                open_by_handle_at(2), with which dirty pages are written back in bulk; /proc/PID/pagemap, which is its user's; \
                a mount point below a closed directory
                """),
        KeptCapability(
            name: "CAP_DAC_OVERRIDE", number: 1,
            reason: "/proc/PID/mem for writing, which is its user's: dev/hmm_dmirrorN"),
        KeptCapability(
            name: "CAP_KILL", number: 5,
            reason: "SIGKILL of `remove force` and SIGBUS of lost pages, to tasks of other users"),
        KeptCapability(
            name: "CAP_SYS_NICE", number: 23,
            reason: """
                back from SCHED_IDLE to SCHED_OTHER, for io_uring; process_madvise(2); move_pages(2) of what others map, for \
                host_node
                """),
    ]

    /// Their bits.
    static var mask: UInt64 { all.reduce(0) { $0 | 1 << $1.number } }
}
