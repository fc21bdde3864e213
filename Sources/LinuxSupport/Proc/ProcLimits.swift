import SystemPackage

/// The limits in /proc/PID/limits (getrlimit(2)).
public enum ProcLimits {
    /// The soft limit RLIMIT_MEMLOCK, bytes; 0 if there is no such process.
    public static func lockedMemory(of process: Int32) -> UInt64 {
        guard process > 0, let text = try? SmallFile.text(FilePath("/proc/\(process)/limits")) else { return 0 }
        for line in text.split(separator: "\n") where line.hasPrefix("Max locked memory") {
            let word = line.dropFirst("Max locked memory".count).split(separator: " ").first
            return word == "unlimited" ? .max : word.flatMap { UInt64($0) } ?? 0
        }
        return 0
    }
}
