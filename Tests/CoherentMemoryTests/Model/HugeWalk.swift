import MachineTopology
import SystemPackage

@testable import CoherentMemory

/// Random operations on a machine with huge pages of all kinds, beside a model that knows only bytes.
///
/// Where a huge page is to be had depends on which frames are free, which is the machine's business. What every page
/// reads as, that an answer is one of those allowed, and what the pools come to is not.
struct HugeWalk {
    private struct Contents {
        var size: UInt64
        /// Of pages that were stored to and not freed since; all others are zeros.
        var pages: [UInt64: [UInt8]] = [:]
    }

    let seed: UInt64
    let machine: Machine
    var random: SplitMix64
    /// Mappings of programs; see `operateOnMapping()`.
    var mappings: [HugeMapping] = []
    private var buffers: [Buffer] = []
    private var contents: [UInt64: Contents] = [:]
    private var steps = 0
    private static let zeros = [UInt8](repeating: 0, count: 4096)
    private var history: [String] = []

    init(seed: UInt64, topology: Topology) throws {
        self.seed = seed
        random = SplitMix64(seed: seed)
        machine = try Machine(topology: topology)
    }

    private func fail(_ what: String) -> Walk.Disagreement {
        Walk.Disagreement(
            description: "seed \(seed), step \(steps): \(what)\nafter:\n  " + history.joined(separator: "\n  "))
    }

    mutating func note(_ operation: String) {
        history.append(operation)
        if history.count > 10 { history.removeFirst() }
    }

    func require(_ condition: Bool, _ what: @autoclosure () -> String) throws {
        if !condition { throw fail(what()) }
    }

    private func allowed<T>(_ outcome: Result<T, Errno>, _ errors: Errno..., what: String) throws {
        if let errno = outcome.errno { try require(errors.contains(errno), "\(what): \(errno)") }
    }

    mutating func step() throws {
        steps += 1
        let choice = Int.random(in: 0..<100, using: &random)
        if random.oneIn(4) {
            try operateOnMapping()
        } else if buffers.isEmpty || choice < 6 {
            try makeBuffer()
        } else {
            try operate(choice, on: buffers.randomElement(using: &random)!)
        }
        if steps.isMultiple(of: 4) { do { try machine.checkInvariants() } catch { throw fail("\(error)") } }
        try comparePools()
        try compareMappings()
        if steps.isMultiple(of: 16) { try compareContents() }
    }

    private mutating func operate(_ choice: Int, on buffer: Buffer) throws {
        switch choice {
        case ..<9: remove(buffer)
        case ..<36: try write(buffer)
        case ..<46: try touch(buffer)
        case ..<54: try punch(buffer)
        case ..<58: try resize(buffer)
        case ..<62: try allocate(buffer)
        case ..<66: try setMode(buffer)
        case ..<76: try migrate(buffer)
        case ..<84: try resizePool()
        case ..<88: try compact()
        case ..<92: try reclaim()
        default: try changeBlock()
        }
    }

    private mutating func anyNode() -> CoherentMemory.Node { machine.nodes.randomElement(using: &random)! }

    private mutating func anyRange() -> Range<UInt64> {
        let start = UInt64.random(in: 0..<4 * HugePage.size, using: &random)
        let aligned = random.oneIn(3) ? start & ~(HugePage.size - 1) : random.oneIn(2) ? start & ~4095 : start
        let length = random.oneIn(3) ? HugePage.size : UInt64.random(in: 1...3 * HugePage.size / 2, using: &random)
        return aligned..<aligned + length
    }

    private mutating func makeBuffer() throws {
        guard buffers.count < 7 else { return }
        let mode = HugeMode.allCases.randomElement(using: &random)!
        let words = ["default", "interleave", "bind:\(anyNode().id)", "prefer:\(anyNode().id)"]
        let policy = words.randomElement(using: &random)!
        let buffer = machine.makeBuffer(huge: mode)
        note("make \(mode) buffer \(buffer.id) of \(policy)")
        if let policy = try? MemoryPolicy(parsing: policy, available: machine.nodesWithMemory) {
            try machine.setPolicy(policy, of: buffer)
        }
        let size = UInt64.random(in: 0...5, using: &random) * HugePage.size
        try machine.resize(buffer, to: size)
        buffers.append(buffer)
        contents[buffer.id] = Contents(size: size)
    }

    private mutating func remove(_ buffer: Buffer) {
        note("remove \(buffer.id)")
        machine.remove(buffer)
        buffers.removeAll { $0 === buffer }
        contents[buffer.id] = nil
    }

    private mutating func write(_ buffer: Buffer) throws {
        let range = anyRange()
        // Zeros that were stored are what reclaim looks for.
        let byte = random.oneIn(4) ? 0 : UInt8.random(in: 1...255, using: &random)
        note("write \(range) of \(buffer.id)")
        let data = [UInt8](repeating: byte, count: range.count)
        let real = outcome { () throws(Errno) in try machine.store(data, to: buffer, at: range.lowerBound) }
        try allowed(real, .noSpace, what: "write")
        guard let count = try? real.get(), count > 0 else { return }
        let stored = range.lowerBound..<range.lowerBound + UInt64(count)
        fill(stored, with: byte, of: buffer.id)
        contents[buffer.id]!.size = max(contents[buffer.id]!.size, stored.upperBound)
    }

    private mutating func fill(_ bytes: Range<UInt64>, with byte: UInt8, of id: UInt64) {
        for page in Model.pages(of: bytes) {
            let part = bytes.clamped(to: page * 4096..<page * 4096 + 4096)
            if part.count == 4096 {
                contents[id]!.pages[page] = [UInt8](repeating: byte, count: 4096)
                continue
            }
            let start = Int(part.lowerBound % 4096)
            contents[id]!.pages[page, default: [UInt8](repeating: 0, count: 4096)]
                .replaceSubrange(start..<start + part.count, with: repeatElement(byte, count: part.count))
        }
    }

    private mutating func touch(_ buffer: Buffer) throws {
        let range = anyRange()
        note("read \(range) of \(buffer.id)")
        let real = outcome { () throws(Errno) in
            try machine.bytes(of: buffer, at: range.lowerBound, count: min(range.count, 1 << 20))
        }
        try allowed(real, .noMemory, what: "read")
        guard let bytes = try? real.get() else { return }
        try require(bytes == expected(buffer, at: range.lowerBound, count: bytes.count), "read: other bytes")
    }

    private func expected(_ buffer: Buffer, at offset: UInt64, count: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        let range = offset..<offset + UInt64(count)
        for page in Model.pages(of: range) {
            let part = range.clamped(to: page * 4096..<page * 4096 + 4096)
            let start = Int(part.lowerBound % 4096)
            bytes +=
                contents[buffer.id]!.pages[page].map { Array($0[start..<start + part.count]) }
                ?? [UInt8](repeating: 0, count: part.count)
        }
        return bytes
    }

    private mutating func punch(_ buffer: Buffer) throws {
        let range = anyRange()
        note("punch \(range) of \(buffer.id)")
        machine.punch(buffer, bytes: range)
        fill(range, with: 0, of: buffer.id)
    }

    private mutating func resize(_ buffer: Buffer) throws {
        var size = anyRange().lowerBound
        if random.oneIn(2) { size = (size + HugePage.size - 1) / HugePage.size * HugePage.size }
        note("resize \(buffer.id) to \(size)")
        let isRefused = buffer.hugeMode == .pool && size % HugePage.size != 0
        let real = outcome { () throws(Errno) in try machine.resize(buffer, to: size) }
        try require(real.errno == (isRefused ? .invalidArgument : nil), "resize: \(real)")
        guard !isRefused else { return }
        let old = contents[buffer.id]!.size
        if size < old {
            fill(size..<max(size, min(old, (size + 4095) / 4096 * 4096)), with: 0, of: buffer.id)
            contents[buffer.id]!.pages = contents[buffer.id]!.pages.filter { $0.key < (size + 4095) / 4096 }
        }
        contents[buffer.id]!.size = size
    }

    private mutating func allocate(_ buffer: Buffer) throws {
        let range = anyRange()
        note("allocate \(range) of \(buffer.id)")
        let before = machine.nodes.map(\.usage.free)
        let real = outcome { () throws(Errno) in
            try machine.allocate(buffer, bytes: range, keepsSize: false, origin: onNode0)
        }
        try allowed(real, .noSpace, what: "allocate")
        if real.errno == nil {
            contents[buffer.id]!.size = max(contents[buffer.id]!.size, range.upperBound)
        } else {
            try require(machine.nodes.map(\.usage.free) == before, "a failed allocation keeps pages")
        }
    }

    private mutating func setMode(_ buffer: Buffer) throws {
        let mode = HugeMode.allCases.randomElement(using: &random)!
        note("mode \(mode) of \(buffer.id)")
        let old = buffer.hugeMode
        let crosses = mode != old && (mode == .pool || old == .pool)
        let expected: Errno? =
            if crosses, buffer.residentPages > 0 {
                .resourceBusy
            } else if crosses, mode == .pool,
                buffer.size % HugePage.size != 0
            { .invalidArgument } else { nil }
        try require(
            failure { () throws(Errno) in try machine.setHugeMode(mode, of: buffer) } == expected, "mode \(mode)")
        try require(buffer.hugeMode == (expected == nil ? mode : old), "mode")
    }

    private mutating func migrate(_ buffer: Buffer) throws {
        let node = anyNode()
        if random.oneIn(5) {
            let source = anyNode()
            note("migrate node \(source.id) to \(node.id)")
            let real = outcome { () throws(Errno) in try machine.migrate(node: source, to: node.id) }
            return try allowed(real, .noMemory, .invalidArgument, .operationNotSupportedByDevice, what: "migrate node")
        }
        var bytes: Range<UInt64>?
        if random.oneIn(2) {
            let range = anyRange()
            bytes = range.lowerBound & ~4095..<range.upperBound & ~4095
        }
        note("migrate \(bytes.map { "\($0)" } ?? "all") of \(buffer.id) to \(node.id)")
        let real = outcome { () throws(Errno) in try machine.migrate(buffer, bytes: bytes, to: node.id) }
        try allowed(real, .noMemory, .invalidArgument, .operationNotSupportedByDevice, what: "migrate")
        let moved = machine.pages(of: buffer)
        if real.errno == nil, bytes == nil { try require(moved.keys.allSatisfy { $0 == node.id }, "left behind") }
    }

    private mutating func resizePool() throws {
        let node = anyNode()
        let count = random.oneIn(8) ? Int.max : Int.random(in: 0...4, using: &random)
        note("pool of \(count) on node \(node.id)")
        let (before, spare) = (node.usage, available)
        machine.setHugePages(count, of: node)
        let after = node.usage
        let pool = after.hugePool
        let runs = before.freeBlocks.enumerated().dropFirst(HugePage.order).reduce(0) { $0 + $1.1 << ($1.0 - 9) }
        let most = before.hugePool.total + runs
        let used = before.hugePool.used
        let given = max(0, min(before.hugePool.free, spare, before.hugePool.persistent - count))
        let kept = max(before.hugePool.total, min(count, most)) - given
        try require(pool.used == used, "pages in use changed")
        try require(pool.total == kept, "pool of \(pool), asked \(count), \(most) fit")
        try require(pool.surplus == max(0, pool.total - count), "surplus")
    }

    private mutating func compact() throws {
        let node = anyNode()
        note("compact node \(node.id)")
        let before = node.usage
        try machine.compact(node)
        let after = node.usage
        try require(after.free == before.free && after.huge == before.huge, "compaction changed figures")
        func runs(_ usage: NodeUsage) -> Int {
            usage.freeBlocks.enumerated().dropFirst(HugePage.order).reduce(0) { $0 + $1.1 << ($1.0 - 9) }
        }
        try require(runs(after) >= runs(before), "compaction lost huge pages")
        // All that could be emptied is: less than one unit of free frames lies scattered in each block's worth.
        let scattered = after.free - runs(after) * HugePage.frames
        try require(scattered < HugePage.frames, "\(scattered) free frames are left scattered")
    }

    private mutating func reclaim() throws {
        let node = anyNode()
        let count = Int.random(in: 1...700, using: &random)
        let targets = random.oneIn(2) ? machine.nodes.filter { $0 !== node && $0.kind == .coherent } : []
        note("reclaim \(count) of node \(node.id)")
        let before = node.usage.free
        let freed = try machine.reclaim(count, of: node, demotingTo: targets)
        try require(node.usage.free == before + freed, "freed \(freed), free \(before) to \(node.usage.free)")
        try require(freed < count + HugePage.frames, "freed \(freed) of \(count)")
        // What reads as zeros may be gone; it reads as zeros then.
    }

    private mutating func changeBlock() throws {
        let block = machine.block(machine.blockNumbers.randomElement(using: &random)!)!
        note("change block \(block.number)")
        let free = block.node.usage.hugePool
        if block.state == .online {
            let real = outcome { () throws(Errno) in try machine.offline(block) }
            try allowed(real, .resourceBusy, what: "offline")
            let pool = block.node.usage.hugePool
            try require(pool.total <= free.total, "offlining made the pool larger")
        } else {
            try machine.online(block)
        }
    }

    /// Huge pages in use are what buffers of reserved ones have.
    private func comparePools() throws {
        for node in machine.nodes {
            let pages = (buffers + mappings.map(\.buffer)).filter { $0.hugeMode == .pool }
                .reduce(0) { $0 + $1.pages(onNode: node.index) }
            let pool = node.usage.hugePool
            try require(pool.used * HugePage.frames == pages, "node \(node.id): \(pool), \(pages) pages placed")
            try require(pool.surplus <= pool.total, "node \(node.id): \(pool)")
            let usage = node.usage
            try require(
                usage.free + usage.allocated + pool.total * HugePage.frames == usage.present, "node \(node.id): sum")
        }
    }

    func compareContents() throws {
        for buffer in buffers {
            let expected = contents[buffer.id]!
            try require(buffer.size == expected.size, "size of \(buffer.id)")
            for (page, bytes) in expected.pages where page * 4096 < expected.size {
                let count = Int(min(4096, expected.size - page * 4096))
                let isZero = bytes == Self.zeros
                let real = outcome { () throws(Errno) in
                    try machine.bytes(of: buffer, at: page * 4096, count: 4096)
                }
                // A page of zeros may have been freed, and its frame be another's.
                if isZero, real.errno == .noMemory { continue }
                try require((try? real.get()) == Array(bytes.prefix(count)), "buffer \(buffer.id), page \(page)")
            }
        }
    }

    /// Gives everything back, and sees that nothing is lost.
    mutating func finish() throws {
        try compareContents()
        for buffer in buffers + mappings.map(\.buffer) { machine.remove(buffer) }
        (buffers, mappings) = ([], [])
        for node in machine.nodes { machine.setHugePages(0, of: node) }
        do { try machine.checkInvariants() } catch { throw fail("\(error)") }
        for node in machine.nodes { try require(node.usage.free == node.usage.present, "node \(node.id) lost memory") }
        try require(machine.memory.tables.inUse == 0, "tables are left")
    }
}
