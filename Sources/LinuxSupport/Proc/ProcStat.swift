/// The contents of /proc/TID/stat of a thread or process (proc_pid_stat(5)).
public struct ProcStat: Sendable {
    /// The letter of the state: `R`, `S`, `D`, `Z`, …
    public private(set) var state: UInt8 = 0
    /// The parent process.
    public private(set) var parent: Int32 = 0
    /// The process group.
    public private(set) var group: Int32 = 0
    /// The session.
    public private(set) var session: Int32 = 0
    /// The number of threads of the process.
    public private(set) var threads = 0
    /// The start time, in ticks of USER_HZ after boot.
    public private(set) var startTime: UInt64 = 0
    /// The CPU on which it ran last.
    public private(set) var processor = 0
    private var flags: UInt64 = 0

    /// The stat of a task; nil if there is none.
    public init?(task: Int32) { self.init(path: "/proc/\(task)/stat") }

    /// The stat of a thread of a process; nil if there is none.
    public init?(thread: Int32, of process: Int32) { self.init(path: "/proc/\(process)/task/\(thread)/stat") }

    private init?(path: String) {
        guard let stat = ProcFile.read(path, { ProcStat($0) }) else { return nil }
        self = stat
    }

    /// Parses the text of the file; nil if it is malformed.
    public init?(_ bytes: borrowing Span<UInt8>) {
        // The name in parentheses may hold anything; the fields are counted from behind it.
        var end = bytes.count - 1
        while end >= 0, bytes[end] != UInt8(ascii: ")") { end -= 1 }
        guard end >= 0, end + 3 < bytes.count else { return nil }
        state = bytes[end + 2]
        var field = 3
        var value: UInt64 = 0
        for place in end + 3..<bytes.count {
            if let digit = ProcFile.digit(bytes[place]) {
                value = value &* 10 &+ digit
            } else if bytes[place] == UInt8(ascii: " ") || bytes[place] == UInt8(ascii: "\n") {
                switch field {
                case 4: parent = Int32(truncatingIfNeeded: value)
                case 5: group = Int32(truncatingIfNeeded: value)
                case 6: session = Int32(truncatingIfNeeded: value)
                case 9: flags = value
                case 20: threads = Int(truncatingIfNeeded: value)
                case 22: startTime = value
                case 39: processor = Int(truncatingIfNeeded: value)
                default: break
                }
                field += 1
                value = 0
            }
        }
        guard field > 39 else { return nil }
    }

    /// Whether only the exit status is left. False for a process whose first thread has ended while others run.
    public var isGone: Bool { (state == UInt8(ascii: "Z") || state == UInt8(ascii: "X")) && threads <= 1 }

    /// Whether it is exiting (PF_EXITING of linux/sched.h).
    public var isExiting: Bool { flags & 0x4 != 0 }

    /// Whether it is a kernel thread, which has no memory of its own (PF_KTHREAD).
    public var isKernelThread: Bool { flags & 0x20_0000 != 0 }
}
