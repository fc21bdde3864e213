import LinuxSupport
import MachineTopology
import Synchronization
import SystemPackage

/// When pages move because of accesses of the device or the CPU. Off in both directions until a number is set. Only
/// pages of buffers with the default policy move, because other policies determine where pages are.
public final class AccessPolicy: Sendable {
    /// The valid numbers of touches.
    public static let range = 0...1000

    private let deviceLimit = Atomic(0)
    private let cpuLimit = Atomic(0)
    private let toDevice = Atomic(0)
    private let toCPU = Atomic(0)

    /// The number of device faults on a page elsewhere after which it moves to the device; 0 for never.
    public var deviceFaults: Int { deviceLimit.load(ordering: .relaxed) }

    /// The number of CPU touches that take a page of the device's memory back from the device, after which the page
    /// moves to the nearest node of RAM; 0 for never.
    public var cpuFaults: Int { cpuLimit.load(ordering: .relaxed) }

    /// Sets ``deviceFaults``. ERANGE if it is not in ``range``.
    public func setDeviceFaults(_ count: Int) throws(Errno) {
        guard Self.range.contains(count) else { throw .outOfRange }
        deviceLimit.store(count, ordering: .relaxed)
    }

    /// Sets ``cpuFaults``. ERANGE if it is not in ``range``.
    public func setCPUFaults(_ count: Int) throws(Errno) {
        guard Self.range.contains(count) else { throw .outOfRange }
        cpuLimit.store(count, ordering: .relaxed)
    }

    /// Pages that moved to the device, and away from it. If both grow at the same pace, pages thrash.
    public var moved: (toDevice: Int, toCPU: Int) {
        (toDevice.load(ordering: .relaxed), toCPU.load(ordering: .relaxed))
    }

    func count(toDevice pages: Int) { toDevice.add(pages, ordering: .relaxed) }

    func count(toCPU pages: Int) { toCPU.add(pages, ordering: .relaxed) }
}

/// How often a page was touched from the side that it is not on.
struct PageTouches {
    var device: UInt16 = 0
    var cpu: UInt16 = 0
}

extension Machine {
    /// Notes faults of a device on pages; those whose turn it is move when the command is done. The caller holds the buffer's
    /// lock.
    func noteFaults(_ pages: some Collection<UInt64>, in state: inout Buffer.State, by context: DeviceContext) {
        let limit = context.device.policy.deviceFaults
        guard limit > 0, !state.isDevice, state.effective.mode == .default else { return }
        for page in pages {
            let entry = state.table[page]
            guard entry.isPresent, node(of: entry.pfn) !== context.device.node else { continue }
            state.touches[page, default: PageTouches()].device += 1
            guard state.touches[page]!.device >= limit else { continue }
            state.touches[page] = nil
            context.misplaced.append(page)
        }
    }

    /// Notes that the CPU has touched pages that a device maps; those of its memory whose turn it is move away.
    func noteRecall(_ pages: Range<UInt64>, of buffer: Buffer, from device: Device) {
        let limit = device.policy.cpuFaults
        guard limit > 0 else { return }
        let misplaced = buffer.state.withLock { state -> [UInt64] in
            guard !state.isDevice, state.effective.mode == .default, let context = state.context(of: device) else {
                return []
            }
            var misplaced: [UInt64] = []
            for page in pages where context[page].isPresent {
                guard node(of: context[page].pfn) === device.node else { continue }
                state.touches[page, default: PageTouches()].cpu += 1
                guard state.touches[page]!.cpu >= limit else { continue }
                state.touches[page] = nil
                misplaced.append(page)
            }
            return misplaced
        }
        guard let node = ordinaryNode(nearest: device.node) else { return }
        moveBeside(misplaced, of: buffer, to: node, for: device) { device.policy.count(toCPU: $0) }
    }

    private func ordinaryNode(nearest node: Node) -> Node? {
        (0..<nodes.count).lazy.map { self.nodes[Int(node.fallback[$0])] }.first { $0.kind == .ram && $0.hasMemory }
    }

    /// Moves pages on a thread of the device's that no command waits for. What cannot move stays.
    func moveBeside(
        _ pages: [UInt64], of buffer: Buffer, to node: Node, for device: Device,
        _ count: @escaping @Sendable (Int) -> Void
    ) {
        guard !pages.isEmpty else { return }
        var runs = PageRuns()
        for page in pages.sorted() { runs.append(page) }
        let ranges = runs.runs.map { $0.lowerBound << Page.shift..<$0.upperBound << Page.shift }
        device.queue.runBeside {
            let account = MigrationAccount(.access)
            try? self.migrate(buffer, ranges: ranges, to: node.id, account: account) { device.queue.isClosed }
            count(account.result.moved)
        }
    }
}
