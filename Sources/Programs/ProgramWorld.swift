public import CoherentMemory
public import LinuxSupport
public import SystemPackage

/// What the calls of programs need of who serves the mount.
public protocol ProgramWorld: Sendable {
    /// The machine that the programs live on.
    var machine: Machine { get }

    /// The device number of the mount, as /proc/PID/maps has it; nil where that is not known.
    var mountDevice: DeviceNumber? { get }

    /// What an inode of the mount holds; nil for one that is no memory.
    func buffer(ofInode inode: UInt64) -> Buffer?

    /// The id of the node on whose CPU a thread runs.
    func node(ofTask task: Int32) -> Int

    /// The CPU of the machine that a thread runs on.
    func cpu(ofTask task: Int32) -> Int

    /// The task that another one names by a number of its own PID namespace, and its process, by the numbers that they have for who serves.
    ///
    /// - Throws: ESRCH for no such task.
    func task(named number: Int32, by task: Int32) throws(Errno) -> (task: Int32, process: Int32)

    /// The most bytes that get frames with one first touch; a power of two.
    var faultAround: UInt64 { get }

    /// The share of the nodes that pages of a user's programs count in; nil for none.
    func share(ofUser user: UInt32) -> FrameShare?

    /// Where touches of memory that failed are dealt with.
    var failedTouches: FailedTouches { get }

    /// Logs something for the administrator of the mount.
    func note(_ message: String)
}
