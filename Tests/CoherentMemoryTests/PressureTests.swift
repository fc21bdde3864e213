import MachineTopology
import Synchronization
import Testing

@testable import CoherentMemory

/// Watermarks, reclaim and kswapd.
@Suite("Memory pressure")
struct PressureTests {
    @Test("Watermarks are Linux's")
    func watermarks() throws {
        let machine = try Machine(topology: .default)
        #expect(machine.node(0)!.watermarks == Watermarks(min: 2048, low: 3096, high: 4144, promo: 5192))
        #expect(machine.node(1)!.watermarks == Watermarks(min: 128, low: 390, high: 652, promo: 914))
        // What goes offline counts no more, nor does what is a driver's.
        try machine.offline(machine.devices[0])
        #expect(machine.node(1)!.watermarks == Watermarks())
        try machine.online(machine.devices[0])
        try machine.setIsolation(.driver, of: machine.node(1)!)
        #expect(machine.node(1)!.watermarks == Watermarks())
        // Two nodes share the minimum of √(16 × 8 GiB in kB), 11585 kB.
        let two = try Machine(topology: Topology(preset: "two-socket"))
        #expect(two.nodes.map(\.watermarks.min) == [1448, 1448, 128, 128])
    }

    /// A machine of which only some pages are in use, and the rest of what it has hold data.
    private struct Scene {
        let machine: Machine
        let cache: PageCache
        let cold: Buffer
        let hot: Buffer

        init(isolation: Isolation = .none, free: Int, demoting: Bool = true) throws {
            machine = try Machine(ram: 8, coherent: [8], isolation: isolation)
            machine.isDemotionEnabled = demoting
            cold = try machine.makeBuffer("default", size: UInt64(2048 - 200 - free) << 12)
            hot = try machine.makeBuffer("default", size: 200 << 12)
            cache = PageCache(machine, mapping: [cold, hot])
            for (buffer, count) in [(cold, 2048 - 200 - free), (hot, 200)] {
                for page in 0..<count {
                    _ = cache.touch(buffer, page: page) { bytes in (bytes[0] = UInt8(page % 251) + 1, stored: true) }
                }
            }
        }

        func useHotPages() {
            for page in 0..<200 { _ = cache.touch(hot, page: page) { _ in ((), stored: false) } }
        }

        func verify() throws {
            for (buffer, count) in [(cold, Int(cold.size / 4096)), (hot, 200)] {
                for page in 0..<count {
                    #expect(cache.touch(buffer, page: page) { ($0[0], stored: false) } == UInt8(page % 251) + 1)
                }
            }
            try machine.checkInvariants()
        }
    }

    private func isWoken(_ node: Node) -> Bool { node.wantsKswapd.load(ordering: .relaxed) }

    @Test("kswapd is woken below low, ends at high, and takes what nobody uses")
    func kswapd() throws {
        let scene = try Scene(free: 50)
        let node = scene.machine.node(0)!
        let marks = node.watermarks
        #expect(node.usage.free < marks.low && isWoken(node))
        #expect(scene.machine.reclaimer.balance(node, isCancelled: { false }, waitForUse: scene.useHotPages))
        #expect(node.usage.free == marks.high)
        #expect(scene.machine.pages(of: scene.hot) == [0: 200])
        #expect(scene.machine.pages(of: scene.cold)[1] == marks.high - 50)
        #expect(node.pressure.demotedByKswapd == UInt64(marks.high - 50) && node.pressure.kswapdRuns == 1)
        #expect(
            scene.machine.reclaimer.balance(node, isCancelled: { false }, waitForUse: {})
                && node.pressure.kswapdRuns == 1)
        try scene.verify()
    }

    @Test("Pages in use stay, whatever is asked for; what is used no more goes")
    func reclaim() throws {
        let scene = try Scene(free: 1000)
        let (machine, node) = (scene.machine, scene.machine.node(0)!)
        let freed = try machine.reclaim(
            2000, of: node, demotingTo: machine.demotionTargets(of: node), waitForUse: scene.useHotPages)
        #expect(freed == 848 && machine.pages(of: scene.cold) == [1: 848] && machine.pages(of: scene.hot) == [0: 200])
        #expect(node.usage.active == 200 && node.pressure.demotedProactively == 848)
        #expect(
            try machine.reclaim(150, of: node, demotingTo: machine.demotionTargets(of: node), waitForUse: {}) == 150)
        try scene.verify()
    }

    @Test("The thread sleeps until memory is short, and ends when told")
    func thread() throws {
        let scene = try Scene(free: 300, demoting: false)
        let (machine, node) = (scene.machine, scene.machine.node(0)!)
        let isDone = Atomic(false)
        runThreads([
            {
                machine.runKswapd(
                    isCancelled: { isDone.load(ordering: .acquiring) }, waitForUse: scene.useHotPages)
            },
            {
                #expect(node.pressure.kswapdRuns == 0)
                machine.isDemotionEnabled = true
                let more = try? machine.makeBuffer("default", size: 280 << 12)
                for page in 0..<UInt64(280) { _ = try? machine.store([9], to: more!, at: page << 12) }
                let deadline = ContinuousClock.now + .seconds(20)
                while node.usage.free < node.watermarks.high, ContinuousClock.now < deadline { Machine.waitForUse() }
                #expect(node.usage.free >= node.watermarks.high && node.pressure.demotedByKswapd > 0)
                isDone.store(true, ordering: .releasing)
                machine.wakeBackgroundWork()
            },
        ])
        try scene.verify()
    }

    @Test("A target is filled to its high watermark and no further")
    func room() throws {
        let scene = try Scene(free: 10)
        let (machine, node, far) = (scene.machine, scene.machine.node(0)!, scene.machine.node(1)!)
        let filler = try machine.makeBuffer("bind:1")
        try machine.allocate(filler, bytes: 0..<1500 << 12, keepsSize: false, origin: onNode0)
        let freed = try machine.reclaim(1000, of: node, demotingTo: [far], waitForUse: {})
        #expect(freed == 548 - far.watermarks.high && far.usage.free == far.watermarks.high)
        // What does not fit is not tried for ever.
        #expect(try machine.reclaim(1000, of: node, demotingTo: [far], waitForUse: {}) == 0)
        try scene.verify()
    }

    @Test(
        "An isolated node takes nothing, gives nothing and wakes nobody", arguments: [Isolation.exclusive, .restricted])
    func isolated(isolation: Isolation) throws {
        let scene = try Scene(isolation: isolation, free: 5)
        let (machine, node) = (scene.machine, scene.machine.node(0)!)
        #expect(machine.demotionTargets(of: node).isEmpty)
        #expect(!isWoken(node))
        #expect(try machine.reclaim(10, of: node, demotingTo: machine.demotionTargets(of: node), waitForUse: {}) == 0)
        #expect(machine.pages(of: scene.cold)[1] == nil)
        // As soon as it is an ordinary one, kswapd has something to do.
        try machine.setIsolation(.none, of: machine.node(1)!)
        #expect(isWoken(node))
        try scene.verify()
    }
}
