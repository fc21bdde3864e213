import CoherentMemory

/// What is known of each page of a buffer: of 512 pages together while they are alike.
struct PageMap: Sendable {
    /// What is known of a page.
    struct State: Sendable, Hashable {
        /// The node of its frame.
        var node = TraceEvent.noNode
        /// The node that it came from with its last move.
        var before = TraceEvent.noNode
        /// How often it came back to the node that it had come from.
        var returns: UInt16 = 0
        /// Whether it was promoted, and not yet touched or demoted.
        var isPromoted = false
    }

    /// What happens to pages.
    enum Change: Sendable {
        case placed(UInt16)
        case touched(UInt16)
        case moved(TraceEvent.Kind, from: UInt16, to: UInt16)
        case gone
    }

    /// What came of promoted pages.
    struct Promotions: Sendable, Hashable {
        var promoted: UInt64 = 0
        /// Touched again, as far as the machine has seen it, before they were demoted.
        var touched: UInt64 = 0
        /// Demoted without a touch.
        var demoted: UInt64 = 0
        /// Moved elsewhere, freed or lost without a touch.
        var gone: UInt64 = 0

        /// Neither touched nor gone until the end.
        var unseen: UInt64 { promoted - min(promoted, touched + demoted + gone) }

        static func += (sum: inout Promotions, one: Promotions) {
            sum.promoted += one.promoted
            sum.touched += one.touched
            sum.demoted += one.demoted
            sum.gone += one.gone
        }
    }

    private static let shift: UInt64 = 9
    private static let size = 1 << shift
    /// The longest range that is followed page by page: 1 TiB.
    static let longest: UInt64 = 1 << 28

    /// By the number of the chunk; one state for all pages, or one for each.
    private var chunks: [UInt64: [State]] = [:]
    /// What came of promoted pages.
    private(set) var promotions = Promotions()
    /// Moves of pages back to where they had come from.
    private(set) var returns: UInt64 = 0
    /// Chunks may become pages so many times; those of a whole trace share it.
    static let chunkLimit = 1 << 16

    /// How many chunks are kept page by page.
    private(set) var pageWise = 0
    /// Pages of which nothing is known because there were too many.
    private(set) var untracked: UInt64 = 0

    /// Follows a change of pages.
    ///
    /// - Parameters:
    ///   - room: how many more chunks may be kept page by page.
    ///   - moved: called with pages that are on another node now, or were and are on none.
    mutating func update(
        _ pages: Range<UInt64>, _ change: Change, room: Int,
        moved: (_ pages: Range<UInt64>, _ from: UInt16, _ to: UInt16) -> Void
    ) {
        guard !pages.isEmpty else { return }
        let numbers = pages.lowerBound >> Self.shift...(pages.upperBound - 1) >> Self.shift
        let limit = pageWise + room
        if case .gone = change, numbers.count > chunks.count {
            // Whoever cuts a file frees all that could be behind its new end.
            for chunk in chunks.keys.sorted() where numbers.contains(chunk) {
                update(chunk, pages, change, limit, moved)
            }
        } else if pages.count <= Self.longest {
            for chunk in numbers { update(chunk, pages, change, limit, moved) }
        } else {
            untracked &+= UInt64(pages.count)
        }
    }

    /// Follows a change of those of some pages that are in a chunk.
    private mutating func update(
        _ chunk: UInt64, _ pages: Range<UInt64>, _ change: Change, _ limit: Int,
        _ moved: (Range<UInt64>, UInt16, UInt16) -> Void
    ) {
        let part = pages.clamped(to: chunk << Self.shift..<(chunk + 1) << Self.shift)
        if chunks[chunk] == nil {
            if case .gone = change { return }
            chunks[chunk] = [State()]
        }
        if chunks[chunk]!.count == 1 {
            if part.count == Self.size {
                var state = chunks[chunk]![0]
                update(&state, part, change, moved)
                chunks[chunk]![0] = state
                return
            }
            guard pageWise < limit else {
                untracked &+= UInt64(part.count)
                return
            }
            pageWise += 1
            chunks[chunk] = [State](repeating: chunks[chunk]![0], count: Self.size)
        }
        updatePages(of: chunk, part, change, moved)
    }

    private mutating func updatePages(
        of chunk: UInt64, _ part: Range<UInt64>, _ change: Change, _ moved: (Range<UInt64>, UInt16, UInt16) -> Void
    ) {
        var states = chunks.removeValue(forKey: chunk)!
        let slots =
            Int(part.lowerBound & UInt64(Self.size - 1))..<Int((part.upperBound - 1) & UInt64(Self.size - 1)) + 1
        let base = chunk << Self.shift
        // Pages that are alike change together.
        var start = slots.lowerBound
        while start < slots.upperBound {
            var end = start + 1
            while end < slots.upperBound, states[end] == states[start] { end += 1 }
            var state = states[start]
            update(&state, base + UInt64(start)..<base + UInt64(end), change, moved)
            for slot in start..<end { states[slot] = state }
            start = end
        }
        if slots.count == Self.size || slots.upperBound == Self.size, states.allSatisfy({ $0 == states[0] }) {
            pageWise -= 1
            states = [states[0]]
        }
        chunks[chunk] = states
    }

    private mutating func update(
        _ state: inout State, _ pages: Range<UInt64>, _ change: Change, _ moved: (Range<UInt64>, UInt16, UInt16) -> Void
    ) {
        let count = UInt64(pages.count)
        let old = state
        switch change {
        case .placed(let node):
            if old.isPromoted { promotions.gone += count }
            state = State(node: node, returns: old.returns)
        case .touched(let node):
            if old.isPromoted { promotions.touched += count }
            state.isPromoted = false
            // It had its frame before the record began, or has moved since.
            if node != TraceEvent.noNode { state.node = node }
        case .moved(let kind, let from, let to):
            if old.isPromoted {
                if kind == .demoted { promotions.demoted += count } else { promotions.gone += count }
            }
            state.isPromoted = kind == .promoted
            if kind == .promoted { promotions.promoted += count }
            if from != to {
                if old.before == to {
                    state.returns = old.returns == .max ? .max : old.returns + 1
                    returns += count
                }
                state.before = from
            }
            state.node = to
        case .gone:
            if old.isPromoted { promotions.gone += count }
            state = State(before: old.before, returns: old.returns)
        }
        if state.node != old.node { moved(pages, old.node, state.node) }
    }

    /// Pages beside each other that went back and forth equally often.
    struct PingPong: Sendable, Hashable {
        var pages: Range<UInt64>
        let returns: UInt16
        let between: [UInt16]

        /// Moves of pages back.
        var moves: UInt64 { UInt64(pages.count) * UInt64(returns) }
    }

    /// Pages that went back and forth, in order.
    var pingPongs: [PingPong] {
        var found: [PingPong] = []
        func add(_ pages: Range<UInt64>, _ state: State) {
            guard state.returns > 0 else { return }
            let between = [state.before, state.node].filter { $0 != TraceEvent.noNode }.sorted()
            if let last = found.last, last.pages.upperBound == pages.lowerBound, last.returns == state.returns,
                last.between == between
            {
                found[found.count - 1].pages = last.pages.lowerBound..<pages.upperBound
            } else {
                found.append(PingPong(pages: pages, returns: state.returns, between: between))
            }
        }
        for (chunk, states) in chunks.sorted(by: { $0.key < $1.key }) {
            let base = chunk << Self.shift
            if states.count == 1 {
                add(base..<base + UInt64(Self.size), states[0])
            } else {
                for (slot, state) in states.enumerated() {
                    add(base + UInt64(slot)..<base + UInt64(slot) + 1, state)
                }
            }
        }
        return found
    }
}
