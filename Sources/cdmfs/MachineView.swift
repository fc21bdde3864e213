import CLinux
import Glibc
import LinuxSupport
import SystemPackage

/// The simulated machine in place of the host's, for one process and its children: a mount namespace in which files of a mount
/// stand over the host's.
struct MachineView {
    /// Where the machine is mounted, an absolute path without links.
    let mountPoint: String

    /// What is replaced where the host has it: a path of the mount, and one of the host. A tool that writes there reaches the simulated
    /// machine alone.
    private static let covers =
        [
            "devices/system/node", "devices/system/memory", "devices/system/cpu", "devices/virtual/memory_tiering",
            "bus/node/devices",
            "bus/memory/devices", "bus/cpu/devices", "bus/memory_tiering/devices", "kernel/mm/numa",
            "kernel/mm/mempolicy",
            "kernel/mm/hugepages", "bus/pci/devices", "bus/pci/rescan", "fs/cgroup",
        ].map { (simulated: "sys/\($0)", host: "/sys/\($0)") }
        + ["meminfo", "vmstat", "zoneinfo", "buddyinfo", "pagetypeinfo"].map {
            (simulated: "sys/kernel/cdm/proc/\($0)", host: "/proc/\($0)")
        }
        + ["nr_hugepages", "nr_hugepages_mempolicy"].map {
            (simulated: "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", host: "/proc/sys/vm/\($0)")
        }
        + [(simulated: "sys/kernel/cdm/numa_balancing", host: "/proc/sys/kernel/numa_balancing")]

    /// The view of a machine that is mounted on a path.
    init(of path: String) throws(Failure) {
        guard let resolved = unsafe realpath(path, nil) else { throw Self.refusal(path) }
        defer { unsafe free(resolved) }
        mountPoint = unsafe String(cString: resolved)
        // The host's own /sys has the other folders, too; kernel/cdm it has not.
        guard unsafe access("\(mountPoint)/sys/kernel/cdm", F_OK) == 0 else { throw Self.refusal(path) }
    }

    private static func refusal(_ path: String) -> Failure {
        let error = Errno.last
        return Failure(
            .mount, "run: \(path): \(error == .noSuchFileOrDirectory ? "no machine is mounted here" : "\(error)")")
    }

    /// Enters a new namespace with the view in it.
    func enter() throws(Failure) -> MachineView {
        try Self.enterNamespace()
        try cover()
        return self
    }

    /// Puts the files of the machine over the host's, in the namespace of this process.
    func cover() throws(Failure) {
        try leaveOthers()
        HostFolder.keepWhole(["proc", "sys"], below: "/sys/fs/cgroup")
        for (simulated, host) in Self.covers { try cover(host, with: "\(mountPoint)/\(simulated)") }
        try addDevices()
    }

    private func cover(_ host: String, with simulated: String) throws(Failure) {
        var attempts = 20
        while unsafe Glibc.mount(simulated, host, nil, UInt(MS_BIND), nil) != 0 {
            let error = Errno.last
            guard error == .noSuchFileOrDirectory else { throw Failure(.failure, "run: \(host): \(error)") }
            // An older kernel has no such file, and no tool of its looks there.
            guard unsafe access(host, F_OK) == 0 else { return }
            // Where several runs begin at once, a file that exists may be ENOENT for a moment (d_set_mounted() of fs/dcache.c).
            attempts -= 1
            guard attempts > 0 else { throw Failure(.failure, "run: \(host): \(error)") }
            usleep(1000)
        }
    }

    /// Adds the devices on their buses, and the files by which tools know them.
    private func addDevices() throws(Failure) {
        for (folder, own) in Self.folders {
            try HostFolder("/sys/\(folder)").add(
                names(in: "sys/\(folder)").filter { name in own.contains { name.hasPrefix($0) } }.map {
                    ($0, .directory(of: "\(mountPoint)/sys/\(folder)/\($0)"))
                })
        }
        // The host's own PCI devices, which disks and networks are behind, keep their drivers.
        if unsafe access("/sys/bus/pci", F_OK) != 0 {
            try HostFolder("/sys/bus").add([("pci", .directory(of: "\(mountPoint)/sys/bus/pci"))])
        }
        let devices = names(in: "dev").filter { $0.hasPrefix("cdm") }.map { (number: $0.dropFirst(3), name: $0) }
        let memories = names(in: "sys/bus/cxl/devices").map {
            (name: $0, target: "\(mountPoint)/dev/cdm\($0.dropFirst(3))")
        }
        try HostFolder("/dev").add(
            devices.map { ("dax\($0.number).0", .link(to: "\(mountPoint)/dev/\($0.name)")) }
                + (memories.isEmpty ? [] : [("cxl", .links(memories))]))
    }

    /// The beginnings of names of the machine that are added to folders of the host's /sys.
    private static let folders: KeyValuePairs = [
        "devices": ["pci"], "devices/platform": ["ACPI0017"], "bus": ["dax", "cxl"],
        "bus/pci/drivers": ["cdm", "cxl_pci"], "class": ["cdm"], "module": ["device_dax", "kmem"],
        "dev/char": ["0:0"], "kernel/debug": ["cdm", "cxl"],
    ]

    private func names(in folder: String) -> [String] {
        DirectoryListing.names(in: FilePath("\(mountPoint)/\(folder)")) ?? []
    }

    /// Takes other machines out of the namespace, whose copies of them would keep them alive for as long as the command runs; and
    /// what they have put over the host's files.
    private func leaveOthers() throws(Failure) {
        guard let own = MountInfo.containing(FilePath(mountPoint)) else {
            throw Failure(.mount, "run: \(mountPoint): no machine is mounted here")
        }
        HostFolder.removeAll()
        // In a user namespace mounts of the one above are locked (mount_namespaces(7)); there they stay.
        try? MountInfo.detach { $0.device.minor != own.device.minor }
    }

    /// Makes this process the command, whose calls act on the machine.
    func execute(_ words: [String], _ keeper: ProgramKeeper) throws(Failure) -> Never {
        unsafe setenv("CDMFS_MOUNTPOINT", mountPoint, 1)
        keeper.begin(at: mountPoint)
        _ = unsafe withArgumentVector(words) { unsafe execvp(words[0], $0) }
        let error = Errno.last
        throw Failure(error == .noSuchFileOrDirectory ? .notFound : .notExecutable, "run: \(words[0]): \(error)")
    }

    /// A mount namespace from which nothing reaches the host's; who may not make one gets it with a user namespace.
    static func enterNamespace() throws(Failure) {
        let (user, group) = (geteuid(), getegid())
        if unshare(CLONE_NEWNS) != 0 {
            guard unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 else {
                throw Failure(.failure, "run: cannot make a mount namespace: unshare: \(Errno.last)")
            }
            do {
                for (file, text) in [
                    ("setgroups", "deny"), ("uid_map", "\(user) \(user) 1"), ("gid_map", "\(group) \(group) 1"),
                ] {
                    try SmallFile.write(text, to: FilePath("/proc/self/\(file)"))
                }
            } catch {
                throw Failure(.failure, "run: user namespace: \(error)")
            }
        }
        guard unsafe Glibc.mount(nil, "/", nil, UInt(MS_REC | MS_SLAVE), nil) == 0 else {
            throw Failure(.failure, "run: /: \(Errno.last)")
        }
    }
}
