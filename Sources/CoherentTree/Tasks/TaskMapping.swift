import CoherentMemory
import LinuxSupport
import MachineTopology
import SystemPackage

/// What a task has mapped of one buffer or device.
package struct TaskMapping: Sendable {
    var addresses: Range<UInt64>
    /// The bytes of the file that are mapped.
    var bytes: Range<UInt64>
    var buffer: Buffer
    /// Whether the file is a device's.
    var isDevice: Bool
}

extension TreeServices {
    /// The mappings of a process, ascending by address; see ``ProcTasks/mappings(of:timeout:)``.
    func mappings(of process: TaskIdentity) throws(Errno) -> [TaskMapping] {
        try processes.mappings(of: process).compactMap(taskMapping)
    }

    /// What of a file of the mount is mapped; nil for what is none of its files.
    private func taskMapping(_ mapping: ProcMapping) -> TaskMapping? {
        // What is mapped, the kernel has not forgotten.
        guard let file = files.file(ofInode: mapping.inode) else { return nil }
        let (end, overflow) = mapping.offset.addingReportingOverflow(UInt64(mapping.addresses.count))
        guard !overflow else { return nil }
        return TaskMapping(
            addresses: mapping.addresses, bytes: mapping.offset..<end, buffer: file.buffer, isDevice: file.isDevice)
    }

    /// What a process maps of the machine, ascending by address: files of the mount, and memory without a file.
    ///
    /// - Throws: as ``memory(of:)``.
    func machineMappings(
        of process: TaskIdentity
    ) throws(Errno) -> [(mapping: ProcMapping, parts: [MappedBuffer])] {
        let memory = try memory(of: process)
        return try processes.mappings(of: process, ofAllFiles: !memory.isEmpty).flatMap { mapping in
            if mapping.device == processes.mount {
                return taskMapping(mapping).map {
                    [(mapping, [MappedBuffer(addresses: $0.addresses, buffer: $0.buffer, offset: $0.bytes.lowerBound)])]
                } ?? []
            }
            let others = memory.dropFirst().compactMap { $0.clamped(to: mapping.addresses) }
            if mapping.isShared { return others.isEmpty ? [] : [(mapping, others)] }
            guard mapping.isAnonymous, let own = memory.first else { return [] }
            return Self.split(mapping, of: own, around: others)
        }
    }

    /// The stretches of a private mapping that are a process's own memory, and those that are something else: memory in huge pages, which is
    /// ordinary memory to the kernel.
    private static func split(
        _ mapping: ProcMapping, of own: MappedBuffer, around others: [MappedBuffer]
    ) -> [(mapping: ProcMapping, parts: [MappedBuffer])] {
        var stretches: [(mapping: ProcMapping, parts: [MappedBuffer])] = []
        var position = mapping.addresses.lowerBound
        func addOwn(upTo end: UInt64) {
            guard position < end, let part = own.clamped(to: position..<end) else { return }
            var stretch = mapping
            stretch.addresses = part.addresses
            stretches.append((stretch, [part]))
        }
        for other in others.sorted(by: { $0.addresses.lowerBound < $1.addresses.lowerBound }) {
            addOwn(upTo: other.addresses.lowerBound)
            position = other.addresses.upperBound
            if let last = stretches.last, last.parts.last?.buffer !== own.buffer,
                last.mapping.addresses.upperBound == other.addresses.lowerBound
            {
                stretches[stretches.count - 1].mapping.addresses = last.mapping.addresses.lowerBound..<position
                stretches[stretches.count - 1].parts.append(other)
            } else {
                var stretch = mapping
                stretch.addresses = other.addresses
                stretches.append((stretch, [other]))
            }
        }
        addOwn(upTo: mapping.addresses.upperBound)
        return stretches
    }

    /// The memory of a process without a file; see ``BufferFiles/memory(ofTask:)``.
    ///
    /// - Throws: ESRCH for no such process, ETIMEDOUT for one that does not let itself be read.
    func memory(of process: TaskIdentity) throws(Errno) -> [MappedBuffer] {
        let files = files
        let memory = try processes.inspector.read(process, of: { processes.user(of: process.id) }) { _ in
            .success(files.memory(ofTask: process.id))
        }
        guard processes.identity(of: process.id) == process else { throw .noSuchProcess }
        return memory
    }

    /// The ranges of each buffer that a process maps, and of its memory without a file. A device's memory is no task's to move about, as in Linux what a
    /// driver maps is not (vma_migratable()).
    private func mappedRanges(of process: TaskIdentity) throws(Errno) -> [(buffer: Buffer, ranges: [Range<UInt64>])] {
        var ranges: [Buffer.ID: (buffer: Buffer, ranges: [Range<UInt64>])] = [:]
        for mapping in try mappings(of: process) where !mapping.isDevice {
            let buffer = mapping.buffer
            ranges[buffer.id, default: (buffer, [])].ranges.append(mapping.bytes)
        }
        for part in try memory(of: process) {
            ranges[part.buffer.id, default: (part.buffer, [])].ranges.append(part.bytes)
        }
        return ranges.values.sorted { $0.buffer.id < $1.buffer.id }
    }

    /// Moves the pages that a process maps from nodes to others (do_migrate_pages()).
    ///
    /// - Throws: ESRCH for no such process, ETIMEDOUT for one that does not let itself be read, ENOMEM where not all could be
    ///   moved, EINTR when cancelled.
    func moveMemory(
        of process: TaskIdentity, from old: IDSet, to new: IDSet, _ account: MigrationAccount, isCancelled: () -> Bool
    ) throws(Errno) {
        let steps = old.migrationSteps(to: new)
        try forEachMappedBuffer(of: process) { buffer, ranges throws(Errno) in
            guard !steps.isEmpty else { return }
            try machine.migrate(buffer, ranges: ranges, steps: steps, account: account, isCancelled: isCancelled)
        }
    }

    /// Moves the pages that a process maps in a range of its addresses to a node.
    ///
    /// - Throws: as ``moveMemory(of:from:to:_:isCancelled:)``.
    func moveMemory(
        of process: TaskIdentity, addresses: Range<UInt64>, to node: Int, _ account: MigrationAccount,
        isCancelled: () -> Bool
    ) throws(Errno) {
        var failure: Errno?
        func move(_ range: Range<UInt64>, of buffer: Buffer) throws(Errno) {
            do throws(Errno) {
                try machine.migrate(buffer, ranges: [range], to: node, account: account, isCancelled: isCancelled)
            } catch  where error == .noMemory || error == .resourceBusy {
                failure = error
            }
        }
        for mapping in try mappings(of: process) {
            let part = mapping.addresses.clamped(to: addresses)
            guard !part.isEmpty else { continue }
            let start = mapping.bytes.lowerBound + (part.lowerBound - mapping.addresses.lowerBound)
            try move(start..<start + UInt64(part.count), of: mapping.buffer)
        }
        for part in try memory(of: process).compactMap({ $0.clamped(to: addresses) }) {
            try move(part.bytes, of: part.buffer)
        }
        if let failure { throw failure }
    }

    private func forEachMappedBuffer(
        of process: TaskIdentity, _ body: (Buffer, [Range<UInt64>]) throws(Errno) -> Void
    ) throws(Errno) {
        var failure: Errno?
        for (buffer, ranges) in try mappedRanges(of: process) {
            do throws(Errno) {
                try body(buffer, ranges)
            } catch  where error == .noMemory || error == .resourceBusy {
                // What cannot move does not keep the rest.
                failure = error
            }
        }
        if let failure { throw failure }
    }
}
