import CLinux
import Glibc
import LinuxSupport
import SystemPackage

/// The memory of a process, read and written from outside, for as long as that runs the program it runs now.
public final class AddressSpace: Sendable {
    private let memory: ProcDescriptor
    private let maps: ProcDescriptor
    private let mount: DeviceNumber?

    /// The address space of a thread that waits for a request of the mount, and so is still the one that asked.
    ///
    /// - Parameters:
    ///   - task: the thread.
    ///   - mount: the device number of the mount; nil before it is mounted.
    /// - Throws: ESRCH for a task that cannot be seen from here, EACCES or EPERM where its memory may not be touched.
    public init(task: Int32, mount: DeviceNumber?) throws(Errno) {
        guard task > 0 else { throw .noSuchProcess }
        memory = try ProcDescriptor("/proc/\(task)/mem", flags: O_RDWR)
        maps = try ProcDescriptor("/proc/\(task)/maps")
        self.mount = mount
    }

    /// The mappings as they are; none when the process has ended.
    func areas() throws(Errno) -> MemoryAreas {
        var areas: [MemoryArea] = []
        try maps.forEachLine { line in
            if let mapping = ProcMapping(line) { areas.append(MemoryArea(mapping, mount: mount)) }
            return true
        }
        return MemoryAreas(areas)
    }

    /// Reads memory, faulting it in. What is asked for must have been checked: the kernel would show more than that.
    ///
    /// - Throws: EFAULT where there is nothing to be read.
    func read(_ address: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(Errno) {
        try transfer(address, buffer.count) { done, position in
            unsafe pread(memory.number, buffer.baseAddress! + done, buffer.count - done, position)
        }
    }

    /// Writes memory, as `read`.
    func write(_ address: UInt64, from buffer: UnsafeRawBufferPointer) throws(Errno) {
        try transfer(address, buffer.count) { done, position in
            unsafe pwrite(memory.number, buffer.baseAddress! + done, buffer.count - done, position)
        }
    }

    /// Writes bytes.
    func write(_ address: UInt64, _ bytes: [UInt8]) throws(Errno) {
        var failure: Errno?
        unsafe bytes.withUnsafeBytes { bytes in
            do throws(Errno) {
                try unsafe write(address, from: bytes)
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
    }

    private func transfer(_ address: UInt64, _ length: Int, _ body: (Int, Int) -> Int) throws(Errno) {
        guard let start = Int(exactly: address), !start.addingReportingOverflow(length).overflow else {
            throw .badAddress
        }
        do throws(Errno) {
            guard try SystemCall.transfer(length, { done in body(done, start + done) }) == length else {
                throw .badAddress
            }
        } catch {
            throw .badAddress
        }
    }
}
