import AttributeTree
import CoherentMemory
import LinuxSupport
import MachineTopology
import SystemPackage
import TestSupport
import Testing

@testable import CoherentTree

private let pci = "devices/pci0000:01/0000:01:00.0"
private let dax = pci + "/dax0.0"
private let drivers = "bus/dax/drivers"

/// The devices on their buses, without a mount.
@Suite("Faces of devices") struct DeviceFaceTests {
    /// Two nodes with CPUs, a device near the second, and one of CXL whose memory is the driver's.
    private func scene() throws -> Scene {
        try Scene(
            TopologyText.file(
                block: "2M",
                [
                    TopologyText.ram(0, "16M", cpus: "0-1"), TopologyText.ram(1, "16M", cpus: "2-3"),
                    TopologyText.coherent(2, "8M", "vendor = 0x10de", "device_id = 0x2342", "class = 0x030200"),
                    TopologyText.coherent(3, "8M", "bus = \"cxl\"", "isolation = \"driver\""),
                ], distances: [(0, 2, 80)]))
    }

    private func events(_ scene: Scene, _ body: () throws -> Void) throws -> [String] {
        let reader = scene.services.uevents.open(by: Uevent.Viewer(Opener()))
        defer { scene.services.uevents.close(reader) }
        try body()
        let text = String(decoding: scene.services.uevents.take(reader, size: 1 << 20) ?? [], as: UTF8.self)
        return text.split(separator: "\n\n").map { event in
            let lines = event.split(separator: "\n")
            func value(_ name: String) -> Substring {
                lines.first { $0.hasPrefix(name + "=") }?.dropFirst(name.utf8.count + 1) ?? ""
            }
            let driver = value("DRIVER")
            return "\(value("ACTION")) \(value("DEVPATH").split(separator: "/").last ?? "")"
                + (driver.isEmpty ? "" : " \(driver)")
        }
    }

    @Test("The PCI device: ids, locality, configuration space")
    func pciDevice() throws {
        let scene = try scene()
        for (name, text) in [
            ("vendor", "0x10de"), ("device", "0x2342"), ("subsystem_vendor", "0x10de"), ("class", "0x030200"),
            ("numa_node", "1"), ("local_cpulist", "2-3"),
            ("modalias", "pci:v000010DEd00002342sv000010DEsd00002342bc03sc02i00"),
        ] { #expect(try scene.word("\(pci)/\(name)") == text, "\(name)") }
        #expect(try scene.text("\(pci)/uevent").hasPrefix("DRIVER=cdm\nPCI_CLASS=30200\nPCI_ID=10DE:2342\n"))
        let bytes = try scene.attribute("\(pci)/config").bytes()
        #expect(bytes.count == 256)
        #expect(bytes[0..<4] == [0xde, 0x10, 0x42, 0x23] && bytes[9..<12] == [0x00, 0x02, 0x03])
        #expect(try scene.word("devices/pci0001:01/0001:01:00.0/class") == "0x050210")
        #expect(throws: Errno.permissionDenied) { try scene.text("\(pci)/config") }
    }

    @Test("Memory goes from kmem to device_dax and back, with its blocks and its isolation")
    func conversion() throws {
        let scene = try scene()
        let node = "devices/system/node/node2"
        let blocks = scene.machine.blockNumbers
        #expect(throws: Errno.resourceBusy) { try scene.store("dax0.0", in: "\(drivers)/kmem/unbind") }
        try scene.store("offline", in: "class/cdm/cdm0/state")
        try scene.store("restricted", in: "\(node)/cdm/isolation")
        let away = try events(scene) { try scene.store("dax0.0", in: "\(drivers)/kmem/unbind") }
        #expect(away == ["unbind dax0.0 kmem"] + (16..<20).map { "remove memory\($0)" } + ["change node2"])
        #expect(scene.machine.blockNumbers == blocks.filter { !(16..<20).contains($0) })
        #expect(throws: Errno.noSuchFileOrDirectory) { try scene.item("\(dax)/driver") }
        // Nobody has the memory.
        #expect(throws: Errno.operationNotSupportedByDevice) { try scene.store("none", in: "\(node)/cdm/isolation") }
        #expect(throws: Errno.operationNotSupportedByDevice) {
            try scene.store("\(16 * 2 << 20)", in: "devices/system/memory/probe")
        }
        #expect(throws: Errno.operationNotSupportedByDevice) { try scene.store("dax0.0", in: "\(drivers)/kmem/unbind") }

        // It began with kmem: another driver has to be told its name.
        #expect(throws: Errno.operationNotSupportedByDevice) {
            try scene.store("dax0.0", in: "\(drivers)/device_dax/bind")
        }
        try scene.store("dax0.0", in: "\(drivers)/device_dax/new_id")
        #expect(scene.machine.devices[0].driver == .deviceDAX)
        #expect(throws: Errno.resourceBusy) { try scene.store("dax0.0", in: "\(drivers)/device_dax/bind") }
        #expect(try scene.text("\(node)/cdm/isolation").contains("[driver]"))
        #expect(try scene.word("devices/system/memory/memory16/state") == "offline")
        #expect(scene.machine.devices[0].memoryUsage.free == 2048)

        try scene.store("online", in: "devices/system/memory/auto_online_blocks")
        try scene.store("dax0.0", in: "\(drivers)/device_dax/remove_id")
        try scene.store("dax0.0", in: "\(drivers)/device_dax/unbind")
        let back = try events(scene) { try scene.store("dax0.0", in: "\(drivers)/kmem/bind") }
        #expect(back.filter { !$0.hasPrefix("o") && !$0.hasPrefix("change cdm0") }.first == "change node2")
        #expect(back.contains("bind dax0.0 kmem") && back.contains("online memory19"))
        #expect(try scene.text("\(node)/cdm/isolation").contains("[restricted]"))
        #expect(try scene.word("devices/system/node/has_memory") == "0-2")
        #expect(scene.machine.blockNumbers == blocks)
        try scene.machine.checkInvariants()
    }

    @Test("A word of isolation changes the driver, too")
    func isolation() throws {
        let scene = try scene()
        let told = try events(scene) { try scene.store("driver", in: "devices/system/node/node2/cdm/isolation") }
        #expect(told.prefix(3) == ["change node2", "unbind dax0.0 kmem", "bind dax0.0 device_dax"])
        guard case .link(let driver) = try scene.item("\(dax)/driver") else { return }
        #expect(driver.hasSuffix("bus/dax/drivers/device_dax"))
        #expect(try scene.text("\(dax)/uevent") == "DRIVER=device_dax\nMODALIAS=dax:t0\n")
        #expect(throws: Errno.noSuchFileOrDirectory) { try scene.item("\(drivers)/kmem/dax0.0") }
    }

    @Test("Memory that began with the driver becomes an ordinary node, and is the driver's again after a rescan")
    func fromDriver() throws {
        let scene = try scene()
        let device = scene.machine.devices[1]
        try scene.machine.allocate(
            device.memory, bytes: 0..<4096, keepsSize: true, origin: Origin(pid: 0, node: 0))
        #expect(throws: Errno.resourceBusy) { try scene.store("dax1.0", in: "\(drivers)/device_dax/unbind") }
        scene.machine.discard(device.memory, bytes: 0..<4096)
        try scene.store("dax1.0", in: "\(drivers)/device_dax/unbind")
        try scene.store("dax1.0", in: "\(drivers)/kmem/new_id")
        #expect(try scene.text("devices/system/node/node3/cdm/isolation").hasPrefix("[none]"))
        let gone = try events(scene) { try scene.store("1", in: "devices/pci0001:01/0001:01:00.0/remove") }
        #expect(
            gone.suffix(15) == [
                "remove node3", "unbind dax1.0 kmem", "remove dax1.0", "unbind dax_region1 cxl_dax_region",
                "remove dax_region1", "unbind region1 cxl_region", "remove region1", "remove decoder1.0",
                "unbind endpoint1 cxl_port", "remove endpoint1", "unbind mem1 cxl_mem", "remove mem1",
                "unbind 0001:01:00.0 cxl_pci", "remove 0001:01:00.0", "remove cdm1",
            ])
        for path in ["devices/pci0001:01/0001:01:00.0", "bus/pci/devices/0001:01:00.0", "bus/cxl/devices/mem1"] {
            #expect(throws: Errno.noSuchFileOrDirectory, "\(path)") { try scene.item(path) }
        }
        let came = try events(scene) { try scene.store("1", in: "bus/pci/rescan") }
        #expect(came.contains("add 0001:01:00.0") && came.contains("bind dax1.0 device_dax"))
        #expect(device.driver == .deviceDAX && device.memoryUsage.free == 2048)
        // A device whose memory is the driver's can be unplugged, too.
        try scene.store("1", in: "class/cdm/cdm1/remove")
        try scene.machine.checkInvariants()
    }

    @Test("A link that is down takes the device off its buses")
    func linkDown() throws {
        let scene = try scene()
        try scene.store("dax0.0", in: "\(drivers)/device_dax/new_id")
        try scene.store("down", in: "class/cdm/cdm0/link/state")
        #expect(throws: Errno.noSuchFileOrDirectory) { try scene.item(pci) }
        #expect(throws: Errno.operationNotSupportedByDevice) { try scene.store("dax0.0", in: "\(drivers)/kmem/unbind") }
        #expect(throws: Errno.operationNotSupportedByDevice) { try scene.store("dax0.0", in: "\(drivers)/kmem/bind") }
        try scene.store("up", in: "class/cdm/cdm0/link/state")
        try scene.store("1", in: "class/cdm/rescan")
        #expect(try scene.word("\(dax)/target_node") == "2")
    }

    @Test("What drivers and regions refuse")
    func refusals() throws {
        let scene = try scene()
        for name in ["dax0", "dax0.0.0", "dax00.0", "dax0.-1", "dax4294967296.0", "0.0", "dax0.0 ", "dax.", ""] {
            #expect(throws: Errno.invalidArgument, "\(name)") { try scene.store(name, in: "\(drivers)/kmem/new_id") }
            #expect(throws: Errno.invalidArgument, "\(name)") { try scene.store(name, in: "\(drivers)/kmem/remove_id") }
            #expect(throws: (any Error).self, "\(name)") { try scene.store(name, in: "\(drivers)/kmem/bind") }
            #expect(throws: (any Error).self, "\(name)") { try scene.store(name, in: "\(drivers)/kmem/unbind") }
        }
        // A name of what is not there waits for it, and there is room for so many.
        for number in 0..<4096 { try scene.store("dax\(number).1", in: "\(drivers)/kmem/new_id") }
        #expect(throws: Errno.noMemory) { try scene.store("dax0.2", in: "\(drivers)/kmem/new_id") }
        try scene.store("dax7.1", in: "\(drivers)/kmem/remove_id")
        try scene.store("dax0.2", in: "\(drivers)/kmem/new_id")
        for (file, text, error) in [
            ("dax_region/create", "1", Errno.noSpace), ("dax_region/create", "2", .invalidArgument),
            ("dax_region/delete", "dax0.0", .resourceBusy), ("dax_region/delete", "dax0.1", .noSuchAddressOrDevice),
            ("dax0.0/size", "0", .resourceBusy), ("dax0.0/size", "4096", .invalidArgument),
            ("dax0.0/align", "4096", .resourceBusy), ("dax0.0/align", "2097152", .invalidArgument),
            ("dax0.0/mapping", "0-1fffff", .noMemory), ("dax0.0/mapping", "0-1ffffe", .noSuchAddressOrDevice),
            ("dax0.0/mapping", "1-0", .noSuchAddressOrDevice), ("dax0.0/mapping", "0-ffffffffffffffff", .noMemory),
        ] { #expect(throws: error, "\(file) \(text)") { try scene.store(text, in: "\(pci)/\(file)") } }
        try scene.store("offline", in: "class/cdm/cdm0/state")
        try scene.store("dax0.0", in: "\(drivers)/kmem/unbind")
        try scene.store("8388608", in: "\(dax)/size")
        #expect(throws: Errno.noSpace) { try scene.store("18446744073707454464", in: "\(dax)/size") }
        #expect(throws: Errno.notSupported) { try scene.store("2097152", in: "\(dax)/size") }
    }

    @Test("The figures of a DAX device and of a memory device of CXL")
    func figures() throws {
        let scene = try scene()
        let start = try #require(UInt64(scene.word("\(dax)/resource").dropFirst(2), radix: 16))
        #expect(start == 16 * 2 << 20)
        #expect(try scene.word("\(dax)/mapping0/start") == scene.word("\(dax)/resource"))
        #expect(try scene.word("\(dax)/mapping0/end") == "0x" + String(start + (8 << 20) - 1, radix: 16))
        #expect(try scene.word("\(dax)/size") == "8388608" && scene.word("\(pci)/dax_region/size") == "8388608")
        #expect(try scene.word("\(dax)/numa_node") == "1" && scene.word("\(dax)/target_node") == "2")
        let memory = "devices/pci0001:01/0001:01:00.0/mem1"
        #expect(try scene.word("\(memory)/ram/size") == "0x800000" && scene.word("\(memory)/pmem/size") == "0x0")
        #expect(try scene.word("\(memory)/serial") == "0x1" && scene.word("\(memory)/security/state") == "disabled")
        // The poison is that of the device's own file.
        try scene.store("0x1000", in: "kernel/debug/cxl/mem1/inject_poison")
        #expect(try scene.text("kernel/debug/cdm/cdm1/poison_list").hasPrefix("0x1000 0x1000 "))
        try scene.store("0x1000", in: "kernel/debug/cxl/mem1/clear_poison")
        #expect(try scene.text("kernel/debug/cdm/cdm1/poison_list").isEmpty)
        #expect(throws: Errno.invalidArgument) { try scene.store("0x1001", in: "kernel/debug/cxl/mem1/inject_poison") }
    }

    @Test("A device that is an initiator has the best access to its own memory; access1 counts CPUs alone")
    func initiators() throws {
        let scene = try Scene(
            TopologyText.file(
                block: "2M",
                [
                    TopologyText.ram(0, "16M", cpus: "0-1"),
                    TopologyText.coherent(1, "8M", "[node.initiator]", "read_bandwidth = 4000000"),
                    TopologyText.coherent(2, "0", "[node.initiator]"), TopologyText.ram(3, "8M"),
                ], distances: [(2, 3, 15)]))
        let nodes = "devices/system/node"
        func names(_ path: String) throws -> [String] {
            guard case .directory(let directory) = try scene.item("\(nodes)/\(path)") else { return [] }
            return directory.names.filter { $0.hasPrefix("node") }
        }
        #expect(try scene.word("\(nodes)/has_generic_initiator") == "1-2")
        #expect(try names("node1/access0/initiators") == ["node1"] && names("node1/access1/initiators") == ["node0"])
        #expect(try scene.word("\(nodes)/node1/access0/initiators/read_bandwidth") == "4000000")
        #expect(try scene.word("\(nodes)/node1/access1/initiators/read_bandwidth") == "60000")
        try scene.store("1000", in: "class/cdm/cdm0/link/read_bandwidth")
        #expect(try scene.word("\(nodes)/node1/access0/initiators/read_bandwidth") == "4000000")
        #expect(try scene.word("\(nodes)/node1/access1/initiators/read_bandwidth") == "1000")
        // One without memory is an initiator all the same, of the memory that is nearest to it.
        #expect(try names("node2/access0/initiators").isEmpty && names("node2/access0/targets") == ["node3"])
        #expect(try names("node2/access1/targets").isEmpty)
        #expect(try names("node3/access0/initiators") == ["node2"] && names("node3/access1/initiators") == ["node0"])
        #expect(try scene.word("\(nodes)/node3/access0/initiators/read_latency") == "131")
        #expect(try names("node0/access0/targets") == ["node0"])
        #expect(try names("node0/access1/targets") == ["node0", "node1", "node3"])
        #expect(try scene.word("devices/pci0000:01/0000:01:00.0/numa_node") == "0")
        try scene.store("1", in: "class/cdm/cdm1/remove")
        #expect(try scene.word("\(nodes)/has_generic_initiator") == "1")
    }

    @Test("Binding, unbinding and unplugging at once leave the machine whole")
    func races() async throws {
        let scene = try scene()
        let machine = scene.machine
        let device = machine.devices[0]
        machine.autoOnline = .online
        await withTaskGroup(of: Void.self) { group in
            let works: [@Sendable () -> Void] = [
                { try? machine.unbind(device, from: .kmem) }, { try? machine.unbind(device, from: .deviceDAX) },
                { try? machine.bind(device, to: .kmem) }, { try? machine.bind(device, to: .deviceDAX) },
                { try? machine.offline(device) }, { try? machine.remove(device) }, { try? machine.rescan() },
                { try? machine.setIsolation(.driver, of: device.node) },
                { try? machine.setIsolation(.exclusive, of: device.node) },
            ]
            for work in works {
                group.addTask { for _ in 0..<200 { work() } }
            }
        }
        try machine.checkInvariants()
        try? machine.rescan()
        if device.driver == nil { try machine.bind(device, to: .kmem) }
        #expect(device.driver != nil)
        try machine.checkInvariants()
    }
}
