import Glibc
import LinuxSupport
import MachineTopology
import Synchronization
import SystemPackage
import Testing

@testable import CoherentMemory

/// Everything at once, over a simulated page cache: programs that count in mapped pages, migrations, memory blocks that
/// go and come, truncation and hole punching, buffers that are made and removed.
@Suite("Threads", .timeLimit(.minutes(5)))
struct ConcurrencyTests {
    private static let pages = 512

    /// What the threads share.
    private final class Scene: Sendable {
        let machine: Machine
        /// Pages that only move: no increment may be lost.
        let counted: Buffer
        /// Pages that are cut off and punched out all the time.
        let cut: Buffer
        let cache: PageCache
        let isOver = Atomic<Bool>(false)
        let problems = Mutex<[String]>([])
        let moves = Atomic<Int>(0)
        let movesAtOnce = Atomic<Int>(0)
        static let zeros = [UInt8](repeating: 0, count: 4096)

        /// - Parameter isHuge: whether pages are huge where they can be, beside a pool that takes some.
        init(isHuge: Bool) throws {
            machine = try Machine(ram: 16, coherent: [8, 4], isolation: .none)
            counted = machine.makeBuffer(huge: isHuge ? .always : .never)
            cut = machine.makeBuffer(huge: isHuge ? .always : .never)
            for buffer in [counted, cut] { try machine.resize(buffer, to: UInt64(ConcurrencyTests.pages) * 4096) }
            cache = PageCache(machine, mapping: [counted, cut])
        }

        func report(_ problem: String) { problems.withLock { $0.append(problem) } }

        /// Adds one to a counter of a page of `counted`.
        func increment(page: Int, word: Int) {
            let done: Bool? = cache.touch(counted, page: page) { bytes in
                var value =
                    UInt32(bytes[word * 4]) | UInt32(bytes[word * 4 + 1]) << 8 | UInt32(bytes[word * 4 + 2]) << 16
                value += 1
                for byte in 0..<3 { bytes[word * 4 + byte] = UInt8(truncatingIfNeeded: value >> (8 * UInt32(byte))) }
                return (true, stored: true)
            }
            if done == nil { report("SIGBUS at page \(page)") }
        }

        /// Marks a page of `cut` as its own, and looks whether it ever held another's mark.
        func mark(page: Int, stores: Bool) {
            let mark = [UInt8](repeating: UInt8(page & 127) + 1, count: 4096)
            let found: [UInt8]? = cache.touch(cut, page: page) { bytes in
                let seen = bytes
                if stores { bytes = mark }
                return (seen, stored: stores)
            }
            // SIGBUS behind the end is as it should be.
            if let found, found != mark, found != Scene.zeros { report("page \(page) shows \(found[0])") }
        }

        /// A migration may fail for want of room, and for nothing else.
        func tryTo(_ what: String, allowing: [Errno], _ body: () throws(Errno) -> Void) {
            do throws(Errno) {
                try body()
                moves.wrappingAdd(1, ordering: .relaxed)
            } catch {
                if !allowing.contains(error) { report("\(what): \(error)") }
            }
        }
    }

    private func counter(_ scene: Scene, seed: UInt64, count: Int) -> @Sendable () -> Void {
        { [scene] in
            var random = SplitMix64(seed: seed)
            for _ in 0..<count {
                let page = Int.random(in: 0..<Self.pages, using: &random)
                scene.increment(page: page, word: Int.random(in: 0..<1024, using: &random))
                if random.oneIn(16) { scene.cache.writeBack(scene.counted, page: page, drops: random.oneIn(2)) }
            }
        }
    }

    /// Repeats `body` until the counters are done.
    private func repeating(_ scene: Scene, seed: UInt64, _ body: @escaping @Sendable (Scene, inout SplitMix64) -> Void)
        -> @Sendable () -> Void
    {
        {
            var random = SplitMix64(seed: seed)
            while !scene.isOver.load(ordering: .relaxed) { body(scene, &random) }
        }
    }

    private func marker(_ scene: Scene, seed: UInt64) -> @Sendable () -> Void {
        repeating(scene, seed: seed) { scene, random in
            scene.mark(page: Int.random(in: 0..<Self.pages, using: &random), stores: random.oneIn(2))
        }
    }

    private func migrator(_ scene: Scene, seed: UInt64) -> @Sendable () -> Void {
        repeating(scene, seed: seed) { scene, random in
            let target = Int.random(in: 0...2, using: &random)
            let buffer = random.oneIn(2) ? scene.counted : scene.cut
            switch Int.random(in: 0..<4, using: &random) {
            case 0:
                let source = scene.machine.node((target + 1) % 3)!
                scene.tryTo("migrate node", allowing: [.noMemory]) { () throws(Errno) in
                    try scene.machine.migrate(node: source, to: target)
                }
            case 1:
                let first = UInt64.random(in: 0..<256, using: &random) * 4096
                // The range may be cut off meanwhile.
                scene.tryTo("migrate range", allowing: [.noMemory, .invalidArgument]) { () throws(Errno) in
                    // What nobody has mapped goes at once, now and then; the rest takes the long way.
                    let few = first..<first + UInt64.random(in: 1...16, using: &random) * 4096
                    if try scene.machine.migrateAtOnce(buffer, bytes: few, to: target) {
                        scene.movesAtOnce.wrappingAdd(1, ordering: .relaxed)
                    }
                    try scene.machine.migrate(buffer, bytes: first..<first + 64 * 4096, to: target)
                }
            default:
                scene.tryTo("migrate", allowing: [.noMemory]) { () throws(Errno) in
                    try scene.machine.migrate(buffer, to: target)
                }
            }
        }
    }

    /// Links that take their time now, and then do not.
    private func pacer(_ scene: Scene, seed: UInt64) -> @Sendable () -> Void {
        repeating(scene, seed: seed) { scene, random in
            scene.machine.devices.randomElement(using: &random)!.pace = random.oneIn(2) ? .real : .off
            usleep(500)
        }
    }

    private func offliner(_ scene: Scene, seed: UInt64) -> @Sendable () -> Void {
        repeating(scene, seed: seed) { scene, random in
            // Never all of node 0 or 1 at once, so that nobody runs out of memory.
            let number = [0, 1, 3, 9, 10].randomElement(using: &random)!
            let block = scene.machine.block(UInt64(number))!
            scene.tryTo("offline", allowing: [.resourceBusy]) { () throws(Errno) in try scene.machine.offline(block) }
            if block.state == .offline {
                scene.tryTo("online", allowing: []) { () throws(Errno) in try scene.machine.online(block) }
            }
        }
    }

    private func cutter(_ scene: Scene, seed: UInt64) -> @Sendable () -> Void {
        repeating(scene, seed: seed) { scene, random in
            let page = Int.random(in: 0..<Self.pages, using: &random)
            if random.oneIn(2) {
                scene.tryTo("truncate", allowing: []) { () throws(Errno) in
                    try scene.machine.resize(scene.cut, to: UInt64(page) * 4096)
                }
                scene.cache.truncate(scene.cut, pages: page..<Self.pages)
                scene.tryTo("extend", allowing: []) { () throws(Errno) in
                    try scene.machine.resize(scene.cut, to: UInt64(Self.pages) * 4096)
                }
            } else {
                let pages = page..<min(Self.pages, page + 40)
                scene.machine.punch(scene.cut, bytes: UInt64(pages.lowerBound) * 4096..<UInt64(pages.upperBound) * 4096)
                scene.cache.truncate(scene.cut, pages: pages)
            }
        }
    }

    /// Buffers that come and go, with bytes that must never be seen elsewhere, and pages that must start as zeros.
    private func maker(_ scene: Scene, seed: UInt64) -> @Sendable () -> Void {
        repeating(scene, seed: seed) { scene, random in
            let buffer = scene.machine.makeBuffer()
            defer { scene.machine.remove(buffer) }
            // A link that takes its time may have a page just then.
            scene.tryTo("make", allowing: [.resourceTemporarilyUnavailable]) { () throws(Errno) in
                try scene.machine.resize(buffer, to: 64 * 4096)
                // A frame is its page's own only once something is stored there.
                for page in UInt64(0)..<64 { try scene.machine.store([0xee], to: buffer, at: page * 4096) }
                for page in UInt64(0)..<64 {
                    let bytes = try scene.machine.bytes(of: buffer, at: page * 4096 + 1, count: 4095)
                    if bytes != Array(Scene.zeros.dropFirst()) { scene.report("a fresh page shows old bytes") }
                }
                try scene.machine.store([UInt8](repeating: 0xee, count: 48 * 4096), to: buffer, at: 8 * 4096)
            }
        }
    }

    /// A pool that grows and shrinks, compaction, and reclaim.
    private func compacter(_ scene: Scene, seed: UInt64) -> @Sendable () -> Void {
        repeating(scene, seed: seed) { scene, random in
            let node = scene.machine.nodes.randomElement(using: &random)!
            scene.machine.setHugePages(Int.random(in: 0...1, using: &random), of: node)
            scene.tryTo("compact", allowing: []) { () throws(Errno) in try scene.machine.compact(node) }
            scene.tryTo("reclaim", allowing: []) { () throws(Errno) in
                try scene.machine.reclaim(200, of: node, demotingTo: [])
            }
        }
    }

    /// A buffer of reserved pages, whose bytes are its own.
    private func pooler(_ scene: Scene, seed: UInt64) -> @Sendable () -> Void {
        repeating(scene, seed: seed) { scene, random in
            let buffer = scene.machine.makeBuffer(huge: .pool)
            defer { scene.machine.remove(buffer) }
            scene.tryTo("pool", allowing: [.noSpace, .noMemory, .resourceTemporarilyUnavailable]) { () throws(Errno) in
                try scene.machine.resize(buffer, to: HugePage.size)
                let page = UInt64.random(in: 0..<512, using: &random)
                try scene.machine.store([0xdd], to: buffer, at: page * 4096)
                try scene.machine.migrate(buffer, to: Int.random(in: 0...2, using: &random))
                let bytes = try scene.machine.bytes(of: buffer, at: page * 4096, count: 4096)
                if bytes[0] != 0xdd || Array(bytes.dropFirst()) != Array(Scene.zeros.dropFirst()) {
                    scene.report("a reserved page shows other bytes")
                }
            }
        }
    }

    @Test("No increment is lost, no byte is seen by another", arguments: [1, 2], [false, true])
    func everything(seed: UInt64, isHuge: Bool) throws {
        let scene = try Scene(isHuge: isHuge)
        let counters = 3, each = 8000
        var others: [@Sendable () -> Void] = [
            marker(scene, seed: seed + 10), marker(scene, seed: seed + 20), migrator(scene, seed: seed + 30),
            migrator(scene, seed: seed + 40), offliner(scene, seed: seed + 50), cutter(scene, seed: seed + 60),
            maker(scene, seed: seed + 70), pacer(scene, seed: seed + 110),
        ]
        if isHuge { others += [compacter(scene, seed: seed + 90), pooler(scene, seed: seed + 100)] }
        let counting: @Sendable () -> Void = {
            runThreads((0..<counters).map { self.counter(scene, seed: seed + 80 + UInt64($0), count: each) })
            scene.isOver.store(true, ordering: .relaxed)
        }
        runThreads(others + [counting])

        let problems = scene.problems.withLock { $0 }
        #expect(problems.isEmpty, "seed \(seed): \(problems.prefix(5))")
        #expect(scene.moves.load(ordering: .relaxed) > 20)
        for buffer in [scene.counted, scene.cut] {
            scene.machine.memory.invalidate(buffer, pages: 0..<UInt64(Self.pages))
        }
        var sum = 0
        for page in 0..<UInt64(Self.pages) {
            let bytes = try scene.machine.bytes(of: scene.counted, at: page * 4096, count: 4096)
            for (place, byte) in bytes.enumerated() where byte != 0 { sum += Int(byte) << (8 * (place & 3)) }
        }
        #expect(sum == counters * each, "seed \(seed)")
        try scene.machine.checkInvariants()
        scene.machine.remove(scene.counted)
        scene.machine.remove(scene.cut)
        for node in scene.machine.nodes { scene.machine.setHugePages(0, of: node) }
        try scene.machine.checkInvariants()
        for node in scene.machine.nodes { #expect(node.usage.hugePool.total == 0) }
        for node in scene.machine.nodes { #expect(node.usage.allocated == 0 && node.usage.cached == 0) }
        #expect(scene.machine.memory.tables.inUse == 0)
    }
}
