import CLinux
import CoherentMemory
import Dispatch
import Glibc
import LinuxSupport
import SystemPackage

/// The tasks of the host, from /proc.
///
/// May be asked by those who serve requests. So nothing here goes through the own mount, and what may wait for a task's
/// address space is left to a ``ProcessInspector`` and waited for only briefly.
package final class ProcTasks: TaskDirectory {
    private struct Holder: Hashable {
        var device: ObjectIdentifier
        var process: Int32
    }

    /// Where a process was last seen to have a device open.
    private struct Descriptor {
        var number: Int32
        var checked: ContinuousClock.Instant
    }

    private struct State {
        var mount: DeviceNumber?
        /// The inodes of the device files.
        var inodes: [ObjectIdentifier: UInt64] = [:]
        /// How many open files of a device a process has opened that are still open, though perhaps elsewhere.
        var openers: [Holder: Int] = [:]
        var descriptors: [Holder: Descriptor] = [:]
        var mapped: [Holder: (isMapped: Bool, at: ContinuousClock.Instant)] = [:]
    }

    private let state = Mutex(State())
    let inspector = ProcessInspector()

    /// Sets which mount is spoken of.
    package func setMount(_ device: DeviceNumber) { state.withLock { $0.mount = device } }

    package var mount: DeviceNumber? { state.withLock { $0.mount } }

    // MARK: Tasks

    package func task(_ id: Int32) -> TaskDescription? {
        guard id > 0, let stat = ProcStat(task: id), !stat.isGone else { return nil }
        guard let process = ProcStatus.process(of: id) else { return nil }
        return TaskDescription(
            process: process, parent: stat.parent, group: stat.group, session: stat.session,
            startTime: stat.startTime)
    }

    /// Ticks of USER_HZ since boot, as /proc/PID/stat counts them.
    package var now: UInt64 {
        var time = timespec()
        unsafe clock_gettime(CLOCK_BOOTTIME, &time)
        return UInt64(time.tv_sec) * 100 + UInt64(time.tv_nsec) / 10_000_000
    }

    package var processes: [Int32] { ProcFile.processes }

    /// The last field of /proc/loadavg.
    package var newest: Int32? {
        ProcFile.read("/proc/loadavg") { text in
            var number: Int32?
            for index in 0..<text.count {
                switch text[index] {
                case UInt8(ascii: " "): number = 0
                case UInt8(ascii: "0")...UInt8(ascii: "9"):
                    number = number.map { $0 &* 10 &+ Int32(text[index] - UInt8(ascii: "0")) }
                default: break
                }
            }
            return number
        }
    }

    /// A task that lives; nil for none.
    package func identity(of id: Int32) -> TaskIdentity? {
        task(id).map { TaskIdentity(id: id, startTime: $0.startTime) }
    }

    /// The processes that live, ascending; not those of the kernel.
    var identities: [TaskIdentity] {
        processes.compactMap { id in
            guard let stat = ProcStat(task: id), !stat.isGone, !stat.isKernelThread else { return nil }
            return TaskIdentity(id: id, startTime: stat.startTime)
        }
    }

    /// The user who started a process, whatever it has become since: the user who runs a set-user-id program answers for it.
    package func user(of process: Int32) -> UInt32 {
        (try? ProcStatus(task: process))?.users?.real ?? .max
    }

    // MARK: Open devices

    /// Notes the file of a device.
    package func add(_ device: Device, inode: UInt64) {
        state.withLock { $0.inodes[ObjectIdentifier(device.node)] = inode }
    }

    /// A thread opens a device; returns its process, for ``closed(_:by:)``.
    package func opened(_ device: Device, by thread: Int32) -> Int32 {
        let process = task(thread)?.process ?? thread
        state.withLock { state in
            let holder = Holder(device: ObjectIdentifier(device.node), process: process)
            state.openers[holder, default: 0] += 1
            state.mapped[holder] = nil
        }
        return process
    }

    /// The last descriptor and mapping of an open file are gone.
    package func closed(_ device: Device, by process: Int32) {
        state.withLock { state in
            let holder = Holder(device: ObjectIdentifier(device.node), process: process)
            let count = state.openers[holder, default: 1] - 1
            state.openers[holder] = count > 0 ? count : nil
            state.mapped[holder] = nil
        }
    }

    /// So long an answer is used again: so short that it is like an earlier question.
    private static let descriptorTrust = Duration.milliseconds(1)
    private static let mappingTrust = Duration.milliseconds(10)
    private static let timeout = DispatchTimeInterval.milliseconds(50)

    package func holdsDeviceOpen(of node: CoherentMemory.Node, process: Int32) -> Bool {
        let holder = Holder(device: ObjectIdentifier(node), process: process)
        let now = ContinuousClock.now
        let (known, inode, mount) = state.withLock { state in
            (state.descriptors[holder], state.inodes[holder.device], state.mount)
        }
        guard let inode, let mount else { return false }
        if let known {
            if now - known.checked < Self.descriptorTrust { return true }
            if Self.inode(of: known.number, of: process, on: mount) == inode {
                state.withLock { $0.descriptors[holder]?.checked = now }
                return true
            }
        }
        guard let numbers = DirectoryListing.numbers(in: "/proc/\(process)/fd") else {
            // Another user's process, which only root may look into: what is known is that it opened the device.
            return state.withLock { $0.openers[holder] != nil }
        }
        for number in numbers where Self.inode(of: number, of: process, on: mount) == inode {
            state.withLock { state in
                if state.descriptors.count >= 1024 { state.descriptors.removeAll() }
                state.descriptors[holder] = Descriptor(number: number, checked: now)
            }
            return true
        }
        state.withLock { _ = $0.descriptors.removeValue(forKey: holder) }
        return maps(holder, inode: inode)
    }

    /// So many descriptors of one process are looked at.
    private static let descriptorLimit = 1 << 16

    /// The inodes of the mount that a process has open.
    func openInodes(of process: Int32) -> Set<UInt64> {
        guard let mount, let numbers = DirectoryListing.numbers(in: "/proc/\(process)/fd") else { return [] }
        return Set(numbers.prefix(Self.descriptorLimit).compactMap { Self.inode(of: $0, of: process, on: mount) })
    }

    /// The inode of the mount that a descriptor is of; nil for one of something else.
    ///
    /// Not by fdinfo, which for an epoll descriptor waits for the program that polls it (ep_show_fdinfo() of fs/eventpoll.c).
    private static func inode(of number: Int32, of process: Int32, on mount: DeviceNumber) -> UInt64? {
        guard let file = try? FileIdentity(cached: "/proc/\(process)/fd/\(number)"), file.device == mount else {
            return nil
        }
        return file.inode
    }

    /// Whether a process maps a device that it has no descriptor of.
    private func maps(_ holder: Holder, inode: UInt64) -> Bool {
        let now = ContinuousClock.now
        let last = state.withLock { $0.mapped[holder] }
        if let last, now - last.at < Self.mappingTrust { return last.isMapped }
        let isMapped: Bool
        do throws(Errno) {
            guard let process = identity(of: holder.process) else { return false }
            isMapped = try mappings(of: process, timeout: Self.timeout).contains { $0.inode == inode }
        } catch .timedOut {
            // Its address space is busy: what was so last time, or may be so, is so.
            return last?.isMapped ?? state.withLock { $0.openers[holder] != nil }
        } catch {
            isMapped = false
        }
        state.withLock { state in
            if state.mapped.count >= 1024 { state.mapped.removeAll() }
            state.mapped[holder] = (isMapped, .now)
        }
        return isMapped
    }
}
