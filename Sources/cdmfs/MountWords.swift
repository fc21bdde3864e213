import CoherentFS
import CoherentMemory
import Fuse
import MachineTopology

/// What stood after `-o`.
struct MountWords {
    /// The topology file.
    var topology: String?
    /// What mount(8) shows as the source.
    var source: String?
    /// Whether the mount may cover one of the same source.
    var mayCover = false
    /// Whether a mount is to be changed in place of making one.
    var isRemount = false
    /// How much a first touch populates, in bytes.
    var faultAround: UInt64 = 128 << 10
    /// Whether new buffers have huge pages.
    var huge: HugeMode?
    /// How new buffers are mapped.
    var mapping = MappingMode.tracked
    /// Whether every program is told of failed memory as hardware tells.
    var tellsFailures = false
    /// What automatic NUMA balancing does to begin with.
    var balancing: BalancingMode = []
    /// Who may use the device files.
    var devices = DevicePermissions()
    /// How requests come from the kernel.
    var transport = Transport.automatic
    /// Whether users other than the one who mounts get in.
    var allowOther = false
    /// What users may take.
    var limits = Limits()
    /// What the daemon gives up.
    var hardening = Hardening()
    /// The words that the kernel's mount takes.
    var kernel: [String] = []

    private static let faultArounds: ClosedRange<UInt64> = 4 << 10...1 << 20

    /// Words that the kernel's mount takes.
    static let kernelWords: Set = [
        "ro", "rw", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "async", "sync", "dirsync", "noatime",
        "nodiratime", "norelatime", "nostrictatime",
    ]

    /// Words for mount(8), for /etc/fstab, and those whose effect is there anyway.
    private static let ignoredWords: Set = [
        "defaults", "auto", "noauto", "user", "nouser", "users", "owner", "group", "nofail", "_netdev", "atime",
        "diratime", "relatime", "strictatime", "lazytime", "nolazytime", "silent", "loud", "default_permissions",
    ]

    /// Words that the table of mounts shows, and which mount(8) passes on where a mount is changed.
    private static let shownWords: Set = ["user_id", "group_id", "max_read", "blksize", "rootmode"]

    /// The options in order; a later one wins.
    init(_ options: [String]) throws(Failure) {
        let words = options.flatMap { $0.split(separator: ",") }
        isRemount = words.contains("remount")
        for word in words {
            let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            try add(String(word), key: String(parts[0]), value: parts.count > 1 ? String(parts[1]) : nil)
        }
    }

    private mutating func add(_ word: String, key: String, value: String?) throws(Failure) {
        switch (key, value) {
        case ("topology", let file?) where !file.isEmpty:
            topology = file
        case ("fsname", let name?) where !name.isEmpty:
            source = name
        case ("subtype", "cdmfs"):
            break
        case ("overmount", nil):
            mayCover = true
        case ("remount", nil):
            break
        case (_, _?) where isRemount && Self.shownWords.contains(key):
            break
        case ("fault_around", let size?):
            guard let bytes = UInt64(byteSize: size), bytes.nonzeroBitCount == 1, Self.faultArounds.contains(bytes)
            else {
                throw Failure(.usage, "mount: fault_around=\(size); expected a power of two from 4K to 1M")
            }
            faultAround = bytes
        case ("huge", let word?):
            guard let mode = HugeMode(rawValue: word) else {
                let words = HugeMode.allCases.map(\.rawValue).joined(separator: ", ")
                throw Failure(.usage, "mount: huge=\(word); expected one of \(words)")
            }
            huge = mode
        case ("mapping", let word?):
            guard let mode = MappingMode(rawValue: word) else {
                let words = MappingMode.allCases.map(\.rawValue).joined(separator: " or ")
                throw Failure(.usage, "mount: mapping=\(word); expected \(words)")
            }
            mapping = mode
        case ("mceerr", nil):
            tellsFailures = true
        case ("numa_balancing", let number?):
            guard let bits = UInt8(number), bits <= 3 else {
                throw Failure(.usage, "mount: numa_balancing=\(number); expected a number from 0 to 3")
            }
            balancing = BalancingMode(rawValue: bits)
        case ("transport", let word?):
            guard let transport = Transport(rawValue: word) else {
                let words = Transport.allCases.map(\.rawValue).joined(separator: ", ")
                throw Failure(.usage, "mount: transport=\(word); expected one of \(words)")
            }
            self.transport = transport
        case ("dev_mode", let mode?):
            guard mode.utf8.allSatisfy({ (0x30...0x37).contains($0) }), let bits = UInt32(mode, radix: 8), bits <= 0o777
            else {
                throw Failure(.usage, "mount: dev_mode=\(mode); expected an octal number up to 777")
            }
            devices.mode = bits
        case ("dev_gid", let number?):
            guard number.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let group = UInt32(number), group != .max
            else {
                throw Failure(.usage, "mount: dev_gid=\(number); expected the number of a group")
            }
            devices.group = group
        case (_, let value?) where Self.limiting.contains(key) && !value.isEmpty:
            try addLimit(key, value)
        case ("size", _?):
            throw Failure(
                .usage, "mount: \(word); expected the memory of the nodes in a topology, and nr_inodes=N for the names")
        case ("allow_other", nil):
            allowOther = true
        case (_, nil) where Self.kernelWords.contains(key):
            kernel.append(key)
        case (_, nil) where Self.ignoredWords.contains(key):
            break
        case ("user", _?), ("comment", _?):
            break
        case _ where key.hasPrefix("x-") || key.hasPrefix("X-"):
            break
        default:
            if let form = MountWord.all.first(where: { $0.name == key && $0.form != nil }), value ?? "" == "" {
                throw Failure(.usage, "mount: option \"\(word)\" without a value; expected \(form.usage)")
            }
            let words = MountWord.all.map(\.usage).joined(separator: ", ")
            throw Failure(.usage, "mount: unknown option \"\(word)\"; expected \(words) or a word of mount(8)")
        }
    }
}
