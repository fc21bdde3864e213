public import CoherentMemory
public import MachineTopology
import Synchronization
import SystemPackage

/// A machine to which the inputs of a trace happen once more: touches, settings, and what programs and users asked for.
/// What follows from them, such as demotions, the machine does by itself.
///
/// One thread, and the times of the trace: the same trace and options give the same figures everywhere.
public final class Replay {
    /// The machine, which has the state of the end after ``run()``.
    public let machine: Machine
    /// What its events amount to. The buffers have the numbers that they have in the trace.
    public private(set) var figures = TraceFigures()
    /// What the replay could not know or do, a sentence each.
    public private(set) var notes: [String] = []
    /// The modelled nanoseconds of links, of copies and faults, by device.
    public private(set) var linkTime: [String: UInt64] = [:]

    /// Gets every event of the replay, for tests.
    var observer: ((TraceEvent) -> Void)?

    private let trace: RecordedTrace
    private let options: ReplayOptions
    private let policy: MemoryPolicy?
    private let log = EventLog()
    private let tasks = RecordedTasks()
    private var work = Machine.BackgroundWork()
    private var next = 0
    private var depth = 0
    private let start: UInt64

    /// The buffers by their number in the trace, and back.
    private var buffers: [UInt64: Buffer] = [:]
    private var numbers: [UInt64: UInt64] = [:]
    /// The pages that programs store to through a mapping when they touch them, by the place of the event of the touch. The trace
    /// tells it when the page cache writes them back.
    private var stored: [Int: [Range<UInt64>]] = [:]
    /// The states of blocks as recorded.
    private var blocks: [UInt64: UInt8] = [:]
    /// Where frames that failed are here.
    private var failed: [UInt64: UInt64] = [:]
    /// Whether the frames are those of the record, too: nothing had pages when it began.
    private var hasSameFrames = true
    private var target: BufferRange?
    private var counts = NoteCounts()

    private struct NoteCounts {
        var assumed: UInt64 = 0
        var failed: UInt64 = 0
        var manyNodes = false
        var direct = false
        var share = false
        var policies: UInt64 = 0
    }

    /// The events of the machine since they were last taken.
    private final class EventLog: Sendable {
        // The threads of devices record, too.
        let events = Mutex<[TraceEvent]>([])
    }

    /// A replay that has not begun.
    ///
    /// - Parameters:
    ///   - trace: the trace.
    ///   - topology: the machine.
    ///   - options: what is different from the record.
    /// - Throws: ``ReplayError``.
    public init(_ trace: RecordedTrace, on topology: Topology, options: ReplayOptions) throws(ReplayError) {
        self.trace = trace
        self.options = options
        start = trace.events.first?.time ?? 0
        let missing = Self.nodes(of: trace.events).subtracting(IDSet(topology.nodes.map(\.id)))
        guard missing.isEmpty else { throw .missingNodes(missing) }
        do throws(Errno) {
            machine = try Machine(topology: topology)
        } catch {
            throw .memory
        }
        if let text = options.policy {
            let available = machine.nodesWithMemory
            do throws(Errno) {
                policy = try MemoryPolicy(parsing: text, available: available)
            } catch {
                throw .policy(text)
            }
        } else {
            policy = nil
        }
        machine.beginReplay()
        machine.setTaskDirectory(tasks)
        let log = log
        machine.trace.setConsumer { event in log.events.withLock { $0.append(event) } }
        findStores()
    }

    /// From the end to the begin: what is written back was there since the touch, unless the page was freed in between.
    private func findStores() {
        var awaited: [UInt64: RangeSet<UInt64>] = [:]
        for index in trace.events.indices.reversed() {
            let event = trace.events[index]
            switch event.kind {
            case .pagesStored where event.detail == 1:
                awaited[event.buffer, default: RangeSet()].insert(contentsOf: Self.pages(of: event))
            case .pagesFreed: awaited[event.buffer]?.remove(contentsOf: Self.freedPages(of: event))
            case .bufferRemoved: awaited[event.buffer] = nil
            case .touchPlaced, .touchRefused, .touchFound:
                guard let awaited = awaited[event.buffer], !event.flags.contains(.continues) else { continue }
                let pages = event.kind == .touchFound ? Self.pages(of: event) : TouchRequest(of: event).pages
                let ranges = awaited.intersection(RangeSet(pages)).ranges
                if !ranges.isEmpty { stored[index] = Array(ranges) }
            default: break
            }
        }
    }

    /// The nodes on which the trace has pages.
    private static func nodes(of events: [TraceEvent]) -> IDSet {
        var seen: Set<UInt16> = []
        for event in events where event.kind == .touchPlaced || event.moveReason != nil { seen.insert(event.to) }
        seen.remove(TraceEvent.noNode)
        return IDSet(seen.map(Int.init))
    }

    /// The pages of an event; none where its numbers are no range of pages.
    private static func pages(of event: TraceEvent) -> Range<UInt64> {
        let (end, overflow) = event.start.addingReportingOverflow(event.count)
        return overflow || end > limit ? 0..<0 : event.start..<end
    }

    /// The same of pages that go, which may be all behind a size.
    private static func freedPages(of event: TraceEvent) -> Range<UInt64> {
        let (end, overflow) = event.start.addingReportingOverflow(event.count)
        return event.start..<(overflow ? event.start : min(end, max(event.start, UInt64.max >> Page.shift)))
    }

    /// The first page that no buffer has.
    private static let limit = UInt64(Int64.max) >> Page.shift

    // MARK: Time

    /// Replays all events.
    public func run() {
        if let isolation = options.isolation {
            for node in machine.nodes where node.kind == .coherent {
                attempt { () throws(Errno) in
                    try machine.setIsolation(isolation, of: node)
                }
            }
        }
        if let isOn = options.demotion { machine.isDemotionEnabled = isOn }
        if let mode = options.balancing { machine.updateBalancing { $0.mode = BalancingMode(rawValue: mode) } }
        while next < trace.events.count {
            step()
            // What happens at one moment happens before anybody else has the CPU.
            if next < trace.events.count, moment(trace.events[next].time) == machine.replayTime { continue }
            machine.moveMisplaced()
            machine.doBackgroundWork(&work) { self.waitForUse() }
            take()
        }
        for device in machine.devices { linkTime[device.name] = device.modelledNanoseconds }
        note()
    }

    /// Has the next event happen at its time.
    private func step() {
        let event = trace.events[next]
        next += 1
        advance(to: event.time)
        apply(event)
        // Pages that devices had are free when the devices have let go of them.
        for device in machine.devices where device.queue.depth > 0 { _ = device.queue.waitUntilIdle(seconds: 600) }
        take()
    }

    /// Nanoseconds of the replay of a time of the trace.
    private func moment(_ time: UInt64) -> Int64 { Int64(min(time &- min(start, time), Self.lastMoment)) }

    /// Later times are this one: decades.
    private static let lastMoment: UInt64 = 1 << 61
    /// After so many turns without an event the background work has nothing new to find.
    private static let idleTurns = 10_000
    /// The most pages of a touch.
    private static let touchLimit = 1 << 14

    /// Does what happens in the background until a time.
    private func advance(to time: UInt64) {
        let moment = moment(time)
        var turns = 0
        // Only the outermost has the hand of the background work.
        while depth == 0, let due = machine.nextBackgroundWork(work), due <= moment {
            turns += 1
            guard turns < Self.idleTurns else {
                machine.setReplayTime(moment)
                work.skip(to: machine)
                break
            }
            machine.setReplayTime(due)
            machine.doBackgroundWork(&work) { self.waitForUse() }
            take()
        }
        machine.setReplayTime(moment)
    }

    /// What happens while reclaim waits for the use of pages.
    private func waitForUse() {
        let end = machine.replayTime + Machine.reuseTime
        // A reclaim within a reclaim within …: at some depth time stands still.
        if depth < 8 {
            depth += 1
            while next < trace.events.count, moment(trace.events[next].time) <= end { step() }
            machine.moveMisplaced()
            depth -= 1
        }
        machine.setReplayTime(end)
    }

    /// Takes what the machine has recorded of itself.
    private func take() {
        let events = log.events.withLock { events in
            defer { events.removeAll(keepingCapacity: true) }
            return events
        }
        for var event in events {
            event.buffer = numbers[event.buffer] ?? event.buffer
            figures.add(event)
            observer?(event)
        }
    }

    // MARK: Events

    private func attempt(_ body: () throws(Errno) -> Void) {
        do throws(Errno) { try body() } catch { counts.failed += 1 }
    }

    private func buffer(_ number: UInt64) -> Buffer {
        if let buffer = buffers[number] { return buffer }
        return add(machine.makeBuffer(), as: number)
    }

    @discardableResult
    private func add(_ buffer: Buffer, as number: UInt64) -> Buffer {
        take()
        buffers[number] = buffer
        numbers[buffer.id] = number
        if let policy, buffer.fixedSize == nil {
            attempt { () throws(Errno) in try machine.setPolicy(policy, of: buffer) }
        }
        return buffer
    }

    /// The buffer of an event, at least as long as its pages.
    private func buffer(of event: TraceEvent, with pages: Range<UInt64>) -> Buffer {
        let buffer = buffer(event.buffer)
        machine.extend(buffer, to: pages.upperBound)
        return buffer
    }

    private func node(_ id: UInt16) -> Node? { id == TraceEvent.noNode ? nil : machine.node(Int(id)) }

    private func device(_ node: UInt16) -> Device? { machine.devices.first { $0.node.id == Int(node) } }

    private func origin(of event: TraceEvent) -> Origin {
        Origin(
            pid: max(0, event.pid), node: event.local == TraceEvent.noNode ? 0 : Int(event.local),
            isDevice: event.flags.contains(.byDevice))
    }

    private func apply(_ event: TraceEvent) {
        if event.flags.contains(.moreNodes) { counts.manyNodes = true }
        if event.flags.contains(.followsRequest), !event.flags.contains(.initial) { return }
        switch event.kind {
        case .touchPlaced:
            tasks.set(true, task: event.pid, node: Int(event.to))
            if event.flags.contains(.initial) { return place(event) }
            if !event.flags.contains(.continues) { touch(event) }
        case .touchRefused:
            if event.value == UInt64(Errno.diskQuotaExceeded.rawValue) { counts.share = true }
            if !event.flags.contains(.continues) { touch(event) }
        case .touchRetried: touch(event)
        case .isolationRefused:
            if event.detail == IsolationRefusal.notAllowed.rawValue {
                tasks.set(false, task: event.pid, node: Int(event.to))
            }
        case .touchFound: find(event)
        case .pagesStored: machine.noteContents(of: buffer(event.buffer), pages: Self.pages(of: event))
        case .pagesFreed: free(event)
        case .bufferMade: make(event)
        case .bufferRemoved:
            guard let buffer = buffers.removeValue(forKey: event.buffer), buffer.fixedSize == nil else { return }
            machine.remove(buffer)
            take()
            numbers[buffer.id] = nil
        case .settingChanged: set(event)
        case .requestMade: request(event)
        case .policySet: setPolicy(event)
        case .taskPlaced: placeTask(event)
        case .isolationSet:
            guard options.isolation == nil, let node = node(event.to) else { return }
            let rights = NodeCapabilities(rawValue: UInt32(truncatingIfNeeded: event.value))
            attempt { () throws(Errno) in try machine.updateCapabilities(of: node) { $0 = rights } }
        case .blockState: setBlock(event)
        case .linkState:
            guard let device = device(event.to) else { return }
            if event.detail == 0 { machine.cutLink(of: device) } else { machine.restoreLink(of: device) }
        case .nodeState: setNode(event)
        case .pagePoisoned, .pageRetired, .pageCleared: fail(event)
        case .commandBegin: execute(event)
        case .migrated, .demoted, .promoted, .pageCorrected, .pagesLost, .linkStalled, .commandEnd, .cpusetSet: break
        }
    }

    // MARK: Touches

    private func touch(_ event: TraceEvent) {
        var request = TouchRequest(of: event)
        guard !request.pages.isEmpty, request.pages.upperBound <= Self.limit, request.pages.count <= Self.touchLimit
        else {
            return
        }
        let buffer = buffer(of: event, with: request.pages)
        let origin = origin(of: event)
        let isCached = !origin.isDevice && !buffer.isAnonymous && request.shortage != .whole
        let isRead = isCached && request.shortage == .all
        let pages = request.pages
        let place = next - 1
        defer { noteStores(at: place, to: buffer) }
        do throws(Errno) {
            if isRead {
                try read(buffer, pages, origin, isTouch: true)
            } else {
                try machine.touch(buffer, request, origin: origin, isCached: isCached)
            }
        } catch {
            guard request.shortage == .all, pages.count > 1, event.kind != .touchRetried else { return }
            // Whoever touched asks for each page that is still wanted; which ones these were, nobody has seen.
            for page in pages {
                request.pages = page..<page + 1
                counts.assumed += 1
                do throws(Errno) {
                    if isRead {
                        try read(buffer, request.pages, origin, isTouch: true)
                    } else {
                        try machine.touch(buffer, request, origin: origin, isCached: isCached)
                    }
                } catch {
                    // As the touch of a page for which there is no frame.
                }
            }
        }
    }

    private func read(_ buffer: Buffer, _ pages: Range<UInt64>, _ origin: Origin, isTouch: Bool) throws(Errno) {
        let (offset, length) = (pages.lowerBound << Page.shift, pages.count << Int(Page.shift))
        for isFirst in [true, false] {
            do throws(Errno) {
                unsafe try machine.read(
                    buffer, at: offset, length: length, origin: origin, isTouch: isTouch
                ) { _ in }
                return
            } catch {
                guard isFirst, error == .resourceTemporarilyUnavailable else { throw error }
                // A device maps pages.
                _ = machine.recall(buffer, at: offset, length: length, isLocked: false) {}
                for device in machine.devices { _ = device.queue.waitUntilIdle(seconds: 600) }
            }
        }
    }

    private func find(_ event: TraceEvent) {
        let pages = Self.pages(of: event)
        guard !pages.isEmpty, pages.count <= Self.touchLimit else { return }
        let buffer = buffer(of: event, with: pages)
        let place = next - 1
        attempt { () throws(Errno) in
            let isLook = event.detail == TraceEvent.Access.look.rawValue
            if event.flags.contains(.continues) || event.detail == TraceEvent.Access.store.rawValue {
                // What a read of it takes over a link was counted with the rest of the touch.
                try machine.touch(
                    buffer, TouchRequest(pages, .prefix), origin: origin(of: event), isCached: !isLook)
            } else {
                try read(buffer, pages, origin(of: event), isTouch: !isLook)
            }
        }
        noteStores(at: place, to: buffer)
    }

    /// Notes what is stored with the touch of an event.
    private func noteStores(at place: Int, to buffer: Buffer) {
        for range in stored[place] ?? [] { machine.noteContents(of: buffer, pages: range) }
    }

    private func place(_ event: TraceEvent) {
        let pages = Self.pages(of: event)
        guard !pages.isEmpty, let node = node(event.to) else { return }
        hasSameFrames = false
        let buffer = buffer(of: event, with: pages)
        machine.place(pages, of: buffer, on: node)
    }

    private func free(_ event: TraceEvent) {
        guard event.detail == 0, let buffer = buffers[event.buffer] else { return }
        let pages = Self.freedPages(of: event)
        guard buffer.isAnonymous else { return machine.discard(buffer, pages: pages) }
        guard pages.upperBound <= Machine.addressLimit >> Page.shift else { return }
        let bytes = pages.lowerBound << Page.shift..<pages.upperBound << Page.shift
        if event.flags.contains(.policies) {
            machine.unmap(buffer, bytes: bytes)
            // The policies of a variant stay.
            if let policy { attempt { () throws(Errno) in try machine.setPolicy(policy, of: buffer) } }
        } else {
            machine.discard(buffer, bytes: bytes)
        }
    }

    private func make(_ event: TraceEvent) {
        guard buffers[event.buffer] == nil else { return }
        if let device = device(event.to) {
            let isOwn = !buffers.values.contains { $0 === device.memory }
            add(isOwn ? device.memory : machine.makeMemory(of: device), as: event.buffer)
        } else {
            add(event.flags.contains(.anonymous) ? machine.makeAddressSpace() : machine.makeBuffer(), as: event.buffer)
        }
    }

    // MARK: Rules

    private func policy(of event: TraceEvent, mode: UInt8, flag: UInt64) -> MemoryPolicy? {
        MemoryPolicy(
            recorded: mode, nodes: TraceEvent.nodes(ofBits: event.value), flag: flag, home: event.from)
    }

    private func setPolicy(_ event: TraceEvent) {
        guard policy == nil else { return }
        guard let policy = policy(of: event, mode: event.detail, flag: event.other) else { return }
        guard event.buffer != 0 else {
            // Later traces tell what is in force for each thread.
            if !trace.isComplete { machine.setRecordedPlacement(policy, allowed: nil, of: event.pid) }
            return
        }
        let buffer = buffer(event.buffer)
        let pages = Self.pages(of: event)
        do throws(Errno) {
            if event.flags.contains(.range) {
                try machine.setPolicy(
                    policy, of: buffer, bytes: pages.lowerBound << Page.shift..<pages.upperBound << Page.shift)
            } else {
                try machine.setPolicy(policy, of: buffer)
            }
        } catch {
            counts.policies += 1
        }
    }

    private func placeTask(_ event: TraceEvent) {
        guard let recorded = policy(of: event, mode: event.detail, flag: event.other) else { return }
        let allowed = event.count == 0 ? nil : TraceEvent.nodes(ofBits: event.start)
        machine.setRecordedPlacement(policy ?? recorded, allowed: allowed, of: event.pid)
    }

    private func set(_ event: TraceEvent) {
        guard let setting = TraceEvent.Setting(rawValue: event.detail) else { return }
        let value = event.value
        func balancing(_ limits: ClosedRange<UInt64>, _ change: (inout BalancingSettings, Int) -> Void) {
            guard limits.contains(value) else { return }
            machine.updateBalancing { change(&$0, Int(value)) }
        }
        func link(_ change: (inout Link) -> Void) {
            guard let device = device(event.to) else { return }
            attempt { () throws(Errno) in try device.updateLink(change) }
        }
        switch setting {
        case .demotion: if options.demotion == nil { machine.isDemotionEnabled = value != 0 }
        case .balancing:
            if options.balancing == nil { balancing(0...3) { $0.mode = BalancingMode(rawValue: UInt8($1)) } }
        case .scanPeriod: balancing(10...60_000) { $0.scanPeriod = $1 }
        case .scanSize: balancing(1...65_536) { $0.scanSize = $1 }
        case .hotThreshold: balancing(1...60_000) { $0.hotThreshold = $1 }
        case .interleaveWeight:
            guard let node = node(event.to) else { return }
            attempt { () throws(Errno) in try machine.setInterleaveWeight(Int(clamping: value), of: node) }
        case .automaticWeights: machine.hasAutomaticWeights = value != 0
        case .hugePages: if let node = node(event.to) { machine.setHugePages(Int(clamping: value), of: node) }
        case .autoOnline:
            if value < UInt64(OnlineType.allCases.count) { machine.autoOnline = OnlineType.allCases[Int(value)] }
        case .deviceFaults:
            guard let device = device(event.to) else { return }
            attempt { () throws(Errno) in try device.policy.setDeviceFaults(Int(clamping: value)) }
        case .cpuFaults:
            guard let device = device(event.to) else { return }
            attempt { () throws(Errno) in try device.policy.setCPUFaults(Int(clamping: value)) }
        case .readLatency: link { $0.readLatency = value }
        case .writeLatency: link { $0.writeLatency = value }
        case .readBandwidth: link { $0.readBandwidth = value }
        case .writeBandwidth: link { $0.writeBandwidth = value }
        case .size, .hugeMode, .pinned, .direct: setBuffer(setting, event)
        }
    }

    private func setBuffer(_ setting: TraceEvent.Setting, _ event: TraceEvent) {
        guard event.buffer != 0 else { return }
        let buffer = buffer(event.buffer)
        attempt { () throws(Errno) in
            switch setting {
            // The pages behind it have an event of their own.
            case .size: machine.setSize(event.value, of: buffer)
            case .hugeMode:
                guard event.value < UInt64(HugeMode.allCases.count) else { return }
                try machine.setHugeMode(HugeMode.allCases[Int(event.value)], of: buffer)
            case .pinned: try machine.setPinned(event.value != 0, of: buffer)
            case .direct: counts.direct = counts.direct || event.value != 0
            default: break
            }
        }
    }

    // MARK: Requests

    private func request(_ event: TraceEvent) {
        guard let request = TraceEvent.Request(rawValue: event.detail) else { return }
        let pages = Self.pages(of: event)
        let bytes = pages.lowerBound << Page.shift..<pages.upperBound << Page.shift
        let target = node(event.to)
        switch request {
        case .migrateNode, .reclaim, .compact: break
        default: if event.buffer == 0 { return }
        }
        // What cannot be done here could not be done there either, or is a difference that the figures show.
        do throws(Errno) {
            switch request {
            case .migrate:
                guard let target else { return }
                let buffer = buffer(of: event, with: pages)
                try machine.migrate(buffer, bytes: event.count == 0 ? nil : bytes, to: target.id)
            case .move:
                guard let target, !pages.isEmpty else { return }
                let reasons = MoveReason.allCases
                let reason = event.other < UInt64(reasons.count) ? reasons[Int(event.other)] : .range
                let account = MigrationAccount(reason)
                let buffer = buffer(of: event, with: pages)
                if event.from == TraceEvent.noNode {
                    try machine.migrate(buffer, ranges: [bytes], to: target.id, account: account)
                } else {
                    try machine.migrate(
                        buffer, ranges: [bytes], steps: [(source: Int(event.from), target: target.id)],
                        account: account)
                }
            case .migrateNode:
                guard let target, let source = node(event.from) else { return }
                try machine.migrate(node: source, to: target.id)
            case .conform:
                guard
                    let recorded = policy(
                        of: event, mode: UInt8(truncatingIfNeeded: event.other), flag: event.other >> 8)
                else { return }
                _ = machine.conform(
                    buffer(of: event, with: pages), bytes: bytes, to: policy ?? recorded, local: origin(of: event).node)
            case .allocate:
                guard !pages.isEmpty else { return }
                try machine.allocate(buffer(event.buffer), bytes: bytes, keepsSize: true, origin: origin(of: event))
            case .reclaim:
                guard let target else { return }
                try machine.reclaim(
                    Int(clamping: event.count), of: target,
                    demotingTo: event.value == 0 ? [] : machine.demotionTargets(of: target),
                    waitForUse: { self.waitForUse() })
            case .compact: if let target { try machine.compact(target) }
            case .copySpace: machine.copy(buffer(event.other), to: buffer(event.buffer))
            case .remap:
                guard event.other <= Self.limit else { return }
                machine.move(
                    bytes, of: buffer(event.buffer), to: event.other << Page.shift, keepsPolicy: event.value != 0)
            case .makeContiguous:
                try machine.makeContiguous(buffer(event.buffer), on: Int(event.to))
            case .releaseContiguous: try machine.releaseContiguous(buffer(event.buffer))
            }
        } catch {
            counts.failed += 1
        }
    }

    private func execute(_ event: TraceEvent) {
        guard let device = device(event.to), Int(event.detail) < DeviceCommand.words.count else { return }
        var range: BufferRange?
        if event.buffer != 0 {
            range = try? BufferRange(buffer(event.buffer), at: event.start, length: event.count)
            guard range != nil else { return }
        }
        if event.flags.contains(.continues) {
            target = range
            return
        }
        defer { target = nil }
        // Its bytes are nobody's here: touches take their places.
        var commands: [DeviceCommand] = []
        switch (DeviceCommand.words[Int(event.detail)], range) {
        case ("fill", let range?): commands = [event.other == 0 ? .read(range) : .write(range)]
        case ("write", let range?): commands = [.write(range)]
        case ("read", let range?), ("crc32", let range?): commands = [.read(range)]
        case ("exclusive", let range?): commands = [.exclusive(range)]
        case ("copy", let range?): commands = [.read(range)] + (target.map { [.write($0)] } ?? [])
        default: break
        }
        for command in commands { machine.execute(command, on: device, by: max(0, event.pid)) }
    }

    // MARK: Blocks, nodes and failures

    private func setBlock(_ event: TraceEvent) {
        let before = blocks.updateValue(event.detail, forKey: event.start)
        let block = machine.block(event.start)
        switch event.detail {
        case 0:
            // Not after an attempt to take it offline, which failed.
            if before != 1, let block, block.state == .offline {
                attempt { () throws(Errno) in try machine.online(block) }
            }
        case 1: if let block { attempt { () throws(Errno) in try machine.offline(block) } }
        case 2:
            if event.value == 1, block == nil {
                let (address, overflow) = event.start.multipliedReportingOverflow(by: machine.topology.blockSize)
                if !overflow { attempt { () throws(Errno) in try machine.probe(address: address) } }
            } else if event.flags.contains(.initial), let block, block.state == .online {
                attempt { () throws(Errno) in try machine.offline(block) }
            }
        default: break
        }
    }

    private func setNode(_ event: TraceEvent) {
        guard let device = device(event.to), device.isPresent == (event.detail == 0) else { return }
        attempt { () throws(Errno) in
            if event.detail == 0 { try machine.remove(device, isForced: true) } else { try machine.rescan() }
        }
    }

    /// Frames that fail: those of the record where they are the same ones, else those of the pages that had them.
    private func fail(_ event: TraceEvent) {
        let page = event.value >> Page.shift
        attempt { () throws(Errno) in
            if event.kind == .pageCleared {
                _ = try machine.clearFailure(address: failed.removeValue(forKey: event.start) ?? event.start)
                return
            }
            if event.flags.contains(.byPage), event.buffer != 0, page < Self.limit {
                let buffer = buffer(of: event, with: page..<page + 1)
                noteFrame(of: page, buffer, for: event)
                try machine.poison(
                    buffer, bytes: page << Page.shift..<(page + 1) << Page.shift, origin: origin(of: event))
                return
            }
            var address = event.start
            if !hasSameFrames, event.buffer != 0, let own = machine.address(of: page, of: buffer(event.buffer)) {
                address = own
            }
            failed[event.start] = address
            if event.kind == .pagePoisoned {
                try machine.poison(address: address)
            } else {
                try machine.softOffline(address: address)
            }
        }
    }

    private func noteFrame(of page: UInt64, _ buffer: Buffer, for event: TraceEvent) {
        if let address = machine.address(of: page, of: buffer) { failed[event.start] = address }
    }

    // MARK: Notes

    private func note() {
        if !trace.isComplete {
            notes.append(
                "The trace is of an older version: it lacks frees, requests, settings and repeated touches.")
        }
        if trace.isCutOff { notes.append("The trace is cut off.") }
        if trace.lost > 0 { notes.append("The recorder lost \(trace.lost) events.") }
        if let filter = trace.facts["filter"] {
            notes.append("The trace has only what its filter let through: \(filter)")
        }
        if !hasSameFrames { notes.append("Buffers had pages before the record: only their nodes are known.") }
        if counts.assumed > 0 {
            notes.append("\(counts.assumed) pages that came in around a touch are taken for touched one by one.")
        }
        if counts.policies > 0 { notes.append("\(counts.policies) policies name nodes that they may not name here.") }
        if counts.failed > 0 { notes.append("\(counts.failed) requests fail.") }
        if counts.manyNodes { notes.append("Policies or cpusets name nodes above 63, of which the trace has none.") }
        if counts.direct { notes.append("Direct buffers are replayed as tracked ones.") }
        if counts.share { notes.append("Refusals by a user's share of memory are not replayed.") }
        let usesMore = options.demotion == true || (options.balancing ?? 0) > 0
        if usesMore {
            notes.append("Repeated touches are known only where the record had demotion or balancing on.")
        }
    }
}
