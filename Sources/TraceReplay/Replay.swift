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
    public internal(set) var notes: [String] = []
    /// The modelled nanoseconds of links, of copies and faults, by device.
    public internal(set) var linkTime: [String: UInt64] = [:]

    /// Gets every event of the replay, for tests.
    var observer: ((TraceEvent) -> Void)?

    let trace: RecordedTrace
    let options: ReplayOptions
    let policy: MemoryPolicy?
    private let log = EventLog()
    let tasks = RecordedTasks()
    /// The time of the trace at which the replay begins.
    let start: UInt64
    // Two variables, because waits within the background work change the second one.
    /// What is due in the background.
    var work = Machine.BackgroundWork()
    /// How many waits for the use of pages are within each other.
    var depth = 0
    /// The place of the next event.
    var next = 0

    /// The buffers by their number in the trace, and back.
    var buffers: [UInt64: Buffer] = [:]
    private var numbers: [UInt64: UInt64] = [:]
    let stores: RecordedStores
    /// The states of blocks as recorded.
    var blocks: [UInt64: UInt8] = [:]
    /// Where frames that failed are here.
    var failed: [UInt64: UInt64] = [:]
    /// The place to which the next command copies.
    var target: BufferRange?
    var counts = ReplayNotes()

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
        stores = RecordedStores(trace.events)
        let missing = IDSet(of: trace.events).subtracting(IDSet(topology.nodes.map(\.id)))
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
    }

    /// Takes what the machine has recorded of itself.
    func take() {
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

    func attempt(_ body: () throws(Errno) -> Void) {
        do throws(Errno) { try body() } catch { counts.failed += 1 }
    }

    func buffer(_ number: UInt64) -> Buffer {
        if let buffer = buffers[number] { return buffer }
        return add(machine.makeBuffer(), as: number)
    }

    @discardableResult
    func add(_ buffer: Buffer, as number: UInt64) -> Buffer {
        take()
        buffers[number] = buffer
        numbers[buffer.id] = number
        if let policy, buffer.fixedSize == nil {
            attempt { () throws(Errno) in try machine.setPolicy(policy, of: buffer) }
        }
        return buffer
    }

    /// The buffer of an event, at least as long as its pages.
    func buffer(of event: TraceEvent, with pages: Range<UInt64>) -> Buffer {
        let buffer = buffer(event.buffer)
        machine.extend(buffer, to: pages.upperBound)
        return buffer
    }

    func node(_ id: UInt16) -> Node? { id == TraceEvent.noNode ? nil : machine.node(Int(id)) }

    func device(_ node: UInt16) -> Device? { machine.devices.first { $0.node.id == Int(node) } }

    func origin(of event: TraceEvent) -> Origin {
        Origin(
            pid: max(0, event.pid), node: event.local == TraceEvent.noNode ? 0 : Int(event.local),
            isDevice: event.flags.contains(.byDevice))
    }

    func apply(_ event: TraceEvent) {
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
        case .pagesStored: machine.noteContents(of: buffer(event.buffer), pages: event.pageRange)
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
}
