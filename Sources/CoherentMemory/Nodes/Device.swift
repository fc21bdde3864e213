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
    public let mmu = DeviceMMU()
    /// The policy of moves by access.
    public let policy = AccessPolicy()
    private let paceWord = Atomic(false)
    private let faultTime = Atomic<UInt64>(0)
    private let linkFigures: Mutex<Link>

    private struct Transition {
        /// The one under way, or the failure of the last one.
        var word: DeviceState?
        /// Whether the device is about to go or come.
        var isReplaced = false

        var isRunning: Bool { isReplaced || word == .onlineInProgress || word == .offlineInProgress }
    }

    private let transition = Mutex(Transition())

    init(name: String, node: Node, memory: Buffer, link: Link) {
        self.name = name
        self.node = node
        self.memory = memory
        queue = CommandQueue(label: name) { node.incarnation }
        linkFigures = Mutex(link)
    }

    /// Whether the device is present.
    public var isPresent: Bool { node.isPresent }

    /// A counter of removals and additions of the device; odd while it is removed. A link that is cut takes the node
    /// away, but not the device.
    public var presence: UInt32 { presenceWord.load(ordering: .acquiring) }

    func changePresence() { presenceWord.wrappingAdd(1, ordering: .acquiringAndReleasing) }

    /// The performance of the link.
    public var link: Link { linkFigures.withLock { $0 } }

    /// The modelled time in nanoseconds of transfers over the link, even if it is not paced: pages that faults and
    /// read(2) fetched, and pages that the copy engine moved.
    public var modelledNanoseconds: UInt64 { faultTime.load(ordering: .relaxed) + copies.modelledNanoseconds }

    /// Counts pages of the device that somebody reads.
    func countFault(bytes: UInt64) { faultTime.wrappingAdd(link.readTime(of: bytes), ordering: .relaxed) }

    /// Whether transfers over the link take the modelled time.
    public var pace: LinkPace {
        get { paceWord.load(ordering: .relaxed) ? .real : .off }
        set { paceWord.store(newValue == .real, ordering: .relaxed) }
    }

    /// Changes figures of the link.
    ///
    /// - Throws: ERANGE for a figure outside of `Link.figures`; then nothing changes.
    public func updateLink(_ change: (inout Link) -> Void) throws(Errno) {
        try linkFigures.withLock { link throws(Errno) in
            var changed = link
            change(&changed)
            guard changed.isValid else { throw .outOfRange }
            link = changed
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

extension Machine {
    /// Memory of a device that a driver hands out by other means than the device's file. It is empty at first, has at
    /// most the size of the node, is always bound to the node, and no task's policy applies. Its pages move away as all
    /// others if the node is removed.
    public func makeMemory(of device: Device) -> Buffer {
        system.makeBuffer(
            tables: tables, policy: .bind(device.node.id),
            effective: EffectivePolicy(mode: .bind, nodes: NodeMask([device.node.index])),
            fixedSize: device.memory.fixedSize)
    }

    /// The device `name`, or nil if there is none.
    public func device(named name: String) -> Device? { devices.first { $0.name == name } }

    /// Brings every block of a device online.
    ///
    /// - Throws: EBUSY while another transition is in progress or a block is going offline, ENODEV if the device is
    ///   gone.
    public func online(_ device: Device) throws(Errno) { try online(device, as: .online) }

    /// Brings every block online that may be in the zone.
    func online(_ device: Device, as type: OnlineType) throws(Errno) {
        try change(device, through: .onlineInProgress, orElse: .onlineFailed) { () throws(Errno) in
            for number in blockNumbers(of: device.node) {
                guard let block = block(number), block.state != .online else { continue }
                do throws(Errno) { try online(block, as: type) } catch .invalidArgument { continue }
            }
        }
    }

    /// Takes every block of a device offline, the last one first. Blocks until its pages have moved away.
    ///
    /// - Throws: EBUSY while another transition is in progress or if a page cannot move, EINTR when cancelled, ENODEV
    ///   if the device is gone; blocks that are offline by then stay offline.
    public func offline(
        _ device: Device, account: MigrationAccount? = nil, isCancelled: () -> Bool = { false }
    ) throws(Errno) {
        try change(device, through: .offlineInProgress, orElse: .offlineFailed) { () throws(Errno) in
            for number in blockNumbers(of: device.node).reversed() {
                guard let block = block(number), block.state != .offline else { continue }
                do throws(Errno) {
                    try offline(block, account: account, isCancelled: isCancelled)
                } catch .invalidArgument {
                    // Somebody else was faster.
                }
            }
        }
    }

    /// Runs a transition, whose states are noted and announced.
    func change(
        _ device: Device, through: DeviceState, orElse failure: DeviceState, _ body: () throws(Errno) -> Void
    ) throws(Errno) {
        func tell(_ state: DeviceState) -> MachineEvent { .device(name: device.name, state: state) }
        try device.begin(through) { note(tell(through)) }
        announce(tell(through))
        do throws(Errno) {
            try body()
        } catch {
            device.end(failure) { note(tell(failure)) }
            announce(tell(failure))
            throw error
        }
        let state: DeviceState = device.node.hasMemory ? .online : .offline
        device.end(nil) { note(tell(state)) }
        announce(tell(state))
    }
}
