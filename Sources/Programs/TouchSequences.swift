import CoherentMemory

/// Where first touches of an address space go on in sequence (struct file_ra_state).
///
/// A first touch costs two wake-ups, which take longer across CPUs than all else. So pages that are touched in sequence get their frames in
/// ever longer windows: each is twice as long as the one before. What is never touched of them is at most as much as what has been.
struct TouchSequences {
    private struct Sequence {
        /// The address of the page that is touched next, if the sequence goes on.
        var next: UInt64 = .max
        /// The length of the last window in bytes; 0 where not all of it got frames.
        var length: UInt64 = 0
    }

    /// As many are followed at once, for example one of each thread.
    private var sequences = InlineArray<4, Sequence>(repeating: Sequence())
    private var oldest = 0
    /// The longest window in bytes.
    static let longest: UInt64 = 1 << 20

    /// The length of the window of a first touch in bytes: more than `usual` where a sequence goes on. Page by page stays page by page.
    func length(at page: UInt64, usual: UInt64) -> UInt64 {
        guard usual > Page.size, let place = place(of: page) else { return usual }
        return min(max(usual, sequences[place].length * 2), max(usual, Self.longest))
    }

    /// Takes note of a touch.
    ///
    /// - Parameters:
    ///   - page: the address of the page.
    ///   - end: where the frames end that it got.
    ///   - length: the length of its window in bytes.
    ///   - usual: the length of other windows, at a multiple of which it ends.
    mutating func note(_ page: UInt64, end: UInt64, length: UInt64, usual: UInt64) {
        let sequence = Sequence(next: end, length: end + usual > page + length ? length : 0)
        if let place = place(of: page) {
            sequences[place] = sequence
        } else {
            sequences[oldest] = sequence
            oldest = (oldest + 1) % sequences.count
        }
    }

    private func place(of page: UInt64) -> Int? { sequences.indices.first { sequences[$0].next == page } }
}
