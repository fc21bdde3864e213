import Foundation
import SystemPackage
import Testing

private let nodes = "sys/devices/system/node"

extension Mounts {
    /// Reclaim, kswapd and automatic balancing under programs that go on using their memory.
    @Suite("Memory pressure")
    struct PressureTests {
        /// Runs `body` while a client increments counters all over a buffer, perhaps on one CPU, and checks that none is lost.
        private func whileUsing(
            _ file: String, _ length: Int, cpu: Int? = nil, _ body: () throws -> Void
        ) throws {
            let pinning = cpu.map { ["taskset", "-c", "\($0)"] } ?? []
            let client = try Child(pinning + Client.increment.command([file, length, 2]))
            #expect(try client.line() == "ready")
            do {
                try body()
            } catch {
                client.kill(SIGKILL)
                throw error
            }
            client.kill(SIGTERM)
            let outcome = try client.finish()
            #expect(outcome.succeeded && outcome["counted"] == outcome["found"], "\(outcome.output) \(outcome.errors)")
        }

        @Test("reclaim takes what nobody uses before what somebody does")
        func coldFirst() throws {
            // A tenth of a second without the CPU, and a page counts as unused. That may be, but not every time.
            #expect(try (0..<4).contains { _ in try isColdFirst() })
        }

        private func isColdFirst() throws -> Bool {
            var isColdFirst = false
            try TestMount.with(Machines.make(isolation: "none")) { mount in
                let hot = try mount.makeBuffer("hot", size: 4 << 20)
                let cold = try mount.makeBuffer("cold", size: 16 << 20)
                try Client.pattern("store", cold, 0, "16M", 8)
                try mount.store("1", in: "sys/kernel/mm/numa/demotion_enabled")
                try whileUsing(hot, 4 << 20) {
                    let isResident = try eventually { try mount.placement("hot") == [0: 1024] }
                    #expect(isResident)
                    try mount.store("12M", in: "\(nodes)/node0/reclaim")
                    isColdFirst =
                        try mount.placement("hot")[0, default: 0] > 512
                        && mount.placement("cold")[1, default: 0] > 3072 - 512
                    #expect(try mount.vmstat(0)["pgdemote_proactive"] == 3072)
                    #expect(try mount.values("sys/kernel/cdm/vmstat")["pgdemote_proactive"] == 3072)
                    let figures = try mount.meminfo(0)
                    #expect(figures["Active"]! + figures["Inactive"]! == figures["FilePages"]!)
                }
                let pressure = try mount.values("sys/kernel/cdm/pressure/node0")
                #expect(pressure["demoted"] == 3072 && pressure["referenced", default: 0] > 0)
                try Client.pattern("verify", cold, 0, "16M", 8)
                try mount.expectAgreement()
            }
            return isColdFirst
        }

        @Test("kswapd demotes when memory is short, and only where it may", arguments: ["none", "exclusive"])
        func kswapd(isolation: String) throws {
            // As above.
            #expect(try (0..<4).contains { _ in try isHotSpared(isolation: isolation) })
        }

        private func isHotSpared(isolation: String) throws -> Bool {
            var isHotSpared = true
            try TestMount.with(Machines.make(isolation: isolation)) { mount in
                try mount.store("1", in: "sys/kernel/mm/numa/demotion_enabled")
                let hot = try mount.makeBuffer("hot", size: 4 << 20)
                try whileUsing(hot, 4 << 20) {
                    let isResident = try eventually { try mount.placement("hot") == [0: 1024] }
                    #expect(isResident)
                    try mount.makeBuffer("cold", size: 0)
                    // All but a few pages of what is left.
                    let free = try mount.values("sys/kernel/cdm/pressure/node0")["free"]!
                    try mount.fill(mount.path + "/buffers/cold", limit: (free - 64) * 4096)
                    func isRelieved() throws -> Bool {
                        let pressure = try mount.values("sys/kernel/cdm/pressure/node0")
                        return pressure["free"]! >= pressure["high"]!
                    }
                    if isolation == "none" {
                        #expect(try eventually(within: 20) { try isRelieved() })
                        #expect(try mount.vmstat(0)["pgdemote_kswapd", default: 0] > 0)
                        isHotSpared = try mount.placement("hot")[0, default: 0] > 512
                    } else {
                        #expect(try !isRelieved())
                        #expect(try mount.vmstat(0)["pgdemote_kswapd"] == 0 && mount.placement("cold")[1] == nil)
                        let pressure = try mount.values("\(nodes)/node1/cdm/pressure")
                        #expect(pressure["scanned"] == 0 && pressure["kswapd_runs"] == 0)
                    }
                }
                let outcome = try run(["sh", "-c", "tr -d Z < \"$0\" | wc -c", mount.path + "/buffers/cold"])
                #expect(outcome.output.trimmingCharacters(in: .whitespacesAndNewlines) == "0")
            }
            return isHotSpared
        }

        @Test("Balancing brings pages to the node whose CPU touches them", .enabled(if: Host.has("taskset")))
        func balancing() throws {
            try TestMount.with(Machines.four, options: ["numa_balancing=1"]) { mount in
                #expect(try mount.word("sys/kernel/cdm/numa_balancing") == "1")
                try mount.store("20", in: "sys/kernel/cdm/numa_balancing_scan_period_ms")
                let file = try mount.makeBuffer("a", size: 2 << 20)
                try mount.makeBuffer("b", size: 2 << 20, policy: "prefer:0")
                let other = mount.path + "/buffers/b"
                for file in [file, other] { try whileUsing(file, 2 << 20, cpu: 0) {} }
                #expect(try mount.placement("a") == [0: 512])
                try whileUsing(file, 2 << 20, cpu: 1) {
                    try whileUsing(other, 2 << 20, cpu: 1) { () throws in
                        #expect(try eventually(within: 30) { try mount.placement("a") == [1: 512] })
                    }
                }
                // A policy has it that they are there.
                #expect(try mount.placement("b") == [0: 512])
                let events = try mount.values("sys/kernel/cdm/vmstat")
                #expect(events["numa_pages_migrated", default: 0] >= 512 && events["pgpromote_success"] == 0)
                #expect(events["numa_hint_faults", default: 0] >= 1024)
                for text in ["4", "-1", "x", ""] {
                    #expect(throws: Errno.invalidArgument) {
                        try mount.store(text, in: "sys/kernel/cdm/numa_balancing")
                    }
                }
                try mount.store("0", in: "sys/kernel/cdm/numa_balancing")
                try mount.expectAgreement()
            }
        }

        @Test("Hot pages of a slower tier are promoted, those of an isolated node are left alone")
        func promotion() throws {
            try TestMount.with(Machines.four) { mount in
                try mount.store("20", in: "sys/kernel/cdm/numa_balancing_scan_period_ms")
                for (name, node) in [("slow", 5), ("isolated", 4)] {
                    let file = try mount.makeBuffer(name, size: 2 << 20)
                    try Client.pattern("zeros", file, 0, "2M", 0)
                    try mount.store("\(node)", in: mount.control(name) + "/migrate")
                    #expect(try mount.placement(name) == [node: 512])
                }
                try mount.store("2", in: "sys/kernel/cdm/numa_balancing")
                try whileUsing(mount.path + "/buffers/isolated", 2 << 20) {
                    try whileUsing(mount.path + "/buffers/slow", 2 << 20) { () throws in
                        #expect(try eventually(within: 30) { try mount.placement("slow")[5] == nil })
                    }
                }
                #expect(try mount.placement("isolated") == [4: 512])
                let promoted = try [0, 1].map { try mount.vmstat($0)["pgpromote_success", default: 0] }
                #expect(promoted[0] + promoted[1] >= 512)
                #expect(try mount.values("\(nodes)/node4/cdm/pressure")["numa_pte_updates"] == 0)
                try mount.expectAgreement()
            }
        }
    }
}
