import Testing

@testable import CoherentMemory

@Suite("IDTable")
struct IDTableTests {
    @Test("Agrees with Dictionary over random insertions and removals", arguments: [3, 255, 256, 257, 20_000])
    func random(range: UInt64) {
        var table = IDTable<UInt64>()
        var naive: [UInt64: UInt64] = [:]
        var random = SplitMix64(seed: range)
        for step in 0..<6000 {
            let id = UInt64.random(in: 0..<range, using: &random)
            // Now crowded, now sparse.
            if (step / 1000).isMultiple(of: 2) == !random.oneIn(4) {
                naive[id] = UInt64(step)
                table[id] = UInt64(step)
            } else {
                #expect(table.remove(id) == naive.removeValue(forKey: id))
            }
            let probe = UInt64.random(in: 0..<range, using: &random)
            #expect(table[probe] == naive[probe])
            #expect(table.count == naive.count)
            guard step.isMultiple(of: 97) else { continue }
            let expected = naive.filter { $0.key >= probe }.min { $0.key < $1.key }
            #expect(table.next(from: probe)?.id == expected?.key && table.next(from: probe)?.element == expected?.value)
            #expect(table.elements == naive.sorted { $0.key < $1.key }.map(\.value))
        }
        for id in naive.keys { table.remove(id) }
        #expect(table.count == 0 && table.next(from: 0) == nil && table.elements.isEmpty)
    }

    @Test("Numbers that were never given have no element")
    func strangers() {
        var table = IDTable<Int>()
        table[5] = 1
        for id: UInt64 in [0, 4, 6, 255, 256, 1 << 40, .max] {
            #expect(table[id] == nil && table.remove(id) == nil)
        }
        #expect(table.next(from: 6) == nil && table.next(from: .max) == nil)
        table[5] = nil
        #expect(table.count == 0)
    }
}
