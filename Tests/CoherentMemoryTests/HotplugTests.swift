import LinuxSupport
import MachineTopology
import SystemPackage
import Testing

@testable import CoherentMemory

@Suite("Hot-add and hot-remove")
struct HotplugTests {
    @Test("The window behind the last node adds to the first, then to the others")
    func windows() throws {
        let machine = try Machine(ram: 8, coherent: [4])
        let size = machine.topology.blockSize
        #expect(machine.blockNumbers == Array(0..<6))
        // Both have less than eight blocks: node 0 may get 6 to 13, node 1 14 to 21.
        for (number, node) in [(UInt64(6), 0), (13, 0), (14, 1), (21, 1)] {
            try machine.probe(address: number * size)
            let block = try #require(machine.block(number))
            #expect(block.node.id == node && block.state == .offline)
        }
        #expect(failure { () throws(Errno) in try machine.probe(address: 22 * size) } == .invalidArgument)
        #expect(failure { () throws(Errno) in try machine.probe(address: UInt64.max - size + 1) } == .invalidArgument)
        #expect(failure { () throws(Errno) in try machine.probe(address: 7 * size + 4096) } == .invalidArgument)
        for number: UInt64 in [0, 5, 6] {
            #expect(failure { () throws(Errno) in try machine.probe(address: number * size) } == .fileExists)
        }
        #expect(machine.blockNumbers == [0, 1, 2, 3, 4, 5, 6, 13, 14, 21])
        #expect(machine.nodes.map(\.usage.present) == [2048, 1024])
        try machine.checkInvariants()
    }

    @Test("Pages land on added memory, move there and away, and are given back")
    func use() throws {
        let machine = try Machine(ram: 4, coherent: [2])
        machine.autoOnline = .online
        let size = machine.topology.blockSize
        for number: UInt64 in [3, 4, 11] { try machine.probe(address: number * size) }
        #expect(machine.nodes.map(\.usage.free) == [2048, 1024])
        let buffer = try machine.makeBuffer("bind:1", size: 4 << 20)
        let bytes = (0..<4 << 20).map { UInt8(truncatingIfNeeded: $0 / 4096 + 1) }
        #expect(try machine.store(bytes, to: buffer, at: 0) == bytes.count)
        let places = Set(machine.runs(of: buffer).map { $0.physicalAddress / size })
        #expect(places == [2, 11])
        try machine.migrate(buffer, to: 0)
        #expect(machine.pages(of: buffer) == [0: 1024])
        try machine.migrate(buffer, bytes: 0..<2 << 20, to: 1)
        try machine.offline(#require(machine.block(11)))
        #expect(try machine.bytes(of: buffer, at: 0, count: 1 << 21) == Array(bytes.prefix(1 << 21)))
        try machine.checkInvariants()
        machine.remove(buffer)
        #expect(machine.nodes.map(\.usage.allocated) == [0, 0])
        try machine.checkInvariants()
    }

    @Test("Removing a device takes node, blocks and contents; rescan brings new memory", arguments: OnlineType.allCases)
    func remove(type: OnlineType) throws {
        let machine = try Machine(ram: 8, coherent: [4])
        machine.autoOnline = type
        let device = machine.devices[0]
        let node = device.node
        try machine.store([1, 2, 3], to: device.memory, at: 0)
        let block = try #require(machine.block(4))
        #expect(failure { () throws(Errno) in try machine.remove(device) } == .resourceBusy)
        try machine.probe(address: 14 * machine.topology.blockSize)
        try machine.setIsolation(.none, of: node)
        try device.updateLink { $0.readLatency = 7 }
        #expect(failure { () throws(Errno) in try device.updateLink { $0.readLatency = 0 } } == .outOfRange)
        try machine.offline(device)
        #expect(machine.pages(of: device.memory) == [0: 1])
        try machine.remove(device)
        #expect(!node.isPresent && machine.blockNumbers == Array(0..<4) && device.memory.residentPages == 0)
        #expect(block.state == .absent && block.zone == nil)
        #expect(failure { () throws(Errno) in try machine.online(block) } == .operationNotSupportedByDevice)
        #expect(failure { () throws(Errno) in try machine.remove(device) } == .operationNotSupportedByDevice)
        #expect(
            failure { () throws(Errno) in try machine.probe(address: 4 << 21) } == .operationNotSupportedByDevice)
        #expect(failure { () throws(Errno) in try machine.makeBuffer("bind:1") } == .invalidArgument)
        try machine.checkInvariants()

        try machine.rescan()
        #expect(node.isPresent && machine.blockNumbers == Array(0..<6))
        // A device's memory is never in the kernel's own zone.
        let isOnline = type == .online || type == .onlineMovable
        #expect(device.state == (isOnline ? .online : .offline) && node.usage.free == (isOnline ? 1024 : 0))
        #expect(Isolation(node.capabilities) == .exclusive && device.link == Link())
        #expect(block.state == .absent)
        #expect(failure { () throws(Errno) in try machine.online(block) } == .operationNotSupportedByDevice)
        if isOnline { #expect(try machine.bytes(of: device.memory, at: 0, count: 3) == [0, 0, 0]) }
        try machine.checkInvariants()
    }

    @Test("By force what can move moves; where it cannot, nothing is removed")
    func force() throws {
        let machine = try Machine(ram: 4, coherent: [4])
        let device = machine.devices[0]
        let buffer = try machine.makeBuffer("bind:1", size: 4 << 20)
        let wall = try machine.makeBuffer("bind:0", size: 4 << 20)
        // One block can move, the other then cannot.
        let free = 512 << 12
        try machine.store([UInt8](repeating: 1, count: 4 << 20), to: buffer, at: 0)
        try machine.store([UInt8](repeating: 2, count: (4 << 20) - free), to: wall, at: 0)
        #expect(failure { () throws(Errno) in try machine.remove(device, isForced: true) } == .resourceBusy)
        #expect(device.isPresent && device.state == .online && device.node.usage.present == 1024)
        // What has moved stays moved.
        #expect(machine.pages(of: buffer) == [0: 512, 1: 512])
        machine.remove(wall)
        try machine.remove(device, isForced: true)
        #expect(!device.isPresent && machine.pages(of: buffer) == [0: 1024])
        try machine.checkInvariants()
    }

    @Test("Everything is noted once, in the order of Linux")
    func events() throws {
        let machine = try Machine(ram: 4, coherent: [4])
        let log = TracedMutex<[MachineEvent]>([])
        machine.setRecorder { event in log.withLock { $0.append(event) } }
        func taken() -> [MachineEvent] {
            log.withLock { log in
                defer { log = [] }
                return log
            }
        }
        let device = machine.devices[0]
        try machine.offline(device)
        _ = taken()
        try machine.remove(device)
        #expect(taken() == [.blockRemoved(2), .blockRemoved(3), .nodeRemoved(1), .deviceRemoved("cdm0")])
        machine.autoOnline = .online
        try machine.rescan()
        #expect(
            taken() == [
                .deviceAdded("cdm0"), .nodeAdded(1), .blockAdded(2), .blockAdded(3),
                .device(name: "cdm0", state: .onlineInProgress), .block(2, .online), .block(3, .online),
                .device(name: "cdm0", state: .online),
            ])
        try machine.probe(address: 4 << 21)
        #expect(taken() == [.blockAdded(4), .block(4, .online)])
        try machine.rescan()
        #expect(taken().isEmpty)
    }
}
