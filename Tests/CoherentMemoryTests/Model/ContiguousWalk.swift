import SystemPackage

@testable import CoherentMemory

/// Random operations on nodes with contiguous shares, beside a model that keeps a list of their frames and looks at every
/// one of them.
struct ContiguousWalk {
    private struct Run {
        let buffer: Buffer
        let pages: Int
        /// The place of the share that it lies in.
        var share: Int
        /// What each page that is not zero is filled with.
        var contents: [Int: UInt8] = [:]
    }

    /// A node of which the last blocks are set aside.
    private struct Share {
        let node: CoherentMemory.Node
        /// The machine's frames and blocks before the node's.
        let firstBlock: Int
        let ordinaryBlocks: Int
        /// Who has each frame of the share.
        var owners: [UInt64?]
        /// Of all blocks of the node.
        var isOnline: [Bool]

        init(_ node: CoherentMemory.Node, firstBlock: Int, ordinary: Int, shared: Int) {
            self.node = node
            self.firstBlock = firstBlock
            ordinaryBlocks = ordinary
            owners = Array(repeating: nil, count: shared * blockFrames)
            isOnline = Array(repeating: true, count: ordinary + shared)
        }

        func isFree(_ frame: Int) -> Bool { owners[frame] == nil && isOnline[ordinaryBlocks + frame / blockFrames] }

        /// Every longest run of free frames, ascending.
        var stretches: [Range<Int>] {
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
        func place(_ count: Int) -> Int? {
            var alignment = 1
            while alignment < count, alignment < 256 { alignment *= 2 }
            let fitting = stretches.compactMap { stretch -> (length: Int, start: Int)? in
                let start = (stretch.lowerBound + alignment - 1) / alignment * alignment
                return start + count <= stretch.upperBound ? (stretch.count, start) : nil
            }
            return fitting.min { $0 < $1 }?.start
        }

        func address(of frame: Int) -> UInt64 {
            UInt64((firstBlock + ordinaryBlocks) * blockFrames + frame) * 4096
        }
    }

    fileprivate static let blockFrames = 512
    private static let ramBlocks = 16

    let seed: UInt64
    let machine: Machine
    private var random: SplitMix64
    private var steps = 0
    private var history: [String] = []
    private var runs: [Run] = []
    private var shares: [Share]

    /// The node that has other memory, too.
    private var node: CoherentMemory.Node { shares[0].node }

    init(seed: UInt64) throws {
        self.seed = seed
        random = SplitMix64(seed: seed)
        machine = try Machine(ram: 32, coherent: [14, 6], contiguous: 8)
        shares = [
            Share(machine.node(1)!, firstBlock: Self.ramBlocks, ordinary: 3, shared: 4),
            Share(machine.node(2)!, firstBlock: Self.ramBlocks + 7, ordinary: 0, shared: 3),
        ]
    }

    private func require(_ condition: Bool, _ what: @autoclosure () -> String) throws {
        if !condition {
            throw Walk.Disagreement(
                description: "seed \(seed), step \(steps): \(what())\nafter:\n  " + history.joined(separator: "\n  "))
        }
    }

    private mutating func note(_ operation: String) { history = (history + [operation]).suffix(12) }

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
        for share in shares { try check(share) }
    }

    private func check(_ share: Share) throws {
        let usage = share.node.usage
        let free = share.stretches.map(\.count)
        let total = share.isOnline.dropFirst(share.ordinaryBlocks).count { $0 } * Self.blockFrames
        let expected = ContiguousUsage(total: total, free: free.reduce(0, +), largest: free.max() ?? 0)
        try require(usage.contiguous == expected, "\(usage.contiguous), should be \(expected)")
        try require(usage.present == share.isOnline.count { $0 } * Self.blockFrames, "present \(usage.present)")
        try require(usage.free + usage.allocated == usage.present, "free \(usage.free), allocated \(usage.allocated)")
        let blocks = usage.freeBlocks.enumerated().reduce(0) { $0 + $1.1 << $1.0 }
        try require(blocks == usage.free, "\(blocks) in free blocks, \(usage.free) free")
    }

    private mutating func make() throws {
        let pages =
            random.oneIn(4) ? 1 << Int.random(in: 0...10, using: &random) : Int.random(in: 1...700, using: &random)
        let index = Int.random(in: shares.indices, using: &random)
        note("make \(pages) on \(index + 1)")
        let buffer = try machine.makeBuffer("default", size: UInt64(pages) * 4096)
        let real = failure { () throws(Errno) in try machine.makeContiguous(buffer, on: index + 1) }
        let hasMemory = shares[index].isOnline.contains(true)
        guard hasMemory, let start = shares[index].place(pages) else {
            try require(real == (hasMemory ? .noMemory : .operationNotSupportedByDevice), "\(real as Any)")
            machine.remove(buffer)
            return
        }
        try require(real == nil, "\(real as Any)")
        runs.append(Run(buffer: buffer, pages: pages, share: index))
        try settle(runs.count - 1, in: index, at: start)
        try check(runs[runs.count - 1])
    }

    /// Notes where a run lies now, and checks that it does.
    private mutating func settle(_ index: Int, in share: Int, at start: Int) throws {
        let buffer = runs[index].buffer
        let old = runs[index].share
        for frame in shares[old].owners.indices where shares[old].owners[frame] == buffer.id {
            shares[old].owners[frame] = nil
        }
        for frame in start..<start + runs[index].pages { shares[share].owners[frame] = buffer.id }
        runs[index].share = share
        let expected = ContiguousRange(
            node: share + 1, physicalAddress: shares[share].address(of: start),
            length: UInt64(runs[index].pages) * 4096)
        try require(machine.contiguousRange(of: buffer) == expected, "\(machine.contiguousRange(of: buffer) as Any)")
    }

    private func check(_ run: Run) throws {
        for page in 0..<run.pages {
            let bytes = try machine.bytes(of: run.buffer, at: UInt64(page) * 4096, count: 4096)
            let byte = run.contents[page] ?? 0
            try require(bytes.allSatisfy { $0 == byte }, "page \(page) of \(run.buffer.id) is not \(byte)")
        }
        try require(machine.pages(of: run.buffer) == [run.share + 1: run.pages], "pages of \(run.buffer.id)")
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
        for frame in shares[run.share].owners.indices where shares[run.share].owners[frame] == run.buffer.id {
            shares[run.share].owners[frame] = nil
        }
    }

    /// Others take all they can get of the node.
    private mutating func crowd() throws {
        let ordinary = shares[0].isOnline.prefix(shares[0].ordinaryBlocks).count { $0 } * Self.blockFrames
        note("crowd")
        if random.oneIn(2) {
            machine.setHugePages(1 << 20, of: node)
            try require(node.usage.hugePool.total == ordinary / HugePage.frames, "\(node.usage.hugePool)")
            machine.setHugePages(0, of: node)
            return
        }
        guard shares[0].isOnline.contains(true) else { return }
        let buffer = try machine.makeBuffer("bind:1")
        if random.oneIn(2) { try machine.setHugeMode(.always, of: buffer) }
        let bytes = [UInt8](repeating: 9, count: node.span.base.count * 4096)
        let stored = (try? machine.store(bytes, to: buffer, at: 0)) ?? 0
        try require(stored / 4096 == ordinary, "\(stored / 4096) pages of \(ordinary) taken")
        do { try machine.checkInvariants() } catch { try require(false, "\(error)") }
        if random.oneIn(2) { try machine.compact(node) }
        machine.remove(buffer)
    }

    /// A buffer, or all of a node's, goes as a whole where it finds a run, and stays where there is none.
    private mutating func move() throws {
        let target = Int.random(in: -1..<shares.count, using: &random)
        let hasMemory = target < 0 || shares[target].isOnline.contains(true)
        if random.oneIn(3) {
            let source = Int.random(in: shares.indices, using: &random)
            guard source != target else { return }
            note("migrate node \(source + 1) to \(target + 1)")
            let real = failure { () throws(Errno) in
                try machine.migrate(node: shares[source].node, to: target + 1)
            }
            guard hasMemory else { return try require(real == .operationNotSupportedByDevice, "\(real as Any)") }
            var expected: Errno?
            for index in runs.indices.sorted(by: { runs[$0].buffer.id < runs[$1].buffer.id })
            where runs[index].share == source {
                if target >= 0, let start = shares[target].place(runs[index].pages) {
                    try settle(index, in: target, at: start)
                } else {
                    expected = .noMemory
                }
            }
            try require(real == expected, "migration of the node: \(real as Any)")
        } else if let index = runs.indices.randomElement(using: &random) {
            let run = runs[index]
            note("migrate \(run.buffer.id) to \(target + 1)")
            let first = UInt64.random(in: 0..<UInt64(run.pages), using: &random) * 4096
            let isPinned = random.oneIn(5)
            try machine.setPinned(isPinned, of: run.buffer)
            let bytes = random.oneIn(2) ? first..<first + 4096 : nil
            let real = failure { () throws(Errno) in try machine.migrate(run.buffer, bytes: bytes, to: target + 1) }
            let result = run.buffer.migration
            try machine.setPinned(false, of: run.buffer)
            let size = run.buffer.size
            try require(
                failure { () throws(Errno) in try machine.resize(run.buffer, to: size + 1) } == .notPermitted, "growth")
            guard hasMemory else { return try require(real == .operationNotSupportedByDevice, "\(real as Any)") }
            if target == run.share {
                try require(real == nil && result.moved + result.failed == 0, "\(result)")
            } else if !isPinned, target >= 0, let start = shares[target].place(run.pages) {
                try require(real == nil && result.moved == run.pages, "\(real as Any) \(result)")
                try settle(index, in: target, at: start)
                try check(runs[index])
            } else {
                try require(real == (isPinned ? .resourceBusy : .noMemory), "migration: \(real as Any)")
                try require(result.failed == run.pages && result.moved == 0, "\(result)")
            }
        }
        try machine.reclaim(.max, of: node, demotingTo: [machine.nodes[0]])
        if let run = runs.randomElement(using: &random) { try check(run) }
    }

    private mutating func changeBlock() throws {
        let index = Int.random(in: shares.indices, using: &random)
        let number = Int.random(in: shares[index].isOnline.indices, using: &random)
        let block = machine.block(UInt64(shares[index].firstBlock + number))!
        note("\(shares[index].isOnline[number] ? "offline" : "online") block \(number) of \(index + 1)")
        guard shares[index].isOnline[number] else {
            try machine.online(block)
            shares[index].isOnline[number] = true
            return
        }
        let real = failure { () throws(Errno) in try machine.offline(block) }
        shares[index].isOnline[number] = false
        let first = (number - shares[index].ordinaryBlocks) * Self.blockFrames
        for place in runs.indices.sorted(by: { runs[$0].buffer.id < runs[$1].buffer.id })
        where first >= 0 && runs[place].share == index
            && shares[index].owners[first..<first + Self.blockFrames].contains(runs[place].buffer.id)
        {
            let found = [index, 1 - index].compactMap { share in
                shares[share].place(runs[place].pages).map { (share, $0) }
            }.first
            guard let (share, start) = found else {
                try require(real == .resourceBusy, "offline: \(real as Any)")
                try require(
                    machine.blockers(of: shares[index].node).contains { $0.buffer === runs[place].buffer }, "blockers")
                shares[index].isOnline[number] = true
                return
            }
            try settle(place, in: share, at: start)
            try check(runs[place])
        }
        try require(real == nil, "offline: \(real as Any)")
    }

    mutating func finish() throws {
        while !runs.isEmpty { try giveBack() }
        for share in shares {
            let usage = share.node.usage
            try require(usage.free == usage.present && usage.allocated == 0, "frames are lost: \(usage)")
        }
    }
}
