import CoherentMemory
import Fuse
import SystemPackage

/// A range of a process's addresses that maps a file of the mount: a line of /proc/PID/maps.
struct ProcMapping {
    var addresses: Range<UInt64>
    /// Bytes from the start of the file.
    var offset: UInt64
    var inode: UInt64
    /// As the kernel prints it.
    var path: String
}

enum ProcMaps {
    /// The mappings of files of a mount.
    ///
    /// May wait for whoever has the address space locked, and that one for a request: not for those who serve requests.
    /// - Throws: ESRCH for no such process, EPERM for one that may not be looked into.
    static func mappings(of process: Int32, on mount: MountDevice) throws(Errno) -> [ProcMapping] {
        let text: [UInt8]
        do throws(Errno) {
            text = try ProcFile.contents("/proc/\(process)/maps")
        } catch .noSuchFileOrDirectory {
            throw .noSuchProcess
        } catch .permissionDenied {
            throw .notPermitted
        }
        let device = Array("\(hex(mount.major)):\(hex(mount.minor))".utf8)
        return text.split(separator: UInt8(ascii: "\n")).compactMap { line in
            // START-END PERMISSIONS OFFSET DEVICE INODE, blanks, PATH
            let fields = line.split(separator: UInt8(ascii: " "), maxSplits: 5)
            guard fields.count == 6, fields[3].elementsEqual(device) else { return nil }
            let ends = fields[0].split(separator: UInt8(ascii: "-")).compactMap { number($0, radix: 16) }
            guard ends.count == 2, ends[0] < ends[1], let offset = number(fields[2], radix: 16),
                let inode = number(fields[4], radix: 10)
            else { return nil }
            let path = fields[5].drop { $0 == UInt8(ascii: " ") }
            return ProcMapping(
                addresses: ends[0]..<ends[1], offset: offset, inode: inode, path: String(decoding: path, as: UTF8.self))
        }
    }

    private static func hex(_ number: Int) -> String { (number < 16 ? "0" : "") + String(number, radix: 16) }

    private static func number(_ digits: ArraySlice<UInt8>, radix: Int) -> UInt64? {
        UInt64(String(decoding: digits, as: UTF8.self), radix: radix)
    }
}

/// What a task has mapped of one buffer or device.
struct TaskMapping {
    var addresses: Range<UInt64>
    /// The bytes of the file that are mapped.
    var bytes: Range<UInt64>
    var file: MemoryFile
    var path: String
}

extension Services {
    /// The mappings of a process, ascending by address; see ``ProcMaps/mappings(of:on:)``.
    func mappings(of process: Int32) throws(Errno) -> [TaskMapping] {
        guard let mount = processes.mount else { return [] }
        return try ProcMaps.mappings(of: process, on: mount).compactMap { mapping in
            // What is mapped, the kernel has not forgotten.
            guard let file = inodes[InodeNumber(rawValue: mapping.inode)] as? MemoryFile else { return nil }
            let (end, overflow) = mapping.offset.addingReportingOverflow(UInt64(mapping.addresses.count))
            guard !overflow else { return nil }
            return TaskMapping(
                addresses: mapping.addresses, bytes: mapping.offset..<end, file: file, path: mapping.path)
        }
    }

    /// The ranges of each buffer that a process maps. A device's memory is no task's to move about, as in Linux what a
    /// driver maps is not (vma_migratable()).
    private func mappedRanges(of process: Int32) throws(Errno) -> [(buffer: Buffer, ranges: [Range<UInt64>])] {
        var ranges: [Buffer.ID: (buffer: Buffer, ranges: [Range<UInt64>])] = [:]
        for mapping in try mappings(of: process) where !(mapping.file is DeviceFile) {
            let buffer = mapping.file.buffer
            ranges[buffer.id, default: (buffer, [])].ranges.append(mapping.bytes)
        }
        return ranges.values.sorted { $0.buffer.id < $1.buffer.id }
    }

    /// Moves the pages that a process maps from nodes to others (do_migrate_pages()).
    ///
    /// - Throws: ESRCH for no such process, ENOMEM where not all could be moved, EINTR when cancelled.
    func moveMemory(
        of process: Int32, from old: IDSet, to new: IDSet, isCancelled: () -> Bool
    ) throws(Errno) {
        let steps = old.migrationSteps(to: new)
        try forEachMappedBuffer(of: process) { buffer, ranges throws(Errno) in
            guard !steps.isEmpty else { return }
            try machine.migrate(buffer, ranges: ranges, steps: steps, isCancelled: isCancelled)
        }
    }

    /// Moves the pages that a process maps in a range of its addresses to a node.
    ///
    /// - Throws: as ``moveMemory(of:from:to:isCancelled:)``.
    func moveMemory(
        of process: Int32, addresses: Range<UInt64>, to node: Int, isCancelled: () -> Bool
    ) throws(Errno) {
        var failure: Errno?
        for mapping in try mappings(of: process) {
            let part = mapping.addresses.clamped(to: addresses)
            guard !part.isEmpty else { continue }
            let start = mapping.bytes.lowerBound + (part.lowerBound - mapping.addresses.lowerBound)
            let range = start..<start + UInt64(part.count)
            do throws(Errno) {
                try machine.migrate(mapping.file.buffer, ranges: [range], to: node, isCancelled: isCancelled)
            } catch .noMemory {
                failure = .noMemory
            }
        }
        if let failure { throw failure }
    }

    private func forEachMappedBuffer(
        of process: Int32, _ body: (Buffer, [Range<UInt64>]) throws(Errno) -> Void
    ) throws(Errno) {
        var failure: Errno?
        for (buffer, ranges) in try mappedRanges(of: process) {
            do throws(Errno) {
                try body(buffer, ranges)
            } catch .noMemory {
                // What cannot move does not keep the rest.
                failure = .noMemory
            }
        }
        if let failure { throw failure }
    }
}
