import AttributeTree
import CoherentMemory
import LinuxSupport
import MachineTopology
import SystemPackage

/// sys/kernel/cdm/buffers/NAME, and sys/class/cdm/cdmN/buffer for a device file.
package enum BufferAttributes {
    package static let table: [Attribute<Subject<Buffer>>] = [
        .readOnly("size", summary: "The size of the buffer.") { "\($0.part.size)" },
        .readOnly("resident", summary: "The bytes that have a frame.") {
            "\(UInt64($0.part.residentPages) * Page.size)"
        },
        .readWrite(
            "policy", isPollable: true, summary: "The memory policy of its pages, and of ranges with another one.",
            records: policies, store: setPolicy),
        .readWrite(
            "huge", summary: "Whether new pages are huge: never, within_size, always, or pool for reserved ones.",
            show: { choices(selected: $0.part.hugeMode) },
            store: { subject, text throws(Errno) in
                try subject.machine.setHugeMode(try text.keyword(as: HugeMode.self), of: subject.part)
            }),
        .readWrite(
            "contiguous",
            summary:
                "Its run in a node's contiguous share; write a node to allocate it, none to free it.",
            show: { subject in
                subject.machine.contiguousRange(of: subject.part).map {
                    "\($0.node) 0x\(String($0.physicalAddress, radix: 16)) 0x\(String($0.length, radix: 16))"
                } ?? "none"
            },
            start: { subject, text throws(Errno) in
                let (machine, buffer) = (subject.machine, subject.part)
                let word = try text.word
                // Not on the thread that took the write: a migration may have to be waited for, and the page cache.
                guard word != "none" else {
                    return Job("contiguous") { _ throws(Errno) in try machine.releaseContiguous(buffer) }
                }
                let node = try text.nodeID()
                return Job("contiguous") { _ throws(Errno) in
                    try machine.makeContiguous(buffer, on: node, by: text.writer)
                }
            }),
        .readOnly("placement", summary: "The number of its pages on each node.") { subject in
            subject.machine.placement(of: subject.part).map { "N\($0.node)=\($0.pages)" }.joined(separator: " ")
        },
        .readOnly(
            "pages", summary: "Its pages, a line a run.",
            records: { subject, offset, _ in
                subject.machine.runs(of: subject.part, from: offset, limit: 256).map {
                    TextRecord("\($0.line)\n", next: $0.offset + $0.length)
                }
            }),
        .readWrite(
            "migrate", isPollable: true, summary: "Moves pages to a node, or cancels a move; shows the last result.",
            show: { $0.part.migration.line }, start: migrate
        ).changingSteadily(),
        .readWrite(
            "pinned", summary: "1: its pages may not move.", show: { $0.part.isPinned ? "1" : "0" },
            store: { subject, text throws(Errno) in
                let isPinned = try text.keyword(of: ["0", "1"]) == "1"
                try subject.services.files.setPinned(isPinned, of: subject.part, by: text.writer)
            }),
        .readWrite(
            "mapping",
            summary:
                "How it is mapped: tracked through the page cache, or direct, past it; EBUSY while it is open.",
            show: { choices(selected: $0.part.mapping) },
            start: { subject, text throws(Errno) in
                let mode = try text.keyword(as: MappingMode.self)
                let (services, buffer) = (subject.services, subject.part)
                // Not on the thread that took the write: processes are looked into, and the page cache is emptied.
                return Job("mapping") { _ throws(Errno) in
                    try services.files.setMapping(mode, of: buffer, by: text.writer)
                }
            }),
        .readOnly("faults", summary: "Counters of accesses and refusals.") { subject in
            let counters = subject.part.counters
            return nameValueLines([
                ("read", counters.read), ("write", counters.write), ("cpu", counters.cpu),
                ("device", counters.device), ("refused", counters.refused),
            ])
        },
    ]

    /// The policy of the whole under the key 0; then those of ranges, under their offsets.
    @Sendable private static func policies(
        _ subject: Subject<Buffer>, _ offset: UInt64, _: Client
    ) throws(Errno) -> [TextRecord] {
        let (machine, buffer) = (subject.machine, subject.part)
        let whole = offset == 0 ? [TextRecord("\(buffer.policy)\n", next: 1)] : []
        return whole
            + machine.policyRanges(of: buffer, in: offset..<UInt64.max, limit: 256).map { range in
                let bytes = range.bytes
                return TextRecord(
                    "\(hex(bytes.lowerBound)) \(hex(UInt64(bytes.count))) \(range.policy)\n", next: bytes.upperBound)
            }
    }

    /// `POLICY`, or `OFFSET LENGTH POLICY`, where a policy may have blanks in it.
    @Sendable private static func setPolicy(_ subject: Subject<Buffer>, _ text: AttributeText) throws(Errno) {
        let (machine, buffer) = (subject.machine, subject.part)
        guard text.text.utf8.first.map({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) ?? false else {
            let policy = try text.policy(of: machine)
            return try machine.setPolicy(policy, of: buffer, by: text.writer)
        }
        let words = text.text.split(separator: " ", maxSplits: 2).map { text.part($0) }
        guard words.count == 3 else { throw text.refused(.invalidArgument, "expected OFFSET LENGTH POLICY") }
        let start = try words[0].unsigned()
        let (end, overflow) = start.addingReportingOverflow(try words[1].unsigned())
        guard !overflow, start < end, (start | end) & (Page.size - 1) == 0 else {
            throw text.refused(.invalidArgument, "the range is empty, or OFFSET or LENGTH is not a multiple of 4096")
        }
        let policy = try words[2].policy(of: machine)
        try machine.setPolicy(policy, of: buffer, bytes: start..<end, by: text.writer)
    }

    @Sendable private static func migrate(
        _ subject: Subject<Buffer>, _ text: AttributeText
    ) throws(Errno) -> Job {
        var words = text.words
        if words.count == 1, words[0].text == "cancel" {
            subject.services.jobs.cancel(about: subject.part)
            subject.part.cancelMigrations()
            return Job("migrate-cancel") { _ in }
        }
        let isAsync = words.first?.text == "async"
        if isAsync { words.removeFirst() }
        let bytes: Range<UInt64>?
        switch words.count {
        case 1: bytes = nil
        case 3:
            let (end, overflow) = try words[0].unsigned().addingReportingOverflow(try words[1].unsigned())
            guard !overflow else { throw text.refused(.invalidArgument, "OFFSET plus LENGTH has more than 64 bits") }
            bytes = try words[0].unsigned()..<end
        default: throw text.refused(.invalidArgument, "expected NODE, or OFFSET LENGTH NODE")
        }
        let (machine, buffer, services) = (subject.machine, subject.part, subject.services)
        let target = try words[words.count - 1].nodeID(of: machine)
        if let bytes, (bytes.lowerBound | bytes.upperBound) & (Page.size - 1) != 0 {
            throw text.refused(.invalidArgument, "OFFSET or LENGTH is not a multiple of 4096")
        }
        try machine.checkMigration(of: buffer, bytes: bytes, to: target)
        if let node = machine.node(target) { try machine.checkAccess(to: node, by: text.writer) }
        let sources = machine.placement(of: buffer).map(\.node).filter { $0 != target }
        let job = Job(
            buffer.fixedSize == nil ? .buffer : .device, from: IDSet(sources), to: [target], subject: buffer,
            isShort: machine.isShortMigration(of: buffer, bytes: bytes),
            attempt: { account throws(Errno) in
                try machine.migrateAtOnce(buffer, bytes: bytes, to: target, account: account)
            }
        ) { cancellation, account throws(Errno) in
            try machine.migrate(buffer, bytes: bytes, to: target, account: account) { cancellation.isCancelled }
        }
        guard isAsync else { return job }
        return Job("migrate-start") { _ throws(Errno) in
            guard
                services.jobs.start(job, for: text.client.user, Cancellation(), done: { _ in services.changes.kick() })
            else {
                throw text.refused(.resourceTemporarilyUnavailable, "too many jobs run")
            }
        }
    }
}

extension AttributeText {
    /// A node's number, of a node that may not exist. EINVAL for what is no number.
    func nodeID() throws(Errno) -> Int { Int(clamping: try unsigned()) }

    /// The number of a node of a machine that has memory online. EINVAL for what is no number, ENODEV for another node.
    func nodeID(of machine: Machine) throws(Errno) -> Int {
        let id = try nodeID()
        guard let node = machine.node(id), node.isPresent else {
            throw refused(.operationNotSupportedByDevice, "there is no node \(id)")
        }
        guard node.hasMemory else {
            throw refused(.operationNotSupportedByDevice, "no memory of node \(id) is online")
        }
        return id
    }

    /// A list of nodes; what IDSet throws for another text.
    func nodes() throws(Errno) -> IDSet {
        do throws(Errno) {
            return try IDSet(list: text)
        } catch {
            throw refused(error, "\(quoted) is not a list of nodes")
        }
    }

    /// A policy in the words of numa_maps. EINVAL for anything else, and for nodes without memory.
    func policy(of machine: Machine) throws(Errno) -> MemoryPolicy {
        let available = machine.nodesWithMemory
        do throws(Errno) {
            return try MemoryPolicy(parsing: text, available: available)
        } catch {
            let parts = text.split(separator: ":", maxSplits: 1)
            guard parts.count == 2, let nodes = try? IDSet(list: parts[1]) else {
                throw refused(error, "\(quoted) is not a memory policy, such as default, bind:0 or interleave:0-1")
            }
            let missing = nodes.subtracting(available)
            throw refused(
                error,
                missing.isEmpty
                    ? "\(quoted) is not a memory policy"
                    : "nodes that do not exist, or whose memory is not open to policies: \(missing)")
        }
    }
}

extension MigrationResult {
    /// The line of a `migrate` file.
    var line: String {
        let (seconds, attoseconds) = duration.components
        let fraction = String(10_000 + attoseconds / 100_000_000_000_000).dropFirst()
        return "state=\(state.rawValue) moved=\(moved) failed=\(failed) bytes=\(bytes) seconds=\(seconds).\(fraction)"
    }
}

extension PageRun {
    /// The line of a `pages` file.
    fileprivate var line: String {
        let flags = [
            (isDirty, "dirty"), (isPinned, "pinned"), (isPoisoned, "poisoned"), (isLost, "lost"), (isHuge, "huge"),
            (isMigrating, "migrating"),
        ].filter(\.0).map(\.1)
        return "\(hex(offset)) \(hex(length)) \(node) \(hex(physicalAddress)) "
            + (flags.isEmpty ? "-" : flags.joined(separator: ","))
    }
}
