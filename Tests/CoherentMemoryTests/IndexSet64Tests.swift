import Testing

@testable import CoherentMemory

@Suite("IndexSet64")
struct IndexSet64Tests {
    @Test("Agrees with Set over random insertions and removals", arguments: [1, 63, 64, 65, 4096, 4097, 300_000])
    func random(capacity: Int) throws {
        var set = try IndexSet64(capacity: capacity)
        var naive = Set<Int>()
        var random = SplitMix64(seed: UInt64(capacity))
        for step in 0..<4000 {
            // Now crowded, now sparse; the summary bits are right in both.
            let isFilling = step / 500 % 2 == 0
            if isFilling == !random.oneIn(4) {
                let index = Int.random(in: 0..<capacity, using: &random)
                if naive.insert(index).inserted { set.insert(index) }
            } else if let index = random.oneIn(2) ? naive.min() : naive.first {
                naive.remove(index)
                set.remove(index)
            }
            if step.isMultiple(of: 7) { #expect(set.first() == naive.min()) }
            #expect(set.count == naive.count)
            let probe = Int.random(in: 0..<capacity, using: &random)
            #expect(set.contains(probe) == naive.contains(probe))
        }
        while let least = naive.min() {
            #expect(set.first() == least)
            naive.remove(least)
            set.remove(least)
        }
        #expect(set.isEmpty && set.first() == nil)
    }

    @Test("The ends of a large capacity")
    func ends() throws {
        let capacity = 1 << 29
        var set = try IndexSet64(capacity: capacity)
        set.insert(capacity - 1)
        #expect(set.first() == capacity - 1)
        set.insert(0)
        #expect(set.first() == 0)
        set.remove(0)
        #expect(set.first() == capacity - 1)
        #expect(!set.contains(0) && set.contains(capacity - 1))
    }
}
