public import SystemPackage

/// The contents of /proc/TID/status of a thread or process (proc_pid_status(5)) at the time of the read.
public struct ProcStatus: Sendable {
    private let bytes: [UInt8]

    /// The status of a task.
    ///
    /// - Throws: ESRCH or ENOENT if there is none.
    public init(task: Int32) throws(Errno) {
        guard task > 0 else { throw .noSuchProcess }
        try self.init(name: "\(task)")
    }

    /// The status of the calling process.
    ///
    /// - Throws: errors of open(2) and read(2), for example if there is no /proc.
    public init() throws(Errno) { try self.init(name: "self") }

    private init(name: String) throws(Errno) { bytes = try SmallFile.read(FilePath("/proc/\(name)/status")) }

    /// The process of a thread, with a short read; nil if there is no such thread.
    public static func process(of thread: Int32) -> Int32? {
        ProcFile.read("/proc/\(thread)/status") { ProcFile.number("Tgid", in: $0) }.map {
            Int32(truncatingIfNeeded: $0)
        }
    }

    /// The user or group ids of a task (credentials(7)).
    public struct IDs: Sendable, Hashable {
        /// The real id.
        public let real: UInt32
        /// The effective id.
        public let effective: UInt32
        /// The saved id (set-user-ID or set-group-ID).
        public let saved: UInt32
        /// The id that file systems check.
        public let fileSystem: UInt32
    }

    /// The user ids.
    public var users: IDs? { ids("Uid") }

    /// The group ids, without the supplementary groups.
    public var primaryGroups: IDs? { ids("Gid") }

    private func ids(_ name: StaticString) -> IDs? {
        let numbers = words(name).compactMap { UInt32($0) }
        guard numbers.count == 4 else { return nil }
        return IDs(real: numbers[0], effective: numbers[1], saved: numbers[2], fileSystem: numbers[3])
    }

    /// The supplementary groups.
    public var groups: [UInt32] { words("Groups").compactMap { UInt32($0) } }

    /// The effective capabilities, one bit each by their numbers (capabilities(7)).
    public var effectiveCapabilities: UInt64 { words("CapEff").first.flatMap { UInt64($0, radix: 16) } ?? 0 }

    /// The numbers of the task from the PID namespace of /proc down to its own; nil if the kernel does not report them.
    public var namespaceNumbers: [Int32]? {
        let numbers = words("NSpid").compactMap { Int32($0) }
        return numbers.isEmpty ? nil : numbers
    }

    /// The words after `name:`; empty if there is no such line.
    public func words(_ name: StaticString) -> [String] {
        let start = Array("\(name):".utf8)
        var rest = bytes[...]
        while !rest.isEmpty {
            let line = rest.prefix { $0 != UInt8(ascii: "\n") }
            guard !line.starts(with: start) else {
                return line.dropFirst(start.count).split { $0 == UInt8(ascii: "\t") || $0 == UInt8(ascii: " ") }
                    .map { String(decoding: $0, as: UTF8.self) }
            }
            rest = rest.dropFirst(line.count + 1)
        }
        return []
    }
}
