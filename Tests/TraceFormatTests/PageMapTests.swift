import CoherentMemory
import Testing

@testable import TraceFormat

/// Runs of pages, whatever the order in which events tell of them.
@Suite("Page map")
struct PageMapTests {
    private struct Run: Equatable {
        let pages: Range<UInt64>
        let state: Int

        init(_ pages: Range<UInt64>, _ state: Int) { (self.pages, self.state) = (pages, state) }
    }

    private func runs(_ map: PageMap<Int>, in pages: Range<UInt64>? = nil) -> [Run] {
        var runs: [Run] = []
        map.forEachRun(in: pages) { runs.append(Run($0, $1)) }
        return runs
    }

    @Test("Runs are split and joined again, over chunks and within them")
    func joining() {
        var map = PageMap(0)
        map.update(10..<2000) { state, _ in state = 1 }
        #expect(runs(map) == [Run(10..<2000, 1)])
        map.update(600..<601) { state, _ in state = 2 }
        #expect(runs(map) == [Run(10..<600, 1), Run(600..<601, 2), Run(601..<2000, 1)])
        #expect(runs(map, in: 590..<601) == [Run(590..<600, 1), Run(600..<601, 2)])
        #expect(map.pageWise == 3)
        map.update(512..<1024) { state, _ in state = 1 }
        #expect(runs(map) == [Run(10..<2000, 1)] && map.pageWise == 2)
        map.update(0..<UInt64.max, onlyKnown: true) { state, _ in state = 0 }
        #expect(runs(map) == [] && map.pageWise == 0)
    }

    @Test("As an array of pages has it, for random changes")
    func model() {
        var random = SplitMix64(seed: 17)
        var map = PageMap(0)
        var model = [Int](repeating: 0, count: 4096)
        for _ in 0..<2000 {
            let start = Int.random(in: 0..<4000, using: &random)
            let end = start + Int.random(in: 0...(Bool.random(using: &random) ? 3 : 1500), using: &random)
            let state = Int.random(in: 0...2, using: &random)
            var changed = 0
            map.update(UInt64(start)..<UInt64(min(end, 4096)), onlyKnown: state == 0) { old, pages in
                old = state
                changed += pages.count
            }
            for page in start..<min(end, 4096) { model[page] = state }
            #expect(state == 0 || changed == min(end, 4096) - start)
        }
        var found = [Int](repeating: 0, count: 4096)
        for run in runs(map) { for page in run.pages { found[Int(page)] = run.state } }
        #expect(found == model)
        let list = runs(map)
        #expect(
            zip(list, list.dropFirst()).allSatisfy { $0.pages.upperBound < $1.pages.lowerBound || $0.state != $1.state }
        )
    }

    @Test("Ranges of any numbers: what is too long is counted, and what goes may be all")
    func limits() {
        var map = PageMap(0)
        map.update(5..<UInt64.max) { state, _ in state = 1 }
        #expect(runs(map) == [] && map.untracked == UInt64.max >> 12 - 5)
        map.update(UInt64.max - 1..<UInt64.max) { state, _ in state = 1 }
        let last = UInt64.max >> 12
        map.update(last - 1..<UInt64.max) { state, _ in state = 1 }
        #expect(runs(map) == [Run(last - 1..<last, 1)])
        map.update(0..<3, room: 0) { state, _ in state = 1 }
        #expect(map.untracked == UInt64.max >> 12 - 5 + 3)
        map.update(1..<UInt64.max, onlyKnown: true) { state, _ in state = 0 }
        #expect(runs(map) == [])
    }
}
