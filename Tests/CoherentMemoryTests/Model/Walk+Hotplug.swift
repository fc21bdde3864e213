import MachineTopology
import SystemPackage

@testable import CoherentMemory

extension Walk {
    mutating func probe() throws {
        if random.oneIn(2) {
            model.autoOnline = OnlineType.allCases.randomElement(using: &random)!
            machine.autoOnline = model.autoOnline
        }
        let size = machine.topology.blockSize
        let last = model.windows.last!.upperBound
        let address =
            UInt64.random(in: 0...last + 1, using: &random) * size + (random.oneIn(8) ? UInt64(4096) : 0)
        note("probe \(address), \(model.autoOnline)")
        let real = outcome { () throws(Errno) in try machine.probe(address: address) }
        try expect(real, model.probe(address, blockSize: size), "probe")
    }

    mutating func unplug() throws {
        if random.oneIn(3) {
            note("rescan, \(model.autoOnline)")
            try machine.rescan()
            model.rescan()
            return
        }
        let device = machine.devices.randomElement(using: &random)!
        if random.oneIn(2), device.isPresent { try changeDevice(device, isOnline: false) }
        note("remove \(device.name)")
        let real = outcome { () throws(Errno) in try machine.remove(device) }
        try expect(real, model.remove(device.memory.id, node: device.node.id), "remove")
        try expect(device.isPresent, model.nodes[device.node.id].isThere, "presence")
    }
}
