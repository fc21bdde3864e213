import LinuxSupport
import MachineTopology
import Synchronization
import SystemPackage

/// The state of a device's memory as a whole, in the words of `sys/class/cdm/cdmN/state`.
public enum DeviceState: String, Sendable, Hashable, CaseIterable {
    /// No block of the node is online.
    case offline
    /// Blocks are being brought online.
    case onlineInProgress = "online_in_progress"
    /// A block of the node is online.
    case online
    /// A block could not be brought online.
    case onlineFailed = "online_failed"
    /// Blocks are being taken offline.
    case offlineInProgress = "offline_in_progress"
    /// A block could not be taken offline.
    case offlineFailed = "offline_failed"
}

/// A coherent device: it owns a node, and its device file gives access to that node's memory.
public final class Device: Sendable {
    /// The name, `cdmN`.
    public let name: String
    /// The node of the device's memory.
    public let node: Node
    /// The memory behind the device file: as large as the node, always bound to it.
    public let memory: Buffer
    /// The engine that copies pages to, from and within the memory.
    public let copies = CopyEngine()
    /// The error model of the memory and the link.
    public let errors = ErrorModel()
    let condition = LinkCondition()
    private let presenceWord = Atomic<UInt32>(0)
    /// The command queue.
    public let queue: CommandQueue
    /// The page tables.
    public let mmu: DeviceMMU
    /// The policy of moves by access.
    public let policy: AccessPolicy
    private let paceWord = Atomic(false)

    private struct Transition {
        /// The one under way, or the failure of the last one.
        var word: DeviceState?
        /// Whether the device is about to go or come.
        var isReplaced = false

        var isRunning: Bool { isReplaced || word == .onlineInProgress || word == .offlineInProgress }
    }

    private let transition = Mutex(Transition())

    private let meter: LinkMeter
    private let trace: Tracer

    init(name: String, node: Node, memory: Buffer, link meter: LinkMeter, trace: Tracer) {
        self.trace = trace
        policy = AccessPolicy(node, trace)
        self.name = name
        self.node = node
        self.memory = memory
        self.meter = meter
        let queue = CommandQueue(label: name) { node.incarnation }
        self.queue = queue
        mmu = DeviceMMU(of: node) { queue.invalidate($0) }
    }

    /// Whether the device is present.
    public var isPresent: Bool { node.isPresent }

    /// A counter of removals and additions of the device; odd while it is removed. A link that is cut takes the node
    /// away, but not the device.
    public var presence: UInt32 { presenceWord.load(ordering: .acquiring) }

    func changePresence() { presenceWord.wrappingAdd(1, ordering: .acquiringAndReleasing) }

    /// The performance of the link.
    public var link: Link { meter.link }

    /// The modelled time in nanoseconds of transfers over the link, even if it is not paced: pages that faults and
    /// read(2) fetched, and pages that the copy engine moved.
    public var modelledNanoseconds: UInt64 { meter.nanoseconds + copies.modelledNanoseconds }

    /// Whether transfers over the link take the modelled time.
    public var pace: LinkPace {
        get { paceWord.load(ordering: .relaxed) ? .real : .off }
        set { paceWord.store(newValue == .real, ordering: .relaxed) }
    }

    /// Changes figures of the link.
    ///
    /// - Throws: ERANGE for a figure outside of `Link.figures`; then nothing changes.
    public func updateLink(_ change: (inout Link) -> Void) throws(Errno) {
        try meter.update(change)
        noteLink()
    }

    /// Records the figures of the link.
    func noteLink() {
        let link = link
        for (setting, figure) in [
            (TraceEvent.Setting.readLatency, link.readLatency), (.writeLatency, link.writeLatency),
            (.readBandwidth, link.readBandwidth), (.writeBandwidth, link.writeBandwidth),
        ] {
            trace.note(setting, on: node, UInt64(clamping: figure))
        }
    }

    /// The state of the memory.
    public var state: DeviceState { transition.withLock { $0.word } ?? (node.hasMemory ? .online : .offline) }

    /// Begins a transition. EBUSY while another is under way, ENODEV when the device is gone.
    func begin(_ state: DeviceState, note: () -> Void) throws(Errno) {
        try transition.withLock { transition throws(Errno) in
            guard isPresent else { throw .operationNotSupportedByDevice }
            if transition.isRunning { throw .resourceBusy }
            transition.word = state
            note()
        }
    }

    /// Does what makes the device come or go, while no transition begins. EBUSY while one is under way.
    func replace(_ body: () throws(Errno) -> Void) throws(Errno) {
        try transition.withLock { transition throws(Errno) in
            if transition.isRunning { throw .resourceBusy }
            transition.isReplaced = true
        }
        defer { transition.withLock { $0.isReplaced = false } }
        try body()
        transition.withLock { $0.word = nil }
    }

    /// Ends a transition, in failure if a state is given.
    func end(_ failure: DeviceState?, note: () -> Void) {
        transition.withLock { transition in
            transition.word = failure
            note()
        }
    }
}
