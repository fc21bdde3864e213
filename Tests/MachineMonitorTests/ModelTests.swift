import CoherentMemory
import Testing
import TraceFormat

@testable import MachineMonitor

/// Counters become rates.
@Suite("Model of the monitor")
struct ModelTests {
    @Test("Samples of OpenMetrics: labels, escapes, numbers; what is none is left out")
    func text() {
        let text = """
            # HELP cdmfs_a What.
            cdmfs_a 3
            cdmfs_b{node="1",state="a\\"b\\\\c\\nd, }"} 1.5e3 1700000000
            cdmfs_c{node="1"
            cdmfs_d{node=1} 4
            cdmfs_e{node="1"} many
            {x="y"} 5

            cdmfs_f{} 6
            """
        let samples = Array(MetricsText(text))
        #expect(samples.map(\.name) == ["cdmfs_a", "cdmfs_b", "", "cdmfs_f"])
        #expect(samples.map(\.value) == [3, 1500, 5, 6])
        #expect(samples[1]["state"] == "a\"b\\c\nd, }" && samples[1]["node"] == "1" && samples[1]["x"] == nil)
    }

    @Test("A counter grows by its difference; one that is smaller has begun anew; no time is no division by 0")
    func rates() {
        let old = MachineFigures(Example.metrics(hits: 100, copied: 5000), at: 0)
        let new = MachineFigures(Example.metrics(hits: 300, copied: 100), at: 2_000_000_000)
        #expect(new.rate("node_allocations_total", "0", "hit", since: old) == 100)
        #expect(new.rate("device_copied_bytes_total", "cdm0", "", since: old) == 50)
        #expect(new.rate("node_allocations_total", "9", "hit", since: old) == 0)
        #expect(new.rate("node_allocations_total", "0", "hit", since: new) == 0)
    }

    @Test("The nodes by tier, flows, links, buffers, tasks and events of two moments")
    func snapshot() throws {
        let snapshot = Example.snapshot()
        #expect(snapshot.seconds == 1 && snapshot.nodes.map(\.id) == [0, 1] && snapshot.bufferCount == 3)
        let ram = snapshot.nodes[0]
        #expect(ram.kind == "ram" && ram.tier == 4 && ram.mark == .low && ram.hits == 1000 && ram.demoted == 768)
        #expect(snapshot.nodes[1].mark == .none && snapshot.nodes[1].hits == 0)
        #expect(snapshot.flows.map(\.flow.reason) == ["demotion", "buffer"])
        // A flow that is new began with nothing.
        #expect(snapshot.flows[0].rate == 768 * 4096 && snapshot.flows[1].total == 512 * 4096)
        let link = try #require(snapshot.links.first)
        #expect(link.copied == 768 * 4096 && abs(link.modelled - 0.05) < 1e-9 && link.isUp && link.node == 1)
        let buffer = try #require(snapshot.buffers.first)
        #expect(buffer.touched == 1000 && buffer.moved == 768 && buffer.reads == 0)
        #expect(snapshot.buffers[2].figures.name == "bad\u{1b}[2J\nname")
        let tasks = try #require(snapshot.tasks)
        #expect(tasks.map(\.id) == [4711, 0, 4712] && tasks[0].touched == 1000 && tasks[2].refused == 1)
        #expect(snapshot.lostEvents == 17)
        #expect(
            snapshot.events.map(\.text) == [
                "buffers/model/weights add", "cdm0 poisoned address 0x140800000",
                "model/weights demoted 3M node0 to node1", "#6 refused: ENOMEM",
            ])
        #expect(snapshot.events.map(\.isAlarming) == [false, true, false, true])
        #expect(Example.snapshot(isRoot: false).tasks == nil)
    }

    @Test("A task keeps its sum when it rests; events and tasks do not pile up")
    func bounds() {
        var model = MachineModel(mountPoint: "/m")
        model.setSeesEvents(true)
        func touch(_ pid: Int32) -> TraceRecord { .event(TraceEvent(.touchPlaced, pid: pid, count: 2)) }
        model.add(touch(1), at: 0)
        model.add(touch(2), at: 0)
        _ = model.add(MachineFigures(Example.metrics(), at: 0), at: 0)
        #expect(model.namelessTasks == [1, 2])
        model.setName("one", ofTask: 1)
        var snapshot = model.add(MachineFigures(Example.metrics(), at: 1_000_000_000), at: 1)
        // The other one has no name any more: it has ended.
        #expect(snapshot.tasks?.map(\.id) == [1] && snapshot.tasks?.first?.name == "one")
        #expect(snapshot.tasks?.first?.touched == 0 && snapshot.tasks?.first?.total == 2)
        for second in 2..<20 as Range<UInt64> {
            for pid in 0..<1000 { model.add(touch(Int32(second) * 1000 + Int32(pid)), at: 0) }
            for _ in 0..<100 { model.add(uevents: Example.uevents, at: 0) }
            snapshot = model.add(MachineFigures(Example.metrics(), at: second * 1_000_000_000), at: 0)
        }
        #expect(snapshot.tasks?.count == 256 && snapshot.events.count <= 200)
        #expect(snapshot.events.last?.text.contains("events more") == true)
    }

    @Test("No node, no memory, text that is nothing: nothing is shown, and nothing breaks")
    func nothing() {
        var model = MachineModel(mountPoint: "/m")
        for text in ["", "# EOF\n", "garbage\n\n{}{}{\"", "cdmfs_node_info{node=\"x\"} 1\n"] {
            let snapshot = model.add(MachineFigures(text, at: 0), at: 0)
            #expect(snapshot.nodes.isEmpty)
            for (width, height) in [(0, 0), (1, 1), (3, 2), (40, 10), (200, 60)] {
                let frame = Screen(snapshot, ViewState(), CellText(isUnicode: true)).frame(width: width, height: height)
                #expect(frame.count == (width > 0 ? height : 0))
            }
        }
        #expect(
            BufferTable("\n1 2 3\nx 0 0 0 0 0 0 0 - - a\n99999999999999999999 0 0 0 0 0 0 0 - - a\n", at: 0).buffers
                .isEmpty)
    }

    @Test("Short figures")
    func amounts() {
        #expect(
            [0, 1, 1023, 1024, 1536, 1_048_575, 960 << 20, 1 << 40].map { Amount.bytes(Double($0)) }
                == ["0", "1", "1023", "1K", "1.5K", "1M", "960M", "1T"])
        #expect(
            [0, 0.01, 0.5, 27.4, 99.96, 999.6, 12_345, 4e6, .infinity, -1].map(Amount.count)
                == ["0", "<0.1", "0.5", "27.4", "100", "1k", "12.3k", "4M", "0", "0"])
        #expect([0, 1e3, 2e4, 3.14e6, 1.2e10].map(Amount.megabytes) == ["0", "<0.01", "0.02", "3.1", "12000"])
        #expect(
            [0, 0.0001, 0.004, 0.37, 0.9999, 1, 12].map(Amount.percent)
                == ["0%", "<0.1%", "0.4%", "37%", "99.9%", "100%", "1200%"])
        #expect(Amount.bytes(.nan) == "0" && Amount.bytes(1e30).count < 20 && Amount.time(86399) == "23:59:59")
    }

    @Test("A map: runs over several parts, flags, a range, and text that is none")
    func map() {
        var map = BufferMap(0..<64 << 20)
        #expect(map.parts.count == 4096 && map.partLength == 16384)
        for line in Example.pages {
            let mayFollow = map.add(line: line[...])
            #expect(mayFollow)
        }
        #expect(map.parts[0].pages == [0: 4] && map.parts[2560].pages == [1: 4])
        #expect(map.parts[2560].flags == [.poisoned, .pinned] && map.parts[3072].flags == .migrating)
        #expect(map.counts[.poisoned] == 1 && map.counts[.pinned] == 2047 && map.parts[3073].pages.isEmpty)
        let (cells, ratio) = map.cells(100)
        #expect(cells.count == 64 && ratio == 64)
        #expect(cells[0].pages == [0: 256] && cells[40].flags == [.poisoned, .pinned])
        #expect(map.cells(0).parts.count == 1 && map.cells(5000).ratio == 1)
        for line in ["", "x", "0x0 0x1000 0 0x0", "0x0 0xfffffffffffffffff 0 0 -", "0xfffffffffffff000 0x2000 0 0x0 -"]
        {
            _ = map.add(line: line[...])
        }
        #expect(map.counts[.poisoned] == 1)
        var part = BufferMap(0x2000000..<0x2801000)
        var isWanted = true
        for line in Example.pages where isWanted { isWanted = part.add(line: line[...]) }
        #expect(!isWanted && part.counts[.poisoned] == 1 && part.counts[.pinned] == nil)
        #expect(BufferMap(0..<0).parts.count == 1)
        #expect(BufferMap(0..<4097).range == 0..<8192 && BufferMap(8192..<8192).range == 8192..<12288)
        var huge = BufferMap(0..<UInt64.max)
        #expect(huge.parts.count == 4096)
        _ = huge.add(line: "0xffffffffff000000 0xffe000 3 0x0 lost")
        #expect(huge.parts.last?.flags == .lost && huge.parts.last?.pages[3] == 4094)
    }
}
