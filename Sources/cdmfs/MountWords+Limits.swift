import CoherentFS
import CoherentMemory
import MachineTopology

extension MountWords {
    /// The options that limit what users may take, and how the daemon is shut in, as they are written.
    static let limiting: Set = [
        "nr_inodes", "user_limit", "max_direct", "max_pinned", "user_frames", "seccomp", "oom_score_adj",
    ]

    /// Takes one of them.
    mutating func addLimit(_ key: String, _ value: String) throws(Failure) {
        switch key {
        case "nr_inodes": limits.inodes = try count(key, value)
        case "max_direct": limits.direct = try count(key, value)
        case "max_pinned": limits.pinned = try count(key, value)
        case "user_limit": limits.userShare = try share(key, value, of: "each limit")
        case "user_frames": limits.userFrames = try share(key, value, of: "each device's memory")
        case "seccomp":
            guard value == "on" || value == "off" else { throw refusal(key, value, "on or off") }
            hardening.filtersCalls = value == "on"
        default:
            guard let score = Int(value), (-1000...1000).contains(score) else {
                throw refusal(key, value, "a number from -1000 to 1000")
            }
            hardening.oomScore = score
        }
    }

    private func count(_ key: String, _ value: String) throws(Failure) -> UInt64 {
        guard let number = UInt64(byteSize: value) else {
            throw refusal(key, value, "a number such as 1000 or 64K, or 0 for no limit")
        }
        return number
    }

    private func share(_ key: String, _ value: String, of whole: String) throws(Failure) -> UInt64 {
        let digits = value.hasSuffix("%") ? String(value.dropLast()) : value
        guard let share = UInt64(byteSize: digits), share <= 100 else {
            throw refusal(key, value, "a share of \(whole), from 1 to 100 percent, or 0 for no limit")
        }
        return share
    }

    private func refusal(_ key: String, _ value: String, _ expected: String) -> Failure {
        Failure(.usage, "mount: \(key)=\(value); expected \(expected)")
    }
}
