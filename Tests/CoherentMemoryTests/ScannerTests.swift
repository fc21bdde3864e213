import LinuxSupport
import MachineTopology
import Synchronization
import Testing

@testable import CoherentMemory

/// The scanner against a slow, obvious model of what it says of each page.
@Suite("Scanner")
struct ScannerTests {
    private struct Page: Equatable {
        var node = 0
        var isActive = false
        var isReferenced = false
        var isInUse = false
        var holds: UInt8 = 0
    }

    /// What the page tables say.
    private func pages(of buffer: Buffer, _ machine: Machine) -> [Int: Page] {
        buffer.state.withLock { state in
            var pages: [Int: Page] = [:]
            for page in 0..<Int(state.size / 4096) {
                let entry = state.pages.table[UInt64(page)]
                guard entry.isPresent else { continue }
                pages[page] = Page(
                    node: machine.nodeMap.node(of: entry.pfn).id, isActive: entry.isActive,
                    isReferenced: entry.isReferenced,
                    isInUse: entry.isCached)
            }
            return pages
        }
    }

    @Test("Active, inactive, referenced, freed and demoted, at random", arguments: 1...8)
    func model(seed: UInt64) throws {
        let machine = try Machine(ram: 2, coherent: [16], isolation: .none)
        let (near, far) = (machine.node(0)!, machine.node(1)!)
        let buffer = try machine.makeBuffer("default", size: 400 << 12)
        let cache = PageCache(machine, mapping: [buffer])
        var model: [Int: Page] = [:]
        var random = SplitMix64(seed: seed)
        for _ in 0..<400 {
            switch Int.random(in: 0..<10, using: &random) {
            case 0..<6:
                let first = Int.random(in: 0..<400, using: &random)
                for page in first..<min(400, first + 16) {
                    let value: UInt8? = random.oneIn(3) ? UInt8.random(in: 0...3, using: &random) : nil
                    let found = cache.touch(buffer, page: page) { bytes in
                        if let value { bytes[7] = value }
                        return (bytes[7], stored: value != nil)
                    }
                    var expected = model[page] ?? Page()
                    expected.isInUse = true
                    if let value { expected.holds = value }
                    #expect(found == expected.holds)
                    model[page] = expected
                }
            case 6:
                let first = Int.random(in: 0..<390, using: &random)
                for page in first..<first + 8 {
                    cache.truncate(buffer, pages: page..<page + 1)
                    machine.punch(buffer, bytes: UInt64(page) << 12..<UInt64(page + 1) << 12)
                    model[page] = nil
                }
            default:
                let limit = random.oneIn(3) ? 0 : Int.random(in: 1..<40, using: &random)
                let isDemoting = random.oneIn(2)
                let result = machine.reclaimer.visit(
                    unit: 0, of: near, Reclaimer.Eviction(limit: limit, targets: isDemoting ? [far] : []))
                var (freed, demoted) = (0, 0)
                for page in model.keys.sorted() where model[page]!.node == 0 {
                    var state = model[page]!
                    if state.isInUse {
                        if state.isActive || state.isReferenced {
                            state.isReferenced = false
                            state.isActive = true
                        } else {
                            state.isReferenced = true
                        }
                    } else if state.isActive {
                        state.isActive = false
                    } else {
                        state.isReferenced = false
                        if freed < limit, state.holds == 0 {
                            model[page] = nil
                            freed += 1
                            continue
                        }
                        if freed < limit, isDemoting {
                            state.node = 1
                            freed += 1
                            demoted += 1
                        }
                    }
                    state.isInUse = false
                    model[page] = state
                }
                #expect(result.freed == freed && result.demoted == demoted)
            }
            let real = pages(of: buffer, machine)
            var expected = model
            for page in model.keys { expected[page]!.holds = 0 }
            try #require(real == expected)
            #expect(near.usage.active == model.values.count { $0.isActive && $0.node == 0 })
            try machine.checkInvariants()
        }
        #expect(near.pressure.scanned > 0 && near.pressure.activated > 0 && near.pressure.deactivated > 0)
        machine.remove(buffer)
        try machine.checkInvariants()
        #expect(near.usage.active == 0 && far.usage.active == 0)
    }

    @Test("A huge page is one page: in use as a whole, freed as a whole, moved as a whole")
    func huge() throws {
        let machine = try Machine(ram: 8, coherent: [16], isolation: .none)
        let (near, far) = (machine.node(0)!, machine.node(1)!)
        let buffer = machine.makeBuffer(huge: .always)
        try machine.resize(buffer, to: 2 * HugePage.size)
        let cache = PageCache(machine, mapping: [buffer])
        for page in [3, 700] { _ = cache.touch(buffer, page: page) { bytes in (bytes[0] = page == 3 ? 1 : 0, true) } }
        let units = (0..<4).filter { !near.isEmpty(unit: $0) }
        func visit() -> Int {
            units.reduce(0) {
                $0 + machine.reclaimer.visit(unit: $1, of: near, .init(limit: 512, targets: [far])).freed
            }
        }
        #expect(visit() == 0)
        for page in [3, 700] { _ = cache.touch(buffer, page: page) { _ in ((), false) } }
        #expect(visit() == 0 && near.usage.active == 1024)
        #expect(visit() == 0 && near.usage.active == 0)
        #expect(visit() == 1024)
        #expect(machine.pages(of: buffer) == [1: 512] && far.usage.huge == 1)
        #expect(cache.touch(buffer, page: 3) { ($0[0], false) } == 1)
        #expect(cache.touch(buffer, page: 700) { ($0[0], false) } == 0)
        try machine.checkInvariants()
    }

    @Test("Everything at once: no store is lost and the books balance")
    func threads() throws {
        let machine = try Machine(
            topology: Topology(
                blockSize: 2 * mebibyte,
                nodes: [
                    .ram(id: 0, memory: 6 * mebibyte, cpus: [0]), .ram(id: 1, memory: 6 * mebibyte, cpus: [1]),
                    .coherent(id: 2, memory: 16 * mebibyte, isolation: .none),
                ]))
        let buffers = try (0..<2).map { _ in try machine.makeBuffer("default", size: 600 << 12) }
        let cache = PageCache(machine, mapping: buffers)
        machine.isDemotionEnabled = true
        machine.balancing.mode = [.normal, .tiering]
        let rounds = 6000
        let running = Atomic(3)
        func toucher(_ seed: UInt64) -> @Sendable () -> Void {
            {
                var random = SplitMix64(seed: seed)
                for _ in 0..<rounds {
                    let page = min(Int.random(in: 0..<600, using: &random), Int.random(in: 0..<600, using: &random))
                    let origin = Origin(pid: 1, node: Int.random(in: 0...1, using: &random))
                    _ = cache.touch(buffers[Int.random(in: 0...1, using: &random)], page: page, origin: origin) {
                        bytes in
                        bytes[Int(seed)] &+= 1
                        if bytes[Int(seed)] == 0 { bytes[Int(seed) + 8] &+= 1 }
                        return ((), stored: true)
                    }
                }
                running.wrappingSubtract(1, ordering: .relaxed)
            }
        }
        let isRunning: @Sendable () -> Bool = { running.load(ordering: .relaxed) > 0 }
        runThreads([
            toucher(1), toucher(2), toucher(3),
            {
                while isRunning() {
                    for node in machine.nodes {
                        _ = try? machine.reclaim(
                            50, of: node, demotingTo: machine.demotionTargets(of: node), waitForUse: {})
                    }
                }
            },
            {
                var position = Balancer.ScanPosition()
                while isRunning() {
                    machine.balancer.mark(200, [.normal, .tiering], from: &position, isCancelled: { false })
                    machine.balancer.moveMisplaced(isCancelled: { false })
                }
            },
            {
                var target = 0
                while isRunning() {
                    try? machine.migrate(buffers[target % 2], bytes: 0..<100 << 12, to: target % 3)
                    target += 1
                }
            },
        ])
        try machine.checkInvariants()
        var sums = [0, 0, 0, 0]
        for buffer in buffers {
            for page in 0..<600 {
                _ = cache.touch(buffer, page: page) { bytes in
                    for seed in 1...3 { sums[seed] += Int(bytes[seed]) + 256 * Int(bytes[seed + 8]) }
                    return ((), false)
                }
            }
        }
        #expect(sums == [0, rounds, rounds, rounds])
        #expect(machine.nodes.reduce(0) { $0 + $1.pressure.hintingFaults } > 0)
    }
}
