import MachineTopology
import Synchronization
import SystemPackage
import Testing

@testable import CoherentMemory

/// A device whose link is cut takes its pages with it, and nothing else.
@Suite("Link loss")
struct LinkLossTests {
    private let page = [UInt8](repeating: 0x5a, count: 4096)

    @Test("What was on the device is lost, what was elsewhere is not, and new memory comes back")
    func cut() throws {
        let machine = try Machine(ram: 4, coherent: [4])
        let (node, device) = (machine.nodes[1], machine.devices[0])
        let buffer = try machine.makeBuffer("bind:1", size: 8 * 4096)
        try machine.store([UInt8](repeating: 0x5a, count: 8 * 4096), to: buffer, at: 0)
        try machine.store(page, to: device.memory, at: 0)
        try machine.migrate(buffer, bytes: 0..<2 * 4096, to: 0)
        try machine.poison(buffer, bytes: 7 * 4096..<8 * 4096, origin: onNode0)
        machine.setHugePages(1, of: node)

        var lost: [UInt64: [Range<UInt64>]] = [:]
        machine.cutLink(of: device) { for memory in $0 { lost[memory.buffer.id] = memory.ranges } }
        #expect(lost.count == 2)
        let expected: [Range<UInt64>] = [8192..<28672]
        #expect(lost[buffer.id] == expected)
        #expect(lost[device.memory.id]?.map(\.upperBound) == [4096])
        #expect(device.linkState == .down && device.isSevered && !device.isPresent && device.presence == 0)
        #expect(!node.hasMemory && machine.blockNumbers(of: node).isEmpty && machine.block(2) == nil)
        #expect(try machine.bytes(of: buffer, at: 4096, count: 4096) == page)
        for place: UInt64 in 2..<8 {
            #expect(
                failure { () throws(Errno) in try machine.bytes(of: buffer, at: place * 4096, count: 1) } == .ioError)
        }
        #expect(try machine.store(page, to: buffer, at: 3 * 4096, isGrowing: false) == 4096)
        #expect(machine.runs(of: buffer).filter(\.isLost).map(\.length) == [6 * 4096])
        let fresh = try machine.makeBuffer("local", size: 4096)
        #expect(failure { () throws(Errno) in try machine.migrate(buffer, to: 1) } == .operationNotSupportedByDevice)
        #expect(failure { () throws(Errno) in try machine.offline(device) } == .operationNotSupportedByDevice)
        #expect(
            failure { () throws(Errno) in try machine.poison(address: 4 << 20) } == .noSuchAddressOrDevice)
        try machine.checkInvariants()

        try machine.rescan()
        #expect(!device.isPresent)
        machine.autoOnline = .online
        machine.restoreLink(of: device)
        #expect(!device.isPresent)
        try machine.rescan()
        #expect(device.isPresent && !device.isSevered && node.usage.free == node.usage.present && node.hasMemory)
        #expect(machine.failedRanges(of: node).isEmpty && node.usage.hugePool.total == 0)
        // What was lost stays so, until it is taken out of the buffer.
        #expect(failure { () throws(Errno) in try machine.bytes(of: buffer, at: 2 * 4096, count: 1) } == .ioError)
        machine.punch(buffer, bytes: 2 * 4096..<8 * 4096)
        #expect(try machine.bytes(of: buffer, at: 2 * 4096, count: 4096) == [UInt8](repeating: 0, count: 4096))
        #expect(try machine.bytes(of: device.memory, at: 0, count: 4096) == [UInt8](repeating: 0, count: 4096))
        machine.remove(fresh)
        try machine.checkInvariants()
        machine.cutLink(of: device)
        machine.cutLink(of: device)
        try machine.checkInvariants()
    }

    @Test("Huge, reserved and contiguous pages go, too")
    func kinds() throws {
        let machine = try Machine(ram: 8, coherent: [12], contiguous: 2)
        let (node, device) = (machine.nodes[1], machine.devices[0])
        machine.setHugePages(2, of: node)
        let buffers = try [HugeMode.always, .pool, .never].map { mode in
            let buffer = try machine.makeBuffer("bind:1", size: HugePage.size)
            try machine.setHugeMode(mode, of: buffer)
            return buffer
        }
        try machine.makeContiguous(buffers[2], on: 1)
        for buffer in buffers { try machine.store(page, to: buffer, at: 4096) }
        try machine.offline(machine.block(4)!)
        machine.cutLink(of: device)
        for buffer in buffers {
            #expect(failure { () throws(Errno) in try machine.bytes(of: buffer, at: 0, count: 1) } == .ioError)
            #expect(buffer.residentPages == 0)
        }
        try machine.checkInvariants()
        for buffer in buffers { machine.remove(buffer) }
        try machine.checkInvariants()
        machine.restoreLink(of: device)
        try machine.rescan()
        try machine.online(device)
        #expect(node.usage.free == node.usage.present && machine.memory.tables.inUse == 0)
        try machine.checkInvariants()
    }

    @Test("Cuts amid migrations, offlining, faults and write-back", arguments: 1...4)
    func together(seed: UInt64) throws {
        let machine = try Machine(ram: 16, coherent: [4])
        machine.autoOnline = .online
        let device = machine.devices[0]
        let pages = 256
        let buffer = try machine.makeBuffer("prefer:1", size: UInt64(pages) * 4096)
        let cache = PageCache(machine, mapping: [buffer])
        let isDone = Atomic(false)
        runThreads([
            {
                for _ in 0..<40 {
                    machine.cutLink(of: device)
                    machine.restoreLink(of: device)
                    while failure({ () throws(Errno) in try machine.rescan() }) != nil {}
                    for run in machine.runs(of: buffer) where run.isLost {
                        cache.truncate(buffer, pages: Int(run.offset / 4096)..<Int((run.offset + run.length) / 4096))
                        machine.punch(buffer, bytes: run.offset..<run.offset + run.length)
                    }
                }
                isDone.store(true, ordering: .releasing)
            },
            {
                var target = 0
                while !isDone.load(ordering: .acquiring) {
                    try? machine.migrate(buffer, to: target)
                    target = 1 - target
                }
            },
            {
                while !isDone.load(ordering: .acquiring) {
                    try? machine.offline(device)
                    try? machine.online(device)
                }
            },
            {
                var random = SplitMix64(seed: seed)
                while !isDone.load(ordering: .acquiring) {
                    let page = Int.random(in: 0..<pages, using: &random)
                    let value = UInt8.random(in: 1...255, using: &random)
                    #expect(cache.fill(buffer, page: page, with: value) != false)
                    if value < 16 { cache.writeBack(buffer, page: page, drops: value < 8) }
                }
            },
        ])
        for page in 0..<pages { cache.writeBack(buffer, page: page, drops: true) }
        try machine.checkInvariants()
    }

    @Test("Errors of the link stall it, and correctable errors take a page out of use at the threshold")
    func errors() throws {
        let machine = try Machine(ram: 4, coherent: [4])
        let device = machine.devices[0]
        try machine.injectLinkErrors(3, of: device)
        #expect(device.errors.counts.link == 3 && device.stalledNanoseconds == 3_000_000)
        #expect(failure { () throws(Errno) in try machine.injectLinkErrors(0, of: device) } == .outOfRange)

        let buffer = try machine.makeBuffer("bind:1", size: 4096)
        try machine.store(page, to: buffer, at: 0)
        let address = machine.runs(of: buffer)[0].physicalAddress
        let local = machine.deviceAddress(address, of: device)
        try machine.injectCorrectable(49, at: local, of: device)
        #expect(machine.failedRanges(of: device.node).isEmpty)
        try machine.injectCorrectable(1, at: local, of: device)
        #expect(machine.failedRanges(of: device.node).map(\.physicalAddress) == [address])
        #expect(try machine.bytes(of: buffer, at: 0, count: 4096) == page)
        #expect(device.errors.counts.correctable == 50)
        for bad: UInt64 in [4096 + 1, 1 << 40] {
            #expect(failure { () throws(Errno) in try machine.injectPoison(bad, of: device) } == .invalidArgument)
        }
        try machine.injectPoison(local, of: device)
        #expect(device.errors.counts.uncorrectable == 1)
        try machine.checkInvariants()
    }

    @Test("The seed of the error model determines what fails")
    func model() throws {
        func failures(seed: UInt64) throws -> [UInt64] {
            let machine = try Machine(ram: 4, coherent: [8])
            let device = machine.devices[0]
            device.errors.seed = seed
            #expect(!device.errors.begin())
            try device.errors.update { $0.uncorrectable = 1_000_000 }
            #expect(failure { () throws(Errno) in try device.errors.update { $0.correctable = -1 } } == .outOfRange)
            #expect(device.errors.begin() && !device.errors.begin())
            machine.runErrorModel(of: device) { device.errors.counts.uncorrectable >= 8 }
            try machine.checkInvariants()
            return machine.failedRanges(of: device.node).map(\.physicalAddress)
        }
        #expect(try failures(seed: 7) == failures(seed: 7))
        #expect(try failures(seed: 7) != failures(seed: 8))
    }
}
