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

    /// `minimum / **median** / maximum`, in Markdown.
    var markdown: String { "\(Unit.text(minimum)) / **\(Unit.text(median))** / \(Unit.text(maximum))" }
}
