import Synchronization
import SystemPackage

/// When pages move because of accesses of the device or the CPU. Off in both directions until a number is set. Only
/// pages of buffers with the default policy move, because other policies determine where pages are.
public final class AccessPolicy: Sendable {
    /// The valid numbers of touches.
    public static let range = 0...1000

    private let node: Node
    private let trace: Tracer
    private let deviceLimit = Atomic(0)
    private let cpuLimit = Atomic(0)
    private let toDevice = Atomic(0)
    private let toCPU = Atomic(0)

    init(_ node: Node, _ trace: Tracer) {
        self.node = node
        self.trace = trace
    }

    /// The number of device faults on a page elsewhere after which it moves to the device; 0 for never.
    public var deviceFaults: Int { deviceLimit.load(ordering: .relaxed) }

    /// The number of CPU touches that take a page of the device's memory back from the device, after which the page
    /// moves to the nearest node of RAM; 0 for never.
    public var cpuFaults: Int { cpuLimit.load(ordering: .relaxed) }

    /// Sets ``deviceFaults``. ERANGE if it is not in ``range``.
    public func setDeviceFaults(_ count: Int) throws(Errno) {
        guard Self.range.contains(count) else { throw .outOfRange }
        deviceLimit.store(count, ordering: .relaxed)
        trace.note(.deviceFaults, on: node, UInt64(count))
    }

    /// Sets ``cpuFaults``. ERANGE if it is not in ``range``.
    public func setCPUFaults(_ count: Int) throws(Errno) {
        guard Self.range.contains(count) else { throw .outOfRange }
        cpuLimit.store(count, ordering: .relaxed)
        trace.note(.cpuFaults, on: node, UInt64(count))
    }

    /// Pages that moved to the device, and away from it. If both grow at the same pace, pages thrash.
    public var moved: (toDevice: Int, toCPU: Int) {
        (toDevice.load(ordering: .relaxed), toCPU.load(ordering: .relaxed))
    }

    func count(toDevice pages: Int) { toDevice.add(pages, ordering: .relaxed) }

    func count(toCPU pages: Int) { toCPU.add(pages, ordering: .relaxed) }
}
