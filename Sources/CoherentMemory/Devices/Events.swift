import LinuxSupport
import MachineTopology

/// A change that the machine reports to its observer.
public enum MachineEvent: Sendable, Hashable {
    /// A memory block changed its state.
    case block(UInt64, MemoryBlockState)
    /// A device's state word changed.
    case device(name: String, state: DeviceState)
    /// The capabilities of a node's memory have changed to these.
    case capabilities(node: Int, NodeCapabilities)
    /// A migration of pages of a buffer began or ended.
    case migration(buffer: UInt64)
    /// A migration of a whole node began or ended.
    case nodeMigration(node: Int)
    /// A memory block was added or removed.
    case blockAdded(UInt64)
    case blockRemoved(UInt64)
    /// A node was added or removed.
    case nodeAdded(Int)
    case nodeRemoved(Int)
    /// A device was added or removed.
    case deviceAdded(String)
    case deviceRemoved(String)
    /// The memory of a device got a driver, or lost it.
    case bound(device: String, MemoryDriver)
    case unbound(device: String, MemoryDriver)
    /// The link of a device went down, and its node with it, or came up again.
    case link(name: String, LinkState)
    /// The link of a device had errors, and recovered.
    case linkErrors(name: String, count: UInt64)
    /// A device has completed a command of its queue, or the command has failed.
    case commandCompleted(device: String)
    /// A page failed, or is in service again.
    case pageFailed(PageFailure)
}

/// Who is told what happens to the machine.
final class Events: Sendable {
    private struct Listeners {
        var observer: (@Sendable (MachineEvent) -> Void)?
        var recorder: (@Sendable (MachineEvent) -> Void)?
    }

    private let listeners = Mutex(Listeners())
    private let nodes: NodeMap
    private let trace: Tracer

    init(_ nodes: NodeMap, _ trace: Tracer) {
        self.nodes = nodes
        self.trace = trace
    }

    func setObserver(_ observer: @escaping @Sendable (MachineEvent) -> Void) {
        listeners.withLock { $0.observer = observer }
    }

    func setRecorder(_ recorder: @escaping @Sendable (MachineEvent) -> Void) {
        listeners.withLock { $0.recorder = recorder }
    }

    /// Tells the recorder, with a lock of the machine held.
    func note(_ event: MachineEvent) {
        trace.note(event, nodes)
        listeners.withLock { $0.recorder }?(event)
    }

    /// Tells the observer, without locks.
    func announce(_ event: MachineEvent) {
        switch event {
        case .block, .capabilities, .nodeAdded, .nodeRemoved, .bound, .unbound, .link: nodes.updateWatermarks()
        case .pageFailed(let failure): trace.note(failure)
        default: break
        }
        listeners.withLock { $0.observer }?(event)
    }
}
