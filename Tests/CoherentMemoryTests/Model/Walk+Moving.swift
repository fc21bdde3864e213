import MachineTopology
import SystemPackage

@testable import CoherentMemory

extension Walk {
    private mutating func anyTarget() -> Int { Int.random(in: 0...machine.nodes.count, using: &random) }

    mutating func migrate(_ buffer: Buffer) throws {
        let target = anyTarget()
        var bytes: Range<UInt64>?
        if random.oneIn(2) {
            let first = UInt64.random(in: 0..<300, using: &random) * 4096
            let most: UInt64 = random.oneIn(2) ? 300 : 17
            bytes = first..<first + UInt64.random(in: 0..<most, using: &random) * 4096 + (random.oneIn(16) ? 512 : 0)
        }
        note("migrate \(bytes.map { "\($0)" } ?? "all") of \(buffer.id) to \(target)")
        let isTriedAtOnce = random.oneIn(2)
        let real = outcome { () throws(Errno) in
            if isTriedAtOnce, try machine.migrateAtOnce(buffer, bytes: bytes, to: target) { return }
            try machine.migrate(buffer, bytes: bytes, to: target)
        }
        let (expected, moved, failed) = model.migrate(buffer.id, bytes, to: target)
        try expect(real, expected, "migrate")
        guard expected.errno == nil || expected.errno == .noMemory else { return }
        let result = buffer.migration
        try expect(result.moved, moved, "pages moved")
        try expect(result.failed, failed, "pages left")
        try expect(result.state, failed == 0 ? .done : moved > 0 ? .partial : .failed, "state")
    }

    mutating func migrateNode() throws {
        let source = machine.nodes.randomElement(using: &random)!
        let target = anyTarget()
        note("migrate node \(source.id) to \(target)")
        let real = outcome { () throws(Errno) in try machine.migrate(node: source, to: target) }
        let (expected, moved) = model.migrate(node: source.id, to: target)
        try expect(real, expected, "migrate node")
        if expected.errno == nil || expected.errno == .noMemory {
            try expect(source.migration.moved, moved, "pages moved")
        }
    }

    mutating func offlineBlock() throws {
        let block = machine.block(machine.blockNumbers.randomElement(using: &random)!)!
        let node = block.node.id
        let place = model.nodes[node].numbers.firstIndex(of: block.number)!
        note("offline block \(block.number) of node \(node)")
        let inside = pages(in: block)
        let real = outcome { () throws(Errno) in try machine.offline(block) }
        let expected = model.offline(block: place, of: node, used: inside.values.reduce(0) { $0 + $1.count })
        try expect(real, expected, "offline")
        try expect(
            block.state, expected.errno == .invalidArgument || expected.errno == nil ? .offline : .online, "state")
        try adopt(moved: inside, refuges: Set(model.refuges(from: node)))
    }

    mutating func onlineBlock() throws {
        let block = machine.block(machine.blockNumbers.randomElement(using: &random)!)!
        note("online block \(block.number)")
        let place = model.nodes[block.node.id].numbers.firstIndex(of: block.number)!
        let real = outcome { () throws(Errno) in try machine.online(block) }
        try expect(real, model.online(block: place, of: block.node.id), "online")
    }

    /// Takes a whole device offline or back. Which blocks are left when it fails half-way is adopted.
    mutating func changeDevice() throws {
        let device = machine.devices.randomElement(using: &random)!
        try changeDevice(device, isOnline: random.oneIn(2))
    }

    mutating func changeDevice(_ device: Device, isOnline: Bool) throws {
        let node = device.node.id
        guard model.nodes[node].isThere else {
            note("\(device.name), which is gone")
            try expect(failure { () throws(Errno) in try machine.online(device) }, .operationNotSupportedByDevice, "on")
            try expect(
                failure { () throws(Errno) in try machine.offline(device) }, .operationNotSupportedByDevice, "off")
            return
        }
        let blocks = machine.blockNumbers(of: device.node)
        if isOnline {
            note("online \(device.name)")
            let real = outcome { () throws(Errno) in try machine.online(device) }
            var expected: Result<Void, Errno> = .success(())
            for place in 0..<blocks.count where !model.nodes[node].blocks[place] && expected.errno == nil {
                expected = model.online(block: place, of: node)
            }
            try expect(real, expected, "online device")
            try expect(device.state, expected.errno == nil ? .online : .onlineFailed, "state")
            return
        }
        note("offline \(device.name)")
        let used = model.nodes[node].used
        let room = model.refuges(from: node).dropFirst().reduce(0) { $0 + model.free($1) }
        let inside = blocks.map { pages(in: machine.block($0)!) }.reduce(into: [UInt64: Set<UInt64>]()) {
            $0.merge($1) { $0.union($1) }
        }
        let real = outcome { () throws(Errno) in try machine.offline(device) }
        try expect(real, used <= room ? .success(()) : .failure(.resourceBusy), "offline device")
        try expect(device.state, used <= room ? .offline : .offlineFailed, "state")
        for (place, number) in blocks.enumerated() {
            let isOnline = machine.block(number)!.state == .online
            if used <= room, isOnline { throw fail("block \(number) is still online") }
            model.nodes[node].blocks[place] = isOnline
        }
        try adopt(moved: inside, refuges: Set(model.refuges(from: node)))
        for place in model.nodes.indices {
            model.nodes[place].used = machine.nodes[place].usage.allocated
            model.nodes[place].statistics = machine.nodes[place].statistics
            model.nodes[place].statistics.refusedFallback = 0
        }
    }

    /// The pages of each buffer whose frames are in a block.
    private func pages(in block: MemoryBlock) -> [UInt64: Set<UInt64>] {
        let size = machine.topology.blockSize
        let addresses = block.number * size..<(block.number + 1) * size
        var inside: [UInt64: Set<UInt64>] = [:]
        for buffer in buffers {
            for run in machine.runs(of: buffer) where !run.isPoisoned {
                let part = (run.physicalAddress..<run.physicalAddress + run.length).clamped(to: addresses)
                guard !part.isEmpty else { continue }
                let first = (run.offset + part.lowerBound - run.physicalAddress) / 4096
                inside[buffer.id, default: []].formUnion(first..<first + UInt64(part.count) / 4096)
            }
        }
        return inside
    }

    /// Takes over where pages that had to move went, after a look at whether they may be there.
    private mutating func adopt(moved: [UInt64: Set<UInt64>], refuges: Set<Int>) throws {
        for buffer in buffers {
            let real = nodes(of: buffer)
            for (page, expected) in model.buffers[buffer.id]!.pages {
                guard let node = real[page] else { throw fail("page \(page) of buffer \(buffer.id) is gone") }
                if node == expected.node { continue }
                guard moved[buffer.id]?.contains(page) == true, refuges.contains(node) else {
                    throw fail("page \(page) of buffer \(buffer.id) went from node \(expected.node) to \(node)")
                }
                model.buffers[buffer.id]!.pages[page]!.node = node
            }
        }
    }
}
