import CoherentMemory
import MachineTopology
import SystemPackage

/// Who makes a call, and what it reaches: a thread of a program, or what a test has in its place.
protocol CallContext {
    var machine: Machine { get }

    /// The thread, by the number that it has for the machine's tasks.
    var task: Int32 { get }

    /// The id of the node on whose CPU it runs.
    var node: Int { get }

    /// The CPU of the machine that it runs on.
    var cpu: Int { get }

    /// Whether it may do to pages what concerns others, too (CAP_SYS_NICE).
    var isPrivileged: Bool { get }

    /// Whether it may have memory fail (CAP_SYS_ADMIN).
    var mayFailMemory: Bool { get }

    /// Whether the caller waits for the answer no more.
    var isOver: Bool { get }

    /// Reads memory of the caller. EFAULT where not all of it can be read.
    func read(_ address: UInt64, _ count: Int) throws(Errno) -> [UInt8]

    /// Writes memory of the caller. EFAULT where not all of it can be written.
    func write(_ bytes: [UInt8], to address: UInt64) throws(Errno)

    /// The mappings at some addresses of a process, ascending.
    ///
    /// - Parameter process: nil for the caller's own.
    func areas(of process: Int32?, at addresses: Range<UInt64>) throws(Errno) -> [MemoryArea]

    /// Whether a page of a program's own memory is there, of a process; nil for the caller's own. One that has no frame is a page of zeros.
    func isPresent(_ page: UInt64, of process: Int32?) -> Bool

    /// The process that the caller names, if it may look into that; nil for its own.
    ///
    /// - Throws: ESRCH for none, EPERM for one that it may not look into.
    func process(named number: Int32) throws(Errno) -> Int32?

    /// The thread that the caller names, 0 for itself.
    ///
    /// - Parameter toChange: whether it is to be changed, which only its user may.
    /// - Throws: ESRCH for none, EPERM for one that it may not change.
    func thread(named number: Int32, toChange: Bool) throws(Errno) -> Int32

    /// The CPUs of a thread have changed.
    func affinityChanged(of thread: Int32)

    /// The nodes of a task's cpuset.
    func allowedNodes(of task: Int32) throws(Errno) -> IDSet

    /// Those, and the nodes that no cpuset governs.
    func usableNodes(of task: Int32) throws(Errno) -> IDSet
}

/// What becomes of a call.
enum CallOutcome: Equatable {
    /// It returns a value.
    case value(Int64)
    /// It fails.
    case failure(Errno)
    /// The kernel does it, for it concerns memory of the host alone.
    case pass
    /// It returns a descriptor of a file with these contents.
    case file([UInt8])
    /// It has been answered.
    case answered
}

extension CallContext {
    /// The nodes that the caller's policies may name.
    func usableNodes() -> IDSet { (try? usableNodes(of: task)) ?? machine.nodesWithMemory }

    func read<Integer: FixedWidthInteger>(
        _ address: UInt64, count: Int, as type: Integer.Type
    ) throws(Errno) -> [Integer] {
        let size = MemoryLayout<Integer>.size
        let bytes = try read(address, count * size)
        return (0..<count).map { index in
            var value: Integer = 0
            for byte in (0..<size).reversed() {
                value = value << 8 | Integer(truncatingIfNeeded: bytes[index * size + byte])
            }
            return value
        }
    }

    func write<Integer: FixedWidthInteger>(_ values: [Integer], at address: UInt64) throws(Errno) {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(values.count * MemoryLayout<Integer>.size)
        for value in values {
            for byte in 0..<MemoryLayout<Integer>.size {
                bytes.append(UInt8(truncatingIfNeeded: value >> Integer(byte * 8)))
            }
        }
        try write(bytes, to: address)
    }
}
