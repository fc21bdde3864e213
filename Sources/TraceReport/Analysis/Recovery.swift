import CoherentMemory

/// The times in which a node lost its memory, and what came back.
struct Recovery: Sendable {
    /// Why the memory went.
    enum Cause: String, Sendable, Hashable {
        case offlining = "offlining"
        case linkLoss = "link loss"
    }

    /// One such time. Times are those of the trace's clock.
    struct Episode: Sendable, Hashable {
        let node: UInt16
        let cause: Cause
        let began: UInt64
        /// Blocks that went.
        var blocks: Set<UInt64> = []
        /// Pages that moved away.
        var moved: UInt64 = 0
        /// Pages that were lost.
        var lost: UInt64 = 0
        /// When the last block was offline or absent.
        var away: UInt64?
        /// When the link was up again.
        var linkUp: UInt64?
        /// When the first block was online again.
        var online: UInt64?
        /// Pages that the node has got since.
        var back: UInt64 = 0
        /// When the node had got as many pages as it had lost.
        var recovered: UInt64?
        /// Whether the memory stayed, because something could not be moved.
        var hasFailed = false

        var pages: UInt64 { moved &+ lost }
        /// Whether nothing more can come.
        var isOver: Bool { recovered != nil || hasFailed }
    }

    /// In the order of their beginnings.
    private(set) var episodes: [Episode] = []
    /// The episode of each node that goes on.
    private var current: [UInt16: Int] = [:]
    /// A machine that flaps for hours does not fill the memory.
    static let limit = 1000
    private(set) var omitted = 0

    mutating func add(_ event: TraceEvent) {
        switch event.kind {
        case .linkState:
            if event.detail == 0 {
                begin(.linkLoss, of: event.to, at: event.time)
            } else {
                update(event.to) { if $0.cause == .linkLoss { $0.linkUp = event.time } }
            }
        case .pagesLost:
            begin(.linkLoss, of: event.from, at: event.time)
            update(event.from) { $0.lost &+= event.count }
        case .blockState: block(event)
        case .migrated, .demoted, .promoted:
            guard event.from != event.to else { return }
            if event.moveReason == .offline {
                update(event.from) { if $0.online == nil { $0.moved &+= event.count } }
            }
            arrive(event)
        case .touchPlaced: arrive(event)
        default: break
        }
    }

    private mutating func block(_ event: TraceEvent) {
        let states = TraceEvent.Kind.blockStates
        switch Int(event.detail) < states.count ? states[Int(event.detail)] : "" {
        case "going-offline":
            begin(.offlining, of: event.to, at: event.time)
            update(event.to) { $0.blocks.insert(event.start) }
        case "offline", "absent":
            // With the link the memory goes first; a node that is unplugged was offline before.
            let isOffline = current[event.to].map { episodes[$0].online == nil } ?? false
            if !isOffline, event.detail == TraceEvent.Kind.blockStates.count - 1 {
                begin(.linkLoss, of: event.to, at: event.time)
            }
            update(event.to) { episode in
                // Memory that comes back begins offline.
                guard episode.away == nil || episode.linkUp == nil else { return }
                episode.blocks.insert(event.start)
                episode.away = event.time
            }
        case "online":
            update(event.to) { episode in
                guard episode.online == nil else { return }
                if episode.away == nil, episode.cause == .offlining {
                    episode.hasFailed = true
                } else {
                    episode.online = event.time
                    if episode.pages == 0 { episode.recovered = event.time }
                }
            }
        default: break
        }
    }

    private mutating func arrive(_ event: TraceEvent) {
        update(event.to) { episode in
            guard episode.online != nil else { return }
            episode.back &+= event.count
            if episode.back >= episode.pages { episode.recovered = event.time }
        }
    }

    private mutating func begin(_ cause: Cause, of node: UInt16, at time: UInt64) {
        if let index = current[node] {
            let old = episodes[index]
            // Of a loss there are several events, and of offlining some for each block. A node that has come back may go again,
            // and one that goes offline may lose its link.
            guard
                old.online != nil || cause == .linkLoss && (old.cause == .offlining || old.linkUp != nil)
            else { return }
        }
        guard episodes.count < Self.limit else {
            omitted += 1
            current[node] = nil
            return
        }
        current[node] = episodes.count
        episodes.append(Episode(node: node, cause: cause, began: time))
    }

    private mutating func update(_ node: UInt16, _ change: (inout Episode) -> Void) {
        guard let index = current[node] else { return }
        change(&episodes[index])
        if episodes[index].isOver { current[node] = nil }
    }
}
