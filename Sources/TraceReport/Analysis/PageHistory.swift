import CoherentMemory
import TraceFormat

/// Where each page of a buffer is and was, and what came of promoted pages.
struct PageHistory: Sendable {
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

    /// Chunks may become pages so many times; those of a whole trace share it.
    static let chunkLimit = 1 << 16

    /// The longest range that is followed page by page.
    static let longest = PageMap<State>.longest

    private var map = PageMap(State())
    private var sums = Sums()

    fileprivate struct Sums {
        var promotions = Promotions()
        var returns: UInt64 = 0
    }

    /// What came of promoted pages.
    var promotions: Promotions { sums.promotions }
    /// Moves of pages back to where they had come from.
    var returns: UInt64 { sums.returns }
    /// How many chunks are kept page by page.
    var pageWise: Int { map.pageWise }
    /// Pages of which nothing is known because there were too many.
    var untracked: UInt64 { map.untracked }

    /// Follows a change of pages.
    ///
    /// - Parameters:
    ///   - room: how many more chunks may be kept page by page.
    ///   - moved: called with pages that are on another node now, or were and are on none.
    mutating func update(
        _ pages: Range<UInt64>, _ change: Change, room: Int,
        moved: (_ pages: Range<UInt64>, _ from: UInt16, _ to: UInt16) -> Void
    ) {
        // A program that cuts a file frees all that could be behind its new end.
        var isGone = false
        if case .gone = change { isGone = true }
        var sums = sums
        map.update(pages, onlyKnown: isGone, room: room) { state, pages in
            let old = state.node
            sums.update(&state, UInt64(pages.count), change)
            if state.node != old { moved(pages, old, state.node) }
        }
        self.sums = sums
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
        map.forEachRun(add)
        return found
    }
}

extension PageHistory.Sums {
    /// Follows a change of pages that are alike.
    fileprivate mutating func update(_ state: inout PageHistory.State, _ count: UInt64, _ change: PageHistory.Change) {
        let old = state
        switch change {
        case .placed(let node):
            if old.isPromoted { promotions.gone += count }
            state = PageHistory.State(node: node, returns: old.returns)
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
            state = PageHistory.State(before: old.before, returns: old.returns)
        }
    }
}
