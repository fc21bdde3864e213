import Testing

@testable import CoherentMemory

@Suite("PageTable")
struct PageTableTests {
    /// The last page of a file of 2^63 - 1 bytes.
    private static let last = UInt64(1) << 51 - 1

    private func anyPage(_ random: inout SplitMix64) -> UInt64 {
        switch Int.random(in: 0..<4, using: &random) {
        case 0: UInt64.random(in: 0..<300, using: &random)
        case 1: Self.last - UInt64.random(in: 0..<100, using: &random)
        case 2: UInt64(1) << UInt64.random(in: 0..<51, using: &random)
        default: UInt64.random(in: 0...Self.last, using: &random)
        }
    }

    @Test("Agrees with a dictionary over random sparse pages", arguments: 1...4)
    func random(seed: UInt64) throws {
        let pool = try TablePool(NodeMap(.small(ram: 2, coherent: [])))
        var table = PageTable(pool: pool, owner: 7)
        var naive: [UInt64: PFN] = [:]
        var random = SplitMix64(seed: seed)
        for step in 0..<2000 {
            let page = anyPage(&random)
            if naive[page] == nil, !random.oneIn(5) {
                let leaf = try table.makeLeaf(of: page)
                #expect(pool.location(of: leaf) == (7, page & ~63))
                table.insert(PageTableEntry(pfn: UInt64(step)), at: page, leaf: leaf)
                naive[page] = UInt64(step)
            } else if random.oneIn(2) {
                let range = page..<page + UInt64.random(in: 1...200, using: &random)
                remove(range, from: &table)
                naive = naive.filter { !range.contains($0.key) }
            }
            let probe = random.oneIn(2) ? page : naive.keys.randomElement(using: &random) ?? page
            #expect(table[probe].isPresent == (naive[probe] != nil))
            if let pfn = naive[probe] { #expect(table[probe].pfn == pfn) }
            if step.isMultiple(of: 20) {
                let next = naive.keys.filter { $0 | 63 >= probe }.min()
                #expect(table.nextLeaf(from: probe)?.base == next.map { $0 & ~63 }, "step \(step), from \(probe)")
            }
        }
        var found: [UInt64: PFN] = [:]
        var position: UInt64 = 0
        while let (leaf, base) = table.nextLeaf(from: position) {
            for slot in 0..<UInt64(64) {
                let entry = PageTableEntry(rawValue: unsafe table.entries(of: leaf)[Int(slot)])
                if entry.isPresent { found[base + slot] = entry.pfn }
            }
            position = base + 64
        }
        #expect(found == naive)
        remove(0..<1 << 52, from: &table)
        #expect(pool.inUse == 0, "every table is given back")
    }

    private func remove(_ pages: Range<UInt64>, from table: inout PageTable) {
        var position = pages.lowerBound
        while position < pages.upperBound, let (leaf, base) = table.nextLeaf(from: position), base < pages.upperBound {
            let part = max(position, base)..<min(pages.upperBound, base + 64)
            table.remove(part, leaf: leaf) { _, _ in true }
            position = part.upperBound
        }
    }

    @Test("A buffer of one page costs one table, a page at the far end nine at most")
    func depth() throws {
        let pool = try TablePool(NodeMap(.small(ram: 2, coherent: [])))
        var table = PageTable(pool: pool, owner: 1)
        table.insert(PageTableEntry(pfn: 1), at: 5, leaf: try table.makeLeaf(of: 5))
        #expect(pool.inUse == 1)
        table.insert(PageTableEntry(pfn: 2), at: Self.last, leaf: try table.makeLeaf(of: Self.last))
        #expect(pool.inUse <= 18)
        #expect(table[5].pfn == 1 && table[Self.last].pfn == 2)
        remove(6..<1 << 52, from: &table)
        #expect(table[5].pfn == 1)
        remove(0..<64, from: &table)
        #expect(pool.inUse == 0)
    }

    @Test("A removal that keeps some entries keeps their tables")
    func keeping() throws {
        let pool = try TablePool(NodeMap(.small(ram: 2, coherent: [])))
        var table = PageTable(pool: pool, owner: 1)
        let leaf = try table.makeLeaf(of: 1000)
        for page in UInt64(1000)..<1010 { table.insert(PageTableEntry(pfn: page), at: page, leaf: leaf) }
        table.remove(1000..<1010, leaf: leaf) { page, _ in !page.isMultiple(of: 2) }
        #expect(pool.count(of: leaf) == 5)
        table.remove(960..<1024, leaf: leaf) { _, _ in true }
        #expect(pool.inUse == 0)
    }

    @Test("A page number survives every flag")
    func entries() {
        for pfn in [0, 1, UInt64(1) << 35 - 1] {
            var entry = PageTableEntry(pfn: pfn)
            entry.isCached = true
            entry.isWritten = true
            entry.isMigrating = true
            #expect(entry.isPresent && entry.pfn == pfn)
            entry.pfn = 77
            entry.isCached = false
            entry.isMigrating = false
            #expect(entry.pfn == 77 && entry.isWritten && !entry.isCached && !entry.isMigrating)
        }
        #expect(!PageTableEntry.none.isPresent)
    }
}
