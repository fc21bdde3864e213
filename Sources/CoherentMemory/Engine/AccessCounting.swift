import LinuxSupport
import MachineTopology

extension Engine {
    /// Notes that the CPU has touched pages that a device maps; those of its memory whose turn it is move away.
    func noteRecall(_ pages: Range<UInt64>, of buffer: Buffer, from device: Device) {
        let limit = device.policy.cpuFaults
        guard limit > 0 else { return }
        let misplaced = buffer.state.withLock { state -> [UInt64] in
            guard !state.isDevice, state.hasNoPolicy, let context = state.pages.context(of: device.mmu)
            else {
                return []
            }
            var misplaced: [UInt64] = []
            for page in pages where context[page].isPresent {
                guard device.node.span.contains(context[page].pfn) else { continue }
                state.touches[page, default: PageTouches()].cpu += 1
                guard state.touches[page]!.cpu >= limit else { continue }
                state.touches[page] = nil
                misplaced.append(page)
            }
            return misplaced
        }
        let ordinary = nodes.byDistance(from: device.node).first { $0.kind == .ram && $0.hasMemory }
        guard let node = ordinary else { return }
        moveBeside(misplaced, of: buffer, to: node, for: device) { device.policy.count(toCPU: $0) }
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
            try? self.mover.migrate(buffer, ranges: ranges, [(.notOn(node.span), node)], account) {
                device.queue.isClosed
            }
            count(account.result.moved)
        }
    }
}

extension Buffer.State {
    /// Notes faults of a device on pages; those whose turn it is move when the command is done. The caller holds the buffer's
    /// lock.
    mutating func noteFaults(_ faulted: some Collection<UInt64>, by context: DeviceContext, of device: Device) {
        let limit = device.policy.deviceFaults
        guard limit > 0, !isDevice, hasNoPolicy else { return }
        for page in faulted {
            let entry = pages.table[page]
            guard entry.isPresent, !device.node.span.contains(entry.pfn) else { continue }
            touches[page, default: PageTouches()].device += 1
            guard touches[page]!.device >= limit else { continue }
            touches[page] = nil
            context.misplaced.append(page)
        }
    }
}
