import CoherentFS
import CoherentMemory
import Fuse

/// What stood after `-o`.
struct MountWords {
    /// The topology file.
    var topology: String?
    /// How much a first touch populates, in bytes.
    var faultAround: UInt64 = 128 << 10
    /// Whether new buffers have huge pages.
    var huge: HugeMode?
    /// How new buffers are mapped.
    var mapping = MappingMode.tracked
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

    /// The options with a value, as they are written.
    private static let valued = [
        "topology": "topology=FILE", "fault_around": "fault_around=SIZE", "huge": "huge=WORD",
        "mapping": "mapping=WORD", "numa_balancing": "numa_balancing=N", "transport": "transport=WORD",
        "dev_mode": "dev_mode=MODE", "dev_gid": "dev_gid=GID",
    ].merging(limiting) { first, _ in first }

    private static let faultArounds: ClosedRange<UInt64> = 4 << 10...1 << 20

    private static let kernelWords: Set = [
        "ro", "rw", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "async", "sync", "dirsync", "noatime",
        "nodiratime", "norelatime", "nostrictatime",
    ]

    /// Words for mount(8), for /etc/fstab, and those whose effect is there anyway.
    private static let ignoredWords: Set = [
        "defaults", "auto", "noauto", "user", "nouser", "users", "owner", "group", "nofail", "_netdev", "atime",
        "diratime", "relatime", "strictatime", "lazytime", "nolazytime", "silent", "loud", "default_permissions",
    ]

    /// The options in order; a later one wins.
    init(_ options: [String]) throws(Failure) {
        for word in options.flatMap({ $0.split(separator: ",") }) {
            let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            try add(String(word), key: String(parts[0]), value: parts.count > 1 ? String(parts[1]) : nil)
        }
    }

    private mutating func add(_ word: String, key: String, value: String?) throws(Failure) {
        switch (key, value) {
        case ("topology", let file?) where !file.isEmpty:
            topology = file
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
        case (_, let value?) where Self.limiting[key] != nil && !value.isEmpty:
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
            if let form = Self.valued[key], value ?? "" == "" {
                throw Failure(.usage, "mount: option \"\(word)\" without a value; expected \(form)")
            }
            throw Failure(
                .usage,
                "mount: unknown option \"\(word)\"; expected topology=FILE, fault_around=SIZE, huge=WORD, mapping=WORD, numa_balancing=N, transport=WORD, dev_mode=MODE, dev_gid=GID, nr_inodes=N, user_limit=PERCENT, max_direct=N, max_pinned=SIZE, seccomp=WORD, oom_score_adj=N, allow_other or a word of mount(8)"
            )
        }
    }
}
