import CoherentMemory
import Testing

@testable import Programs

@Suite("Touches in sequence")
struct TouchSequenceTests {
    private let usual: UInt64 = 128 << 10

    /// Touches all pages from an address on, and returns the lengths of the windows.
    private func windows(_ sequences: inout TouchSequences, from start: UInt64, usual: UInt64, count: Int) -> [UInt64] {
        var page = start
        return (0..<count).map { _ in
            let length = sequences.length(at: page, usual: usual)
            sequences.note(page, end: page + length, length: length, usual: usual)
            page += length
            return length
        }
    }

    @Test("Windows double as far as 1 MiB, for several sequences at once")
    func doubling() {
        var sequences = TouchSequences()
        let expected = [128, 256, 512, 1024, 1024].map { UInt64($0) << 10 }
        #expect(windows(&sequences, from: 1 << 30, usual: usual, count: 5) == expected)
        #expect(windows(&sequences, from: 2 << 30, usual: usual, count: 2) == [usual, usual * 2])
        let next = UInt64(1 << 30) + expected.reduce(0, +)
        #expect(sequences.length(at: next, usual: usual) == 1 << 20)
        #expect(sequences.length(at: next + Page.size, usual: usual) == usual)
        #expect(sequences.length(at: next - Page.size, usual: usual) == usual)
    }

    @Test("A window that does not get all of its frames begins anew; older sequences than four are forgotten")
    func ending() {
        var sequences = TouchSequences()
        sequences.note(1 << 30, end: 1 << 30 + usual, length: usual, usual: usual)
        let page: UInt64 = 1 << 30 + usual
        sequences.note(page, end: page + Page.size, length: usual * 2, usual: usual)
        #expect(sequences.length(at: page + Page.size, usual: usual) == usual)
        for place in 2..<6 {
            sequences.note(UInt64(place) << 30, end: UInt64(place) << 30 + usual, length: usual, usual: usual)
        }
        #expect(sequences.length(at: 2 << 30 + usual, usual: usual) == usual * 2)
        sequences.note(7 << 30, end: 7 << 30 + usual, length: usual, usual: usual)
        #expect(sequences.length(at: 2 << 30 + usual, usual: usual) == usual)
        #expect(sequences.length(at: 3 << 30 + usual, usual: usual) == usual * 2)
    }

    @Test("Page by page stays page by page, and the longest window of a mount stays the longest")
    func limits() {
        var sequences = TouchSequences()
        #expect(windows(&sequences, from: 1 << 30, usual: Page.size, count: 3) == [Page.size, Page.size, Page.size])
        #expect(windows(&sequences, from: 3 << 30, usual: 1 << 20, count: 2) == [1 << 20, 1 << 20])
    }

    @Test("A window is known by its second touch, unless another one takes its place, and is forgotten then")
    func windows() {
        var windows = TouchedWindows()
        let known = [0, 0, 1, 0, 4096, 0, 0].map { windows.note($0 * usual, size: usual) }
        #expect(known == [false, true, false, false, false, false, true])
    }
}
