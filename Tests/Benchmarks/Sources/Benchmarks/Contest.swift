/// A row of the table: one thing that cdmfs and a peer both do, in turn.
struct Contest {
    enum Unit {
        /// Stores: the more, the better.
        case gigabytesPerSecond
        /// Time each: the less, the better.
        case microseconds
        /// Time of the whole: the less, the better.
        case seconds
    }

    let title: String
    let peer: String
    let unit: Unit
    /// What the median ratio is to reach: at least for a rate, at most for a time. None for a row that only informs.
    let aim: Double?
    /// What our median is to stay below, in the row's unit, where there is more to reach than a ratio.
    var limit: Double?
    /// One sample of each, in the row's unit.
    let measurePeer: () throws -> Double
    let measureOurs: () throws -> Double

    /// Takes samples in turn. The first round warms up and is left out.
    func run(rounds: Int) throws -> Result {
        var peer: [Double] = []
        var ours: [Double] = []
        for round in 0...rounds {
            let (first, second): (Double, Double)
            // Whoever comes second finds the machine as the first left it, so they swap.
            if round.isMultiple(of: 2) {
                first = try measurePeer()
                second = try measureOurs()
            } else {
                second = try measureOurs()
                first = try measurePeer()
            }
            guard round > 0 else { continue }
            peer.append(first)
            ours.append(second)
        }
        return Result(contest: self, peer: Summary(peer), ours: Summary(ours), ratio: Summary(zip(ours, peer).map(/)))
    }

    struct Result {
        let contest: Contest
        let peer: Summary
        let ours: Summary
        /// Ours by the peer's, of each round.
        let ratio: Summary

        var meetsAim: Bool? {
            if let limit = contest.limit { return ours.median <= limit }
            return contest.aim.map { contest.unit == .gigabytesPerSecond ? ratio.median >= $0 : ratio.median <= $0 }
        }
    }
}

/// The least, middle and greatest of some samples.
struct Summary {
    let minimum: Double
    let median: Double
    let maximum: Double

    init(_ samples: [Double]) {
        precondition(!samples.isEmpty)
        let sorted = samples.sorted()
        let middle = sorted.count / 2
        minimum = sorted[0]
        median = sorted.count.isMultiple(of: 2) ? (sorted[middle - 1] + sorted[middle]) / 2 : sorted[middle]
        maximum = sorted[sorted.count - 1]
    }
}
