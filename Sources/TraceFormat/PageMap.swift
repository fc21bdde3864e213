/// What a reader of a trace knows of each page of a buffer: of 512 pages together while they are alike.
package struct PageMap<State: Hashable & Sendable>: Sendable {
    // Inlinable, so that modules with states of their own get code for them.
    @inlinable static var shift: UInt64 { 9 }
    @inlinable static var size: Int { 1 << shift }
    /// All pages of 4 KiB that a buffer can have.
    @inlinable static var all: Range<UInt64> { 0..<UInt64.max >> 12 }
    /// The longest range that is followed page by page: 1 TiB.
    @inlinable package static var longest: UInt64 { 1 << 28 }

    /// By the number of the chunk; one state for all pages, or one for each.
    @usableFromInline var chunks: [UInt64: [State]] = [:]
    /// What is known of a page of which no event tells.
    @usableFromInline let none: State
    /// How many chunks are kept page by page.
    @usableFromInline package var pageWise = 0
    /// Pages of which nothing is known because there were too many.
    @usableFromInline package var untracked: UInt64 = 0

    /// Knows nothing yet.
    ///
    /// - Parameter none: what is known of a page of which no event tells.
    @inlinable package init(_ none: State) { self.none = none }

    /// Changes what is known of pages.
    ///
    /// - Parameters:
    ///   - onlyKnown: whether pages of which nothing is known stay so. The range may then be of any length.
    ///   - room: how many more chunks may be kept page by page.
    ///   - change: called with pages that are alike.
    @inlinable package mutating func update(
        _ pages: Range<UInt64>, onlyKnown: Bool = false, room: Int = .max,
        _ change: (_ state: inout State, _ pages: Range<UInt64>) -> Void
    ) {
        // Numbers of traces are any numbers.
        let pages = pages.clamped(to: Self.all)
        guard !pages.isEmpty else { return }
        let numbers = Self.chunks(of: pages)
        let limit = room > Int.max - pageWise ? .max : pageWise + room
        if onlyKnown, numbers.count > chunks.count {
            for chunk in chunks.keys.sorted() where numbers.contains(chunk) {
                update(chunk, pages, onlyKnown, limit, change)
            }
        } else if onlyKnown || pages.count <= Self.longest {
            for chunk in numbers { update(chunk, pages, onlyKnown, limit, change) }
        } else {
            untracked &+= UInt64(pages.count)
        }
    }

    @inlinable static func chunks(of pages: Range<UInt64>) -> ClosedRange<UInt64> {
        pages.lowerBound >> shift...(pages.upperBound - 1) >> shift
    }

    /// Changes what is known of those of some pages that are in a chunk.
    @inlinable mutating func update(
        _ chunk: UInt64, _ pages: Range<UInt64>, _ onlyKnown: Bool, _ limit: Int,
        _ change: (inout State, Range<UInt64>) -> Void
    ) {
        let part = pages.clamped(to: chunk << Self.shift..<(chunk + 1) << Self.shift)
        guard var states = chunks.removeValue(forKey: chunk) ?? (onlyKnown ? nil : [none]) else { return }
        if states.count == 1, part.count < Self.size {
            guard pageWise < limit else {
                untracked &+= UInt64(part.count)
                if states[0] != none { chunks[chunk] = states }
                return
            }
            pageWise += 1
            states = [State](repeating: states[0], count: Self.size)
        }
        if states.count == 1 {
            change(&states[0], part)
        } else {
            Self.update(&states, part, change)
            // Looked at only when the walk comes to the end, for each look is at all pages.
            if part.upperBound & UInt64(Self.size - 1) == 0, states.allSatisfy({ $0 == states[0] }) {
                pageWise -= 1
                states = [states[0]]
            }
        }
        if states.count > 1 || states[0] != none { chunks[chunk] = states }
    }

    @inlinable static func update(
        _ states: inout [State], _ part: Range<UInt64>, _ change: (inout State, Range<UInt64>) -> Void
    ) {
        let base = part.lowerBound & ~UInt64(size - 1)
        // Pages that are alike change together.
        var (start, last) = (Int(part.lowerBound - base), Int(part.upperBound - base))
        while start < last {
            var end = start + 1
            while end < last, states[end] == states[start] { end += 1 }
            var state = states[start]
            change(&state, base + UInt64(start)..<base + UInt64(end))
            for slot in start..<end { states[slot] = state }
            start = end
        }
    }

    /// Calls `body` with those of some pages, or of all, that are beside each other and alike and of which something is known,
    /// ascending.
    @inlinable package func forEachRun(
        in range: Range<UInt64>? = nil, _ body: (_ pages: Range<UInt64>, _ state: State) -> Void
    ) {
        let range = (range ?? Self.all).clamped(to: Self.all)
        guard !range.isEmpty else { return }
        var run: (pages: Range<UInt64>, state: State)?
        func add(_ pages: Range<UInt64>, _ state: State) {
            let pages = pages.clamped(to: range)
            guard !pages.isEmpty else { return }
            if let last = run, last.pages.upperBound == pages.lowerBound, last.state == state {
                run = (last.pages.lowerBound..<pages.upperBound, state)
                return
            }
            if let last = run { body(last.pages, last.state) }
            run = state == none ? nil : (pages, state)
        }
        let numbers = Self.chunks(of: range)
        let known =
            numbers.count < chunks.count
            ? numbers.filter { chunks[$0] != nil } : chunks.keys.filter(numbers.contains).sorted()
        for chunk in known {
            guard let states = chunks[chunk] else { continue }
            let base = chunk << Self.shift
            if states.count == 1 {
                add(base..<base + UInt64(Self.size), states[0])
            } else {
                for (slot, state) in states.enumerated() { add(base + UInt64(slot)..<base + UInt64(slot) + 1, state) }
            }
        }
        if let last = run { body(last.pages, last.state) }
    }
}
