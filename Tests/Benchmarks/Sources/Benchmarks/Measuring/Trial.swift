/// What is done at one go, contestant after contestant, for one row or several.
struct Trial {
    let rows: [Row]
    let entrants: [Entrant]

    /// One contestant, and how to take a sample of it: a figure for each row, in the row's unit.
    struct Entrant {
        let contestant: Contestant
        let measure: () throws -> [Double]
    }

    init(_ rows: [Row], _ entrants: [Entrant]) {
        self.rows = rows
        self.entrants = entrants
    }

    /// The same for every site.
    init(_ rows: [Row], _ sites: [Site], _ measure: @escaping (Site) throws -> [Double]) {
        self.init(rows, sites.map { site in Entrant(contestant: site.contestant) { try measure(site) } })
    }

    /// One row for which something and its peer, neither of them a site, are measured.
    init(
        _ title: String, _ unit: Unit, ours: Contestant, peer: Contestant, atMostOrLeast ratio: Double?,
        measurePeer: @escaping () throws -> Double, measureOurs: @escaping () throws -> Double
    ) {
        self.init(
            [Row(title, unit, .ratio(ours, to: peer, ratio))],
            [
                Entrant(contestant: peer) { [try measurePeer()] },
                Entrant(contestant: ours) { [try measureOurs()] },
            ])
    }

    /// Takes samples in turn. The first round warms up and is left out. A contestant that fails once takes no more part.
    func run(rounds: Int, failed: (Contestant, Failure) -> Void) -> [Outcome] {
        var samples: [Contestant: [[Double]]] = [:]
        var entrants = entrants
        for round in 0...rounds {
            var lost: [Contestant] = []
            // Who comes second finds the machine as the first left it: every round begins with another, and goes the other way.
            let start = entrants.isEmpty ? 0 : round % entrants.count
            let turn = Array(entrants[start...] + entrants[..<start])
            for entrant in round.isMultiple(of: 2) ? turn : turn.reversed() {
                do {
                    let figures = try entrant.measure()
                    precondition(figures.count == rows.count, "a figure for each row")
                    if round > 0 { samples[entrant.contestant, default: []].append(figures) }
                } catch {
                    failed(entrant.contestant, error as? Failure ?? Failure("\(error)"))
                    lost.append(entrant.contestant)
                }
            }
            for contestant in lost { samples[contestant] = nil }
            entrants.removeAll { lost.contains($0.contestant) }
        }
        return rows.indices.map { index in
            Outcome(row: rows[index], samples: samples.mapValues { rounds in rounds.map { $0[index] } })
        }
    }
}

/// What a row came to.
struct Outcome {
    let row: Row
    /// A figure of each round.
    let samples: [Contestant: [Double]]

    func summary(of contestant: Contestant) -> Summary? { samples[contestant].map(Summary.init) }

    /// Ours by the peer's, of each round.
    func ratio(_ aim: Aim) -> Summary? {
        guard let ours = samples[aim.ours], let peer = samples[aim.peer] else { return nil }
        return Summary(zip(ours, peer).map(/))
    }

    /// Whether the aim is met; `nil` where there is none, or nothing measured.
    func meets(_ aim: Aim) -> Bool? {
        guard let ratio = ratio(aim), let ours = summary(of: aim.ours) else { return nil }
        if let figure = aim.figure { return row.unit.isRate ? ours.median >= figure : ours.median <= figure }
        return aim.ratio.map { row.unit.isRate ? ratio.median >= $0 : ratio.median <= $0 }
    }
}
