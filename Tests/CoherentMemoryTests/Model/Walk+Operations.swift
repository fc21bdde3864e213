import MachineTopology
import SystemPackage

@testable import CoherentMemory

extension Walk {
    /// Does something at random with both and compares the answers.
    ///
    /// - Returns: the nodes that must count a refusal.
    mutating func operate() throws -> Set<Int> {
        let buffer = buffers.randomElement(using: &random)!
        switch Int.random(in: 0..<107, using: &random) {
        case 0..<6: makeBuffer()
        case 6..<9: removeBuffer(buffer)
        case 9..<36: return try write(buffer)
        case 36..<52: return try read(buffer)
        case 52..<57: try resize(buffer)
        case 57..<65: punch(buffer)
        case 65..<71: return try allocate(buffer)
        case 71..<75: try seek(buffer)
        case 75..<80: try setPolicy(buffer)
        case 80..<81: try setIsolation()
        case 81..<82: try setWeight()
        case 82..<90: try migrate(buffer)
        case 90..<92: try migrateNode()
        case 92..<96: try offlineBlock()
        case 96..<97: try onlineBlock()
        case 97..<98: try probe()
        case 98..<99: try unplug()
        case 100..<102: try poison()
        case 102..<104: return try poison(buffer)
        case 104..<105: try softOffline()
        case 105..<107: try clear()
        default: try changeDevice()
        }
        return []
    }

    /// Takes every frame of each node, and gives every other one back.
    mutating func scatter() throws {
        for node in machine.nodes {
            makeBuffer()
            let buffer = buffers.last!
            let policy = try MemoryPolicy(parsing: "bind:\(node.id)", available: machine.nodesWithMemory)
            try machine.setPolicy(policy, of: buffer)
            model.buffers[buffer.id]!.policy = .init(mode: .bind, nodes: [node.id])
            let pages = UInt64(model.free(node.id))
            let all = 0..<pages * 4096
            let real = outcome { () throws(Errno) in
                try machine.allocate(buffer, bytes: all, keepsSize: false, origin: Origin(pid: 7, node: 0))
            }
            try expect(real, model.allocate(buffer.id, all, keepsSize: false, origin: 0).result, "taking every frame")
            for page in stride(from: 0, to: pages, by: 2) {
                let hole = page * 4096..<(page + 1) * 4096
                machine.punch(buffer, bytes: hole)
                model.punch(buffer.id, hole)
            }
            let orders = node.usage.freeBlocks
            try expect(orders[0], orders.reduce(0, +), "free blocks of one frame on node \(node.id)")
        }
        try compare()
    }

    private mutating func origin() -> Origin { Origin(pid: 7, node: random.oneIn(4) ? machine.nodes.last!.id : 0) }

    /// A place in a buffer: mostly near its start, where things meet; now and then very far away.
    private mutating func place(in buffer: Buffer) -> UInt64 {
        if random.oneIn(24), buffer.fixedSize == nil {
            return (UInt64(1) << UInt64.random(in: 22...62, using: &random))
                + UInt64.random(in: 0..<8192, using: &random)
        }
        let page = UInt64.random(in: 0..<600, using: &random) * 4096
        return random.oneIn(2) ? page : page + UInt64.random(in: 0..<4096, using: &random)
    }

    private mutating func length() -> UInt64 {
        switch Int.random(in: 0..<8, using: &random) {
        case 0: UInt64.random(in: 0..<64, using: &random)
        case 1, 2: 4096
        case 3: UInt64.random(in: 1..<1_500_000, using: &random)
        default: UInt64.random(in: 1..<40_000, using: &random)
        }
    }

    private mutating func makeBuffer() {
        guard buffers.count < 12 else { return }
        let buffer = machine.makeBuffer()
        model.buffers[buffer.id] = Model.Buffer()
        buffers.append(buffer)
        note("make buffer \(buffer.id)")
    }

    private mutating func removeBuffer(_ buffer: Buffer) {
        guard buffer.fixedSize == nil else { return }
        note("remove buffer \(buffer.id)")
        machine.remove(buffer)
        model.remove(buffer.id)
        buffers.removeAll { $0 === buffer }
    }

    private mutating func write(_ buffer: Buffer) throws -> Set<Int> {
        var offset = place(in: buffer)
        if random.oneIn(60) { offset = UInt64(Int64.max) - UInt64.random(in: 0..<9000, using: &random) }
        let count = Int(length())
        var data = [UInt8](repeating: UInt8.random(in: 1...255, using: &random), count: count)
        for index in stride(from: 0, to: count, by: 509) { data[index] = UInt8(truncatingIfNeeded: index) }
        let isGrowing = !random.oneIn(4)
        let origin = origin()
        note(
            "write \(count) bytes to \(buffer.id) at \(offset), \(isGrowing ? "growing" : "back"), node \(origin.node)")
        let real = outcome { () throws(Errno) in
            try machine.store(data, to: buffer, at: offset, origin: origin, isGrowing: isGrowing)
        }
        let (expected, refused) = model.write(
            buffer.id, data, at: offset, origin: origin.node, isGrowing: isGrowing)
        try expect(real, expected, "write")
        return refused
    }

    /// Reads without a touch: no page gets a frame, and what has none is zero.
    private mutating func peek(_ buffer: Buffer, _ bytes: Range<UInt64>, count: Int) throws {
        let content = Model.pages(of: bytes).map { model.buffers[buffer.id]!.pages[$0] }
        let all = content.flatMap { $0?.bytes ?? [UInt8](repeating: 0, count: 4096) }
        let real = outcome { () throws(Errno) in
            try machine.bytes(of: buffer, at: bytes.lowerBound, count: count, isTouch: false)
        }
        let hasFailed = content.contains { $0?.failedAt != nil }
        let expected = Array(all.dropFirst(Int(bytes.lowerBound % 4096)).prefix(bytes.count))
        try expect(real, hasFailed ? .failure(.ioError) : .success(expected), "peek")
    }

    /// Reads as the kernel does: many pages at once, and on an error each by itself.
    private mutating func read(_ buffer: Buffer) throws -> Set<Int> {
        let offset = place(in: buffer)
        let origin = origin()
        let count = Int(min(length(), UInt64(Machine.maximumRead)))
        note("read \(count) bytes of \(buffer.id) at \(offset), node \(origin.node)")
        let size = buffer.size
        let end = max(offset, min(offset + UInt64(count), size))
        try peek(buffer, offset..<end, count: count)
        var refused: Set<Int> = []
        let real = outcome { () throws(Errno) in
            try machine.bytes(of: buffer, at: offset, count: count, origin: origin)
        }
        var expected: [UInt8] = []
        var isComplete = true
        let hasFailed = Model.pages(of: offset..<end).contains { model.buffers[buffer.id]!.pages[$0]?.failedAt != nil }
        for page in Model.pages(of: offset..<end) {
            let (bytes, turnedAway) = model.read(buffer.id, page: page, origin: origin.node)
            refused.formUnion(turnedAway)
            expected += (try? bytes.get()) ?? [UInt8](repeating: 0, count: 4096)
            isComplete = isComplete && bytes.errno == nil
            if case .failure(let error) = real {
                try expect(error, hasFailed ? .ioError : .noMemory, "read")
                let single = outcome { () throws(Errno) in
                    try machine.bytes(of: buffer, at: page * 4096, count: 4096, origin: origin)
                }
                let inside = Int(min(4096, size - page * 4096))
                try expect(single, bytes.map { Array($0.prefix(inside)) }, "page \(page)")
            }
        }
        guard case .success(let bytes) = real else {
            if isComplete { throw fail("read: an error, the model has all of it") }
            return refused
        }
        let skipped = Int(offset % 4096)
        if !isComplete || bytes != Array(expected.dropFirst(skipped).prefix(Int(end - offset))) {
            throw fail("read: \(isComplete ? "other bytes" : "bytes where there is no room")")
        }
        return refused
    }

    private mutating func resize(_ buffer: Buffer) throws {
        let size = random.oneIn(30) ? UInt64(Int64.max) + UInt64.random(in: 0...2, using: &random) : place(in: buffer)
        note("resize \(buffer.id) to \(size)")
        try expect(
            outcome { () throws(Errno) in try machine.resize(buffer, to: size) }, model.resize(buffer.id, to: size),
            "resize")
    }

    private mutating func punch(_ buffer: Buffer) {
        let offset = place(in: buffer)
        let range = offset..<(random.oneIn(20) ? UInt64(Int64.max) : offset + length())
        note("punch \(range) of \(buffer.id)")
        guard range.lowerBound <= range.upperBound else { return }
        machine.punch(buffer, bytes: range)
        model.punch(buffer.id, range)
    }

    private mutating func allocate(_ buffer: Buffer) throws -> Set<Int> {
        let offset = random.oneIn(60) ? UInt64(Int64.max) - 5000 : place(in: buffer)
        let range = offset..<offset + length()
        let keepsSize = random.oneIn(2)
        let origin = origin()
        note("allocate \(range) of \(buffer.id)\(keepsSize ? ", keeping its size" : ""), node \(origin.node)")
        let real = outcome { () throws(Errno) in
            try machine.allocate(buffer, bytes: range, keepsSize: keepsSize, origin: origin)
        }
        let (expected, refused) = model.allocate(buffer.id, range, keepsSize: keepsSize, origin: origin.node)
        try expect(real, expected, "allocate")
        return refused
    }

    private mutating func seek(_ buffer: Buffer) throws {
        let offset = place(in: buffer)
        note("seek in \(buffer.id) from \(offset)")
        try expect(try? machine.nextData(in: buffer, from: offset), model.nextData(buffer.id, from: offset), "data")
        try expect(try? machine.nextHole(in: buffer, from: offset), model.nextHole(buffer.id, from: offset), "hole")
    }

    private mutating func setPolicy(_ buffer: Buffer) throws {
        let mode = MemoryPolicy.Mode.allCases.randomElement(using: &random)!
        var ids = IDSet()
        if mode == .prefer {
            ids.insert(machine.nodes.randomElement(using: &random)!.id)
        } else if mode != .default, mode != .local {
            for node in machine.nodes where random.oneIn(2) { ids.insert(node.id) }
            if ids.isEmpty { ids.insert(0) }
        }
        let text = ids.isEmpty ? mode.rawValue : "\(mode.rawValue):\(ids)"
        note("policy \(text) of \(buffer.id)")
        let hasMemory = ids.allSatisfy { model.present($0) > 0 }
        let policy = outcome { () throws(Errno) in
            try MemoryPolicy(parsing: text, available: machine.nodesWithMemory)
        }
        try expect(policy.errno, hasMemory ? nil : .invalidArgument, "parsing \(text)")
        guard let policy = try? policy.get() else { return }
        let real = outcome { () throws(Errno) in try machine.setPolicy(policy, of: buffer) }
        try expect(real, buffer.fixedSize == nil ? .success(()) : .failure(.notPermitted), "policy")
        if buffer.fixedSize == nil { model.buffers[buffer.id]!.policy = .init(mode: mode, nodes: Array(ids)) }
    }

    private mutating func setWeight() throws {
        let node = machine.nodes.randomElement(using: &random)!
        let weight = Int.random(in: 1...6, using: &random)
        note("weight \(weight) of node \(node.id)")
        try machine.setInterleaveWeight(weight, of: node)
        model.nodes[node.id].weight = weight
    }

    private mutating func setIsolation() throws {
        let node = machine.nodes.randomElement(using: &random)!
        let isolation: Isolation = random.oneIn(2) ? .none : .exclusive
        note("isolation \(isolation) of node \(node.id)")
        let real = outcome { () throws(Errno) in try machine.setIsolation(isolation, of: node) }
        guard node.kind == .coherent else { return try expect(real, .failure(.invalidArgument), "isolation") }
        let isThere = model.nodes[node.id].isThere
        try expect(real, isThere ? .success(()) : .failure(.operationNotSupportedByDevice), "isolation")
        if isThere { model.nodes[node.id].isIsolated = isolation == .exclusive }
    }
}
