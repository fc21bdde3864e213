/// The reason why a frame is out of use.
public enum FailureReason: String, Sendable, Hashable, CaseIterable {
    /// Poison was injected at its address.
    case injected
    /// The error model of its device poisoned it (the "internal" of a CXL poison list).
    case `internal`
    /// Software declared it poisoned: hard_offline_page, or a buffer's `poison`.
    case external
    /// It was taken out of use without an uncorrected error: soft_offline_page, or too many correctable errors.
    case offlined

    /// Whether its contents are lost.
    var isPoison: Bool { self != .offlined }
}

/// The frames of one node that failed (PG_hwpoison), whether they still have owners or are out of use. The node's
/// lock guards them.
struct FailedFrames {
    struct Record {
        var reason: FailureReason
        /// Whether the frame has no owner; else it is on its way out of use.
        var isRetired = false
        /// The buffer that had the frame, and the page; 0 for none.
        var buffer: UInt64 = 0
        var page: UInt64 = 0
    }

    private var records: [Int: Record] = [:]
    /// Their frames, ascending.
    private var frames: [Int] = []
    /// How many are out of use, apart from those of blocks that are offline.
    var retired = 0

    var isEmpty: Bool { frames.isEmpty }

    var count: Int { frames.count }

    /// How many were poisoned (num_poisoned_pages).
    var poisoned: Int { records.values.count { $0.reason.isPoison } }

    subscript(frame: Int) -> Record? { records[frame] }

    /// The place of the first frame that is not before `frame`.
    private func place(of frame: Int) -> Int {
        var (low, high) = (0, frames.count)
        while low < high {
            let middle = (low + high) / 2
            if frames[middle] < frame { low = middle + 1 } else { high = middle }
        }
        return low
    }

    private func members(of range: Range<Int>) -> ArraySlice<Int> {
        frames.isEmpty ? [] : frames[place(of: range.lowerBound)..<place(of: range.upperBound)]
    }

    mutating func insert(_ frame: Int, _ reason: FailureReason) {
        assert(records[frame] == nil)
        records[frame] = Record(reason: reason)
        frames.insert(frame, at: place(of: frame))
    }

    mutating func remove(_ frame: Int) {
        guard records.removeValue(forKey: frame) != nil else { return }
        frames.remove(at: place(of: frame))
    }

    /// Changes what is known of a frame that failed.
    mutating func update(_ frame: Int, _ change: (inout Record) -> Void) {
        if var record = records[frame] {
            change(&record)
            records[frame] = record
        }
    }

    /// The frames of a range that failed.
    func all(in range: Range<Int>) -> [Int] { Array(members(of: range)) }

    /// Those of them that still have owners.
    func pending(in range: Range<Int>) -> [Int] { members(of: range).filter { records[$0]?.isRetired == false } }

    /// How many frames of a range are out of use.
    func retired(in range: Range<Int>) -> Int { members(of: range).count { records[$0]?.isRetired == true } }

    /// The parts of a range between those that failed.
    func others(in range: Range<Int>) -> [Range<Int>] {
        var parts: [Range<Int>] = []
        var start = range.lowerBound
        for frame in members(of: range) {
            if frame > start { parts.append(start..<frame) }
            start = frame + 1
        }
        if start < range.upperBound { parts.append(start..<range.upperBound) }
        return parts
    }

    /// All of them with what is known, ascending.
    var list: [(frame: Int, record: Record)] { frames.map { ($0, records[$0]!) } }

    /// Calls `body` with those from a frame on, ascending, as long as it says to go on.
    func visit(from frame: Int, _ body: (Int, Record) -> Bool) {
        for frame in frames[place(of: frame)...] where !body(frame, records[frame]!) { return }
    }
}
