import SystemPackage

@testable import CoherentMemory

/// Random operations on a node with a contiguous share, beside a model that keeps a list of its frames and looks at every
/// one of them.
struct ContiguousWalk {
    private struct Run {
        let buffer: Buffer
        let pages: Int
        /// What each page that is not zero is filled with.
        var contents: [Int: UInt8] = [:]
    }

    private static let blockFrames = 512
    private static let ordinaryBlocks = 3
    private static let shareBlocks = 4
    private static let ramFrames = 16 * 512
    private static let firstShareFrame = ordinaryBlocks * blockFrames

    let seed: UInt64
    let machine: Machine
    private let node: CoherentMemory.Node
    private var random: SplitMix64
    private var steps = 0
    private var history: [String] = []
    private var runs: [Run] = []
    /// Who has each frame of the share.
    private var owners = [UInt64?](repeating: nil, count: shareBlocks * blockFrames)
    private var isOnline = [Bool](repeating: true, count: ordinaryBlocks + shareBlocks)

    init(seed: UInt64) throws {
        self.seed = seed
        random = SplitMix64(seed: seed)
        machine = try Machine(ram: 32, coherent: [14], contiguous: UInt64(Self.shareBlocks) * 2)
        node = machine.node(1)!
    }

    private func require(_ condition: Bool, _ what: @autoclosure () -> String) throws {
        if !condition {
            throw Walk.Disagreement(
                description: "seed \(seed), step \(steps): \(what())\nafter:\n  " + history.joined(separator: "\n  "))
        }
    }

    private mutating func note(_ operation: String) { history = (history + [operation]).suffix(12) }

    private func isFree(_ frame: Int) -> Bool {
        owners[frame] == nil && isOnline[Self.ordinaryBlocks + frame / Self.blockFrames]
    }

    /// Every longest run of free frames, ascending.
    private var stretches: [Range<Int>] {
        var found: [Range<Int>] = []
        for frame in owners.indices where isFree(frame) {
            if let last = found.last, last.upperBound == frame {
                found[found.count - 1] = last.lowerBound..<frame + 1
            } else {
                found.append(frame..<frame + 1)
            }
        }
        return found
    }

    /// Where a run goes: into the shortest stretch that has a place for it.
    private func place(_ count: Int) -> Int? {
        var alignment = 1
        while alignment < count, alignment < 256 { alignment *= 2 }
        let fitting = stretches.compactMap { stretch -> (length: Int, start: Int)? in
            stretch.first { $0 % alignment == 0 && $0 + count <= stretch.upperBound }.map { (stretch.count, $0) }
        }
        return fitting.min { $0 < $1 }?.start
    }

    mutating func step() throws {
        steps += 1
        switch Int.random(in: 0..<100, using: &random) {
        case ..<34: try make()
        case ..<48: try store()
        case ..<54: try punch()
        case ..<66: try giveBack()
        case ..<74: try crowd()
        case ..<82: try move()
        default: try changeBlock()
        }
        if steps.isMultiple(of: 4) { do { try machine.checkInvariants() } catch { try require(false, "\(error)") } }
        let usage = node.usage
        let free = stretches.map(\.count)
        let total = isOnline.dropFirst(Self.ordinaryBlocks).count { $0 } * Self.blockFrames
        let expected = ContiguousUsage(total: total, free: free.reduce(0, +), largest: free.max() ?? 0)
        try require(usage.contiguous == expected, "\(usage.contiguous), should be \(expected)")
        try require(usage.present == isOnline.count { $0 } * Self.blockFrames, "present \(usage.present)")
        try require(usage.free + usage.allocated == usage.present, "free \(usage.free), allocated \(usage.allocated)")
        let blocks = usage.freeBlocks.enumerated().reduce(0) { $0 + $1.1 << $1.0 }
        try require(blocks == usage.free, "\(blocks) in free blocks, \(usage.free) free")
    }

    private mutating func make() throws {
        let pages =
            random.oneIn(4) ? 1 << Int.random(in: 0...10, using: &random) : Int.random(in: 1...700, using: &random)
        note("make \(pages)")
        let buffer = try machine.makeBuffer("default", size: UInt64(pages) * 4096)
        let real = failure { () throws(Errno) in try machine.makeContiguous(buffer, on: 1) }
        guard isOnline.contains(true), let start = place(pages) else {
            try require(
                real == (isOnline.contains(true) ? .noMemory : .operationNotSupportedByDevice), "\(real as Any)")
            machine.remove(buffer)
            return
        }
        try require(real == nil, "\(real as Any)")
        for frame in start..<start + pages { owners[frame] = buffer.id }
        runs.append(Run(buffer: buffer, pages: pages))
        let address = UInt64(Self.ramFrames + Self.firstShareFrame + start) * 4096
        let expected = ContiguousRange(node: 1, physicalAddress: address, length: UInt64(pages) * 4096)
        try require(machine.contiguousRange(of: buffer) == expected, "\(machine.contiguousRange(of: buffer) as Any)")
        try check(runs[runs.count - 1])
    }

    private func check(_ run: Run) throws {
        for page in 0..<run.pages {
            let bytes = try machine.bytes(of: run.buffer, at: UInt64(page) * 4096, count: 4096)
            let byte = run.contents[page] ?? 0
            try require(bytes.allSatisfy { $0 == byte }, "page \(page) of \(run.buffer.id) is not \(byte)")
        }
        try require(machine.pages(of: run.buffer) == [1: run.pages], "pages of \(run.buffer.id)")
        try require(machine.runs(of: run.buffer).allSatisfy(\.isPinned), "pages of \(run.buffer.id) are not pinned")
    }

    private mutating func store() throws {
        guard let index = runs.indices.randomElement(using: &random) else { return }
        let page = Int.random(in: 0..<runs[index].pages, using: &random)
        let byte = UInt8.random(in: 1...255, using: &random)
        note("store to page \(page) of \(runs[index].buffer.id)")
        try machine.store([UInt8](repeating: byte, count: 4096), to: runs[index].buffer, at: UInt64(page) * 4096)
        runs[index].contents[page] = byte
    }

    private mutating func punch() throws {
        guard let index = runs.indices.randomElement(using: &random) else { return }
        let first = Int.random(in: 0..<runs[index].pages, using: &random)
        let end = Int.random(in: first...runs[index].pages + 3, using: &random)
        note("punch \(first)..<\(end) of \(runs[index].buffer.id)")
        machine.punch(runs[index].buffer, bytes: UInt64(first) * 4096..<UInt64(end) * 4096)
        for page in first..<end { runs[index].contents[page] = nil }
    }

    private mutating func giveBack() throws {
        guard let index = runs.indices.randomElement(using: &random) else { return }
        let run = runs.remove(at: index)
        try check(run)
        note("give \(run.buffer.id) back")
        if random.oneIn(2) {
            try machine.releaseContiguous(run.buffer)
            try require(run.buffer.residentPages == 0 && !run.buffer.isContiguous, "\(run.buffer.id) keeps pages")
            let bytes = try machine.bytes(of: run.buffer, at: 0, count: 4096)
            try require(bytes.allSatisfy { $0 == 0 }, "a buffer given back is not zero")
        }
        machine.remove(run.buffer)
        for frame in owners.indices where owners[frame] == run.buffer.id { owners[frame] = nil }
    }

    /// Others take all they can get of the node.
    private mutating func crowd() throws {
        let ordinary = isOnline.prefix(Self.ordinaryBlocks).count { $0 } * Self.blockFrames
        note("crowd")
        if random.oneIn(2) {
            machine.setHugePages(1 << 20, of: node)
            try require(node.usage.hugePool.total == ordinary / HugePage.frames, "\(node.usage.hugePool)")
            machine.setHugePages(0, of: node)
            return
        }
        guard isOnline.contains(true) else { return }
        let buffer = try machine.makeBuffer("bind:1")
        if random.oneIn(2) { try machine.setHugeMode(.always, of: buffer) }
        let bytes = [UInt8](repeating: 9, count: node.span.base.count * 4096)
        let stored = (try? machine.store(bytes, to: buffer, at: 0)) ?? 0
        try require(stored / 4096 == ordinary, "\(stored / 4096) pages of \(ordinary) taken")
        do { try machine.checkInvariants() } catch { try require(false, "\(error)") }
        if random.oneIn(2) { try machine.compact(node) }
        machine.remove(buffer)
    }

    /// Nothing moves a contiguous buffer, nor frees a page of it.
    private mutating func move() throws {
        note("move")
        let busy: Errno? = runs.isEmpty ? nil : .resourceBusy
        if let run = runs.randomElement(using: &random) {
            let real = failure { () throws(Errno) in try machine.migrate(run.buffer, to: 0) }
            try require(real == .resourceBusy, "migration: \(real as Any)")
            try require(run.buffer.migration.failed == run.pages, "\(run.buffer.migration)")
            let size = run.buffer.size
            try require(
                failure { () throws(Errno) in try machine.resize(run.buffer, to: size + 1) } == .notPermitted, "growth")
        }
        let real = failure { () throws(Errno) in try machine.migrate(node: node, to: 0) }
        try require(real == busy, "migration of the node: \(real as Any)")
        try machine.reclaim(.max, of: node, demotingTo: [machine.nodes[0]])
        for run in runs { try check(run) }
    }

    private mutating func changeBlock() throws {
        let index = Int.random(in: isOnline.indices, using: &random)
        let block = machine.block(UInt64(Self.ramFrames / Self.blockFrames + index))!
        note("\(isOnline[index] ? "offline" : "online") block \(index)")
        guard isOnline[index] else {
            try machine.online(block)
            isOnline[index] = true
            return
        }
        let first = (index - Self.ordinaryBlocks) * Self.blockFrames
        let isUsed = index >= Self.ordinaryBlocks && owners[first..<first + Self.blockFrames].contains { $0 != nil }
        let real = failure { () throws(Errno) in try machine.offline(block) }
        try require(real == (isUsed ? .resourceBusy : nil), "offline: \(real as Any)")
        if !isUsed { isOnline[index] = false }
    }

    mutating func finish() throws {
        while !runs.isEmpty { try giveBack() }
        let usage = node.usage
        try require(usage.free == usage.present && usage.allocated == 0, "frames are lost: \(usage)")
    }
}
