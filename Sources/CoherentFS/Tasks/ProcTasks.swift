import CoherentMemory
import Dispatch
import Fuse
import Glibc

/// The tasks of the host, from /proc.
///
/// May be asked by those who serve requests. So nothing here goes through the own mount, and what may wait for a task's
/// address space, which its owner may hold until a request is served, is left to another thread and waited for only
/// briefly.
final class ProcTasks: TaskDirectory {
    private struct Holder: Hashable {
        var device: ObjectIdentifier
        var process: Int32
    }

    /// Where a process was last seen to have a device open.
    private struct Descriptor {
        var number: Int32
        var mountID: UInt64
        var checked: ContinuousClock.Instant
    }

    private struct State {
        var mount: MountDevice?
        /// The inodes of the device files.
        var inodes: [ObjectIdentifier: UInt64] = [:]
        /// How many open files of a device a process has opened that are still open, though perhaps elsewhere.
        var openers: [Holder: Int] = [:]
        var descriptors: [Holder: Descriptor] = [:]
        var mapped: [Holder: (isMapped: Bool, at: ContinuousClock.Instant)] = [:]
    }

    private let state = Mutex(State())

    /// Sets which mount is spoken of.
    func setMount(_ device: MountDevice) { state.withLock { $0.mount = device } }

    var mount: MountDevice? { state.withLock { $0.mount } }

    // MARK: Tasks

    func task(_ id: Int32) -> TaskDescription? {
        guard id > 0, let stat = ProcStat(task: id), !stat.isGone else { return nil }
        let process = ProcFile.read("/proc/\(id)/status") { ProcFile.number("Tgid", in: $0) }
        guard let process else { return nil }
        return TaskDescription(
            process: Int32(truncatingIfNeeded: process), parent: stat.parent, group: stat.group, session: stat.session,
            startTime: stat.startTime)
    }

    /// Ticks of USER_HZ since boot, as /proc/PID/stat counts them.
    var now: UInt64 {
        var time = timespec()
        unsafe clock_gettime(CLOCK_BOOTTIME, &time)
        return UInt64(time.tv_sec) * 100 + UInt64(time.tv_nsec) / 10_000_000
    }

    var processes: [Int32] { ProcFile.numbers(in: "/proc") ?? [] }

    // MARK: Open devices

    /// Notes the file of a device.
    func add(_ device: Device, inode: InodeNumber) {
        state.withLock { $0.inodes[ObjectIdentifier(device)] = inode.rawValue }
    }

    /// A thread opens a device; returns its process, for ``closed(_:by:)``.
    func opened(_ device: Device, by thread: Int32) -> Int32 {
        let process = task(thread)?.process ?? thread
        state.withLock { state in
            let holder = Holder(device: ObjectIdentifier(device), process: process)
            state.openers[holder, default: 0] += 1
            state.mapped[holder] = nil
        }
        return process
    }

    /// The last descriptor and mapping of an open file are gone.
    func closed(_ device: Device, by process: Int32) {
        state.withLock { state in
            let holder = Holder(device: ObjectIdentifier(device), process: process)
            let count = state.openers[holder, default: 1] - 1
            state.openers[holder] = count > 0 ? count : nil
            state.mapped[holder] = nil
        }
    }

    /// So long an answer is used again: far less than anybody could tell from having asked earlier.
    private static let descriptorTrust = Duration.milliseconds(1)
    private static let mappingTrust = Duration.milliseconds(10)
    private static let patience = 50

    func holdsOpen(_ device: Device, process: Int32) -> Bool {
        let holder = Holder(device: ObjectIdentifier(device), process: process)
        let now = ContinuousClock.now
        let (known, inode, mount) = state.withLock { state in
            (state.descriptors[holder], state.inodes[holder.device], state.mount)
        }
        guard let inode, let mount else { return false }
        if let known {
            if now - known.checked < Self.descriptorTrust { return true }
            if let found = Self.descriptor(known.number, of: process, inode: inode), found == known.mountID {
                state.withLock { $0.descriptors[holder]?.checked = now }
                return true
            }
        }
        guard let numbers = ProcFile.numbers(in: "/proc/\(process)/fdinfo") else {
            // Somebody else's process, which only root may look into: what is known is that it opened the device.
            return state.withLock { $0.openers[holder] != nil }
        }
        for number in numbers {
            guard let mountID = Self.descriptor(number, of: process, inode: inode),
                Self.isMount(mountID, of: process, on: mount)
            else { continue }
            state.withLock { state in
                if state.descriptors.count >= 1024 { state.descriptors.removeAll() }
                state.descriptors[holder] = Descriptor(number: number, mountID: mountID, checked: now)
            }
            return true
        }
        state.withLock { _ = $0.descriptors.removeValue(forKey: holder) }
        return maps(holder, inode: inode, mount: mount)
    }

    /// The mount through which a descriptor has an inode open; nil where it is another inode's.
    private static func descriptor(_ number: Int32, of process: Int32, inode: UInt64) -> UInt64? {
        ProcFile.read("/proc/\(process)/fdinfo/\(number)", capacity: 256) { bytes in
            ProcFile.number("ino", in: bytes) == inode ? ProcFile.number("mnt_id", in: bytes) : nil
        }
    }

    /// Whether a mount that a process sees is of a device.
    private static func isMount(_ id: UInt64, of process: Int32, on device: MountDevice) -> Bool {
        guard let table = try? ProcFile.contents("/proc/\(process)/mountinfo") else { return false }
        let (start, number) = (Array("\(id) ".utf8), Array("\(device)".utf8))
        return table.split(separator: UInt8(ascii: "\n")).contains { line in
            line.starts(with: start)
                && line.split(separator: UInt8(ascii: " "), maxSplits: 3).dropFirst(2).first?.elementsEqual(number)
                    ?? false
        }
    }

    /// Whether a process maps a device that it has no descriptor of.
    private func maps(_ holder: Holder, inode: UInt64, mount: MountDevice) -> Bool {
        let now = ContinuousClock.now
        let last = state.withLock { $0.mapped[holder] }
        if let last, now - last.at < Self.mappingTrust { return last.isMapped }
        let done = DispatchSemaphore(value: 0)
        DispatchQueue(label: "cdmfs.maps").start { [self] in
            let mappings = try? ProcMaps.mappings(of: holder.process, on: mount)
            let isMapped = mappings?.contains { $0.inode == inode } ?? false
            state.withLock { state in
                if state.mapped.count >= 1024 { state.mapped.removeAll() }
                state.mapped[holder] = (isMapped, .now)
            }
            done.signal()
        }
        _ = done.wait(timeout: .now() + .milliseconds(Self.patience))
        // Where the answer is not there in time, its address space is busy: what was so last time, or may be so, is so.
        return state.withLock { $0.mapped[holder]?.isMapped ?? ($0.openers[holder] != nil) }
    }
}
