import CoherentMemory
import Dispatch
import Fuse
import SystemPackage

/// A range of a process's addresses that maps a file of the mount: a line of /proc/PID/maps.
struct ProcMapping: Sendable {
    var addresses: Range<UInt64>
    /// Bytes from the start of the file.
    var offset: UInt64
    var inode: UInt64
    /// As the kernel prints it.
    var path: String

    /// START-END PERMISSIONS OFFSET DEVICE INODE, blanks, PATH; nil for a mapping of another device.
    init?(_ line: UnsafeRawBufferPointer, device: [UInt8]) {
        let fields = unsafe line.split(separator: UInt8(ascii: " "), maxSplits: 5)
        guard unsafe fields.count == 6, unsafe fields[3].elementsEqual(device) else { return nil }
        let ends = unsafe fields[0].split(separator: UInt8(ascii: "-")).compactMap { unsafe Self.number($0, radix: 16) }
        guard ends.count == 2, ends[0] < ends[1], let offset = unsafe Self.number(fields[2], radix: 16),
            let inode = unsafe Self.number(fields[4], radix: 10)
        else { return nil }
        addresses = ends[0]..<ends[1]
        self.offset = offset
        self.inode = inode
        path = unsafe String(decoding: fields[5].drop { $0 == UInt8(ascii: " ") }, as: UTF8.self)
    }

    private static func number(_ digits: Slice<UnsafeRawBufferPointer>, radix: Int) -> UInt64? {
        unsafe UInt64(String(decoding: digits, as: UTF8.self), radix: radix)
    }
}

extension ProcTasks {
    /// What a process maps of the mount, ascending by address. Waits a while where its address space is locked.
    ///
    /// - Parameter patience: how long it waits for a process that does not let itself be read.
    /// - Throws: ESRCH for no such process, also where another has its number; EPERM for one that may not be looked into;
    ///   ETIMEDOUT for one that does not let itself be read.
    func mappings(
        of process: TaskIdentity, patience: DispatchTimeInterval = ProcessInspector.patience
    ) throws(Errno) -> [ProcMapping] {
        guard let mount else { return [] }
        let device = Array("\(Self.hex(mount.major)):\(Self.hex(mount.minor))".utf8)
        return try inspector.read(process, of: { user(of: process.id) }, patience: patience) { progress in
            Result { () throws(Errno) in try Self.readMappings(of: process, on: device, progress) }
        }
    }

    private static func readMappings(
        of process: TaskIdentity, on device: [UInt8], _ progress: ProcessInspector.Progress
    ) throws(Errno) -> [ProcMapping] {
        let maps: ProcDescriptor
        do throws(Errno) {
            maps = try ProcDescriptor("/proc/\(process.id)/maps")
        } catch {
            throw error == .permissionDenied ? .notPermitted : error
        }
        // The descriptor stands for what the process of that number has now; so it is asked now whose the number is.
        guard ProcStat(task: process.id)?.startTime == process.startTime else { throw .noSuchProcess }
        var found: [ProcMapping] = []
        try unsafe maps.forEachLine { line in
            if let mapping = unsafe ProcMapping(line, device: device) { found.append(mapping) }
            progress.step()
            return true
        }
        return found
    }

    private static func hex(_ number: Int) -> String { (number < 16 ? "0" : "") + String(number, radix: 16) }
}
