/// A row of the table: one figure that several contestants have.
struct Row {
    let title: String
    let unit: Unit
    var aims: [Aim] = []

    init(_ title: String, _ unit: Unit, _ aims: Aim...) { self.init(title, unit, aims: aims) }

    init(_ title: String, _ unit: Unit, aims: [Aim]) {
        self.title = title
        self.unit = unit
        self.aims = aims
    }
}

/// Two contestants of a row whose figures are divided, round by round.
struct Aim {
    let ours: Contestant
    let peer: Contestant
    /// What the median ratio is to reach: at least for a rate, at most for a time. None for a ratio that only informs.
    var ratio: Double?
    /// What our median is to stay below, or above for a rate, in the row's unit, where there is more to reach than a ratio.
    var figure: Double?

    /// For a rate at least, for a time at most this ratio of a peer's.
    static func ratio(_ ours: Contestant, to peer: Contestant, _ ratio: Double? = nil) -> Aim {
        Aim(ours: ours, peer: peer, ratio: ratio)
    }

    /// A figure, whatever the peer's is.
    static func figure(_ ours: Contestant, beside peer: Contestant, _ figure: Double) -> Aim {
        Aim(ours: ours, peer: peer, figure: figure)
    }
}
