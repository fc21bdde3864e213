import SystemPackage
import Testing

@testable import CoherentMemory

/// Long lists that are had a part at a time.
@Suite("Lists in parts")
struct ListingTests {
    /// What parts of a list make together.
    private func all<Element>(
        limit: Int, _ part: (UInt64, Int) -> [Element], next: (Element) -> UInt64
    ) -> [Element] {
        var all: [Element] = []
        var key: UInt64 = 0
        while true {
            let elements = part(key, limit)
            #expect(elements.count <= limit)
            guard let last = elements.last else { return all }
            #expect(next(last) > key || all.isEmpty)
            all += elements
            key = next(last)
        }
    }

    @Test("Runs of pages, of buffers in pieces and of direct ones", arguments: [false, true])
    func runs(isDirect: Bool) throws {
        let machine = try Machine(ram: 32, coherent: [32])
        let buffer = try machine.makeBuffer("interleave:0-1", size: 20 * mebibyte)
        for page in [0..<700, 1500..<1501, 1600..<4096, 4500..<5000] {
            let bytes = [UInt8](repeating: 1, count: page.count * 4096)
            try machine.store(bytes, to: buffer, at: UInt64(page.lowerBound) * 4096)
        }
        try machine.migrate(buffer, bytes: 2000 * 4096..<3000 * 4096, to: 1)
        if isDirect {
            try machine.makeDirect(buffer, in: BackingFile(anonymous: "test"), origin: onNode0)
            machine.punch(buffer, bytes: 4300 * 4096..<4400 * 4096)
        }
        let whole = machine.runs(of: buffer)
        #expect(whole.count > 2000)
        for limit in [1, 2, 63, 64, 1000, 100_000] where limit > 60 || !isDirect {
            let parts = all(limit: limit) {
                machine.runs(of: buffer, from: $0, limit: $1)
            } next: {
                $0.offset + $0.length
            }
            #expect(parts == whole, "\(limit)")
        }
        #expect(machine.runs(of: buffer, from: .max, limit: 1) == [])
        #expect(machine.runs(of: buffer, from: 20 * mebibyte, limit: 1) == [])
        machine.remove(buffer)
    }

    @Test("Blockers, by physical address, whatever buffers they are of")
    func blockers() throws {
        let machine = try Machine(ram: 16, coherent: [16])
        let node = machine.node(1)!
        var buffers: [Buffer] = []
        for _ in 0..<3 { buffers.append(try machine.makeBuffer("bind:1", size: 4 * mebibyte)) }
        // Page by page in turns, so that no two of a buffer follow each other; then one that is in one piece.
        for page in 0..<300 {
            for buffer in buffers { try machine.store([1], to: buffer, at: UInt64(page) * 4096) }
        }
        let piece = try machine.makeBuffer("bind:1", size: 2 * mebibyte)
        try machine.store([UInt8](repeating: 1, count: 2 << 20), to: piece, at: 0)
        for buffer in buffers + [piece] { try machine.setPinned(true, of: buffer) }
        let whole = machine.blockers(of: node)
        #expect(whole.count > 500 && whole.reduce(0) { $0 + $1.bytes.count } == 900 * 4096 + 2 << 20)
        for limit in [1, 7, 256, 10_000] {
            let parts = all(limit: limit) {
                machine.blockers(of: node, from: $0, limit: $1)
            } next: {
                $0.physicalAddress + UInt64($0.bytes.count)
            }
            #expect(parts.map(\.physicalAddress) == whole.map(\.physicalAddress), "\(limit)")
            #expect(parts.map(\.bytes) == whole.map(\.bytes), "\(limit)")
        }
    }

    @Test("Frames out of use, those of added memory, too")
    func failedRanges() throws {
        let machine = try Machine(ram: 8, coherent: [8])
        let node = machine.node(0)!
        try machine.probe(address: 16 * mebibyte)
        try machine.online(machine.block(8)!)
        for pfn in [3, 4, 5, 9, 500, 4096, 4097, 4100] as [UInt64] { try machine.poison(address: pfn << 12) }
        let whole = machine.failedRanges(of: node)
        #expect(whole.map(\.physicalAddress) == [3, 9, 500, 4096, 4100].map { $0 << 12 })
        for limit in [1, 2, 100] {
            let parts = all(limit: limit) {
                machine.failedRanges(of: node, from: $0, limit: $1)
            } next: {
                $0.physicalAddress + $0.length
            }
            #expect(parts == whole, "\(limit)")
        }
    }

    @Test("Groups within groups, as deep as a path may be")
    func deepGroups() throws {
        let machine = try Machine(ram: 8, coherent: [8])
        var groups = [machine.rootGroup]
        while let next = try? machine.makeGroup("g", in: groups.last!) { groups.append(next) }
        #expect(groups.count == 2049, "4095 bytes of g/g/…")
        #expect(failure { () throws(Errno) in _ = try machine.makeGroup("g", in: groups.last!) } == .fileNameTooLong)
        #expect(failure { () throws(Errno) in _ = try machine.makeGroup("gg", in: groups[2047]) } == .fileNameTooLong)
        let changes = try machine.setMems([1], of: groups[1949])
        #expect(changes.count == 100 && machine.effectiveMems(of: groups.last!) == [1])
        let last = groups.last!
        for index in groups.indices.dropFirst().reversed() { try machine.removeGroup("g", in: groups[index - 1]) }
        #expect(last.isRemoved && machine.rootGroup.children.isEmpty)
        // The last reference to a chain of groups that are gone.
        groups.removeAll()
    }
}
