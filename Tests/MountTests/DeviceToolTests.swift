import Foundation
import SystemPackage
import TestSupport
import Testing

extension Mounts {
    /// lspci, daxctl, cxl and lstopo see the devices of the machine.
    @Suite("Tools for devices")
    struct DeviceToolTests {
        private static let machine = TopologyText.file(
            block: "16M",
            [
                TopologyText.ram(0, "128M", cpus: "0"), TopologyText.ram(1, "128M", cpus: "1"),
                TopologyText.coherent(
                    2, "64M", "pci = \"0009:01:00.0\"", "vendor = 0x10de", "device_id = 0x2342", "class = 0x030200"),
                TopologyText.coherent(3, "64M", "bus = \"cxl\"", "isolation = \"driver\""),
            ], distances: [(0, 3, 80)])

        @discardableResult
        private func inside(_ mount: TestMount, _ command: String) throws -> Outcome {
            try run([Host.cdmfs, "run", "--mount", mount.path, "--", "sh", "-c", "LC_ALL=C; export LC_ALL; \(command)"])
        }

        @Test("lspci lists the devices, of a mount and within run", .enabled(if: Host.has("lspci")))
        func lspci() throws {
            try TestMount.with(Self.machine) { mount in
                let expected = "0001:01:00.0 0502: 1234:0cd0\n0009:01:00.0 0302: 10de:2342\n"
                let outcome = try run(
                    ["lspci", "-n", "-A", "linux-sysfs", "-O", "sysfs.path=\(mount.path)/sys/bus/pci"])
                #expect(outcome.output == expected, "\(outcome.errors)")
                #expect(try inside(mount, "lspci -n").output == expected)
                let details = try inside(mount, "lspci -v").output
                #expect(details.contains("NUMA node 1") && details.contains("Kernel driver in use: cxl_pci"))
            }
        }

        @Test("daxctl gives the memory to a driver and back", .enabled(if: Host.has("daxctl")))
        func daxctl() throws {
            try TestMount.with(Self.machine, checkingLeaks: false) { mount in
                let listed = try inside(mount, "daxctl list -D").output
                #expect(listed.contains("\"chardev\":\"dax0.0\"") && listed.contains("\"mode\":\"system-ram\""))
                #expect(listed.contains("\"chardev\":\"dax1.0\"") && listed.contains("\"mode\":\"devdax\""))

                // Not while blocks are online.
                let busy = try inside(mount, "daxctl reconfigure-device --mode=devdax dax0.0")
                #expect(busy.errors.contains("reconfigured 0 devices"), "\(busy.errors)")
                let away = try inside(mount, "daxctl reconfigure-device --mode=devdax --force dax0.0")
                #expect(away.output.contains("\"mode\":\"devdax\""), "\(away.errors)")
                #expect(try mount.word("sys/devices/system/node/has_memory") == "0-1")
                #expect(try mount.text("sys/devices/system/node/node2/cdm/isolation").contains("[driver]"))
                try Client.pattern("store", mount.path + "/dev/cdm0", 0, "1M", 1)
                // Not while the device file has pages.
                #expect(
                    try inside(mount, "daxctl reconfigure-device --mode=system-ram dax0.0").errors
                        .contains("reconfigured 0 devices"))
                #expect(
                    try run(["fallocate", "--punch-hole", "--length", "64M", mount.path + "/dev/cdm0"]).succeeded)

                let back = try inside(mount, "daxctl reconfigure-device --mode=system-ram all")
                #expect(back.errors.contains("reconfigured 2 devices"), "\(back.errors)")
                #expect(back.output.contains("\"online_memblocks\":4") && back.output.contains("\"movable\":true"))
                #expect(try mount.word("sys/devices/system/node/has_memory") == "0-3")
                #expect(try mount.text("sys/devices/system/node/node2/cdm/isolation").contains("[exclusive]"))
                #expect(try mount.text("sys/devices/system/node/node3/cdm/isolation").contains("[none]"))
                try mount.expectAgreement()
                #expect(try inside(mount, "daxctl create-device -r 0").errors.contains("No space left on device"))
            }
        }

        @Test("cxl lists the memory device, its port, decoders and region", .enabled(if: Host.has("cxl")))
        func cxl() throws {
            try TestMount.with(Self.machine, checkingLeaks: false) { mount in
                let memories = try inside(mount, "cxl list -M")
                for part in ["\"memdev\":\"mem1\"", "\"ram_size\":67108864", "\"numa_node\":1", "0001:01:00.0"] {
                    #expect(memories.output.contains(part), "\(memories)")
                }
                let all = try inside(mount, "cxl list -BEDMRT").output
                for part in ["\"bus\":\"root0\"", "\"endpoint1\"", "\"decoder1.0\"", "\"region1\"", "\"commit\""] {
                    #expect(all.contains(part), "\(part) in \(all)")
                }
                try mount.store("1", in: "sys/class/cdm/cdm1/remove")
                #expect(!(try inside(mount, "cxl list -M").output.contains("mem1")))
                #expect(try inside(mount, "cxl list -B").output.contains("root0"))
            }
        }

        @Test("lstopo shows a device below the CPUs that are nearest", .enabled(if: Host.has("lstopo-no-graphics")))
        func lstopo() throws {
            try TestMount.with(Self.machine) { mount in
                let lines = try inside(mount, "lstopo-no-graphics --no-caches --of console").output.split(
                    separator: "\n")
                func place(_ part: String) -> Int { lines.firstIndex { $0.contains(part) } ?? -1 }
                #expect(place("Package L#0") >= 0 && place("Package L#0") < place("PCI 0009:01:00.0"), "\(lines)")
                #expect(place("PCI 0009:01:00.0") < place("Package L#1"), "\(lines)")
                #expect(place("Package L#1") < place("PCI 0001:01:00.0"), "\(lines)")
            }
        }

        @Test("No link of the devices dangles within run, and the host's devices stay what they are")
        func links() throws {
            try TestMount.with(Self.machine) { mount in
                let places = "/sys/bus /sys/module/kmem /sys/devices/pci* /sys/devices/platform /sys/class/cdm"
                let dangling = "find \(places) -xtype l 2>/dev/null | sort"
                let host = Set(try run(["sh", "-c", dangling]).output.split(separator: "\n"))
                let seen = Set(try inside(mount, dangling).output.split(separator: "\n"))
                #expect(seen.subtracting(host).isEmpty, "\(seen.subtracting(host))")
                // A view within a view is of its own machine.
                let nested = try inside(
                    mount, "'\(Host.cdmfs)' run -- sh -c 'ls /sys/bus/pci/devices; cat /dev/null; echo /dev/dax*'")
                #expect(nested.output == "0000:01:00.0\n/dev/dax0.0\n", "\(nested)")
                #expect(!FileManager.default.fileExists(atPath: "/dev/dax0.0"))
            }
        }
    }
}
