/// Pages of a buffer, gathered into runs.
struct PageRuns {
    private(set) var runs: [Range<UInt64>] = []

    /// Adds a page, which must be behind those that are there.
    mutating func append(_ page: UInt64) {
        if let last = runs.last, last.upperBound == page {
            runs[runs.count - 1] = last.lowerBound..<page + 1
        } else {
            runs.append(page..<page + 1)
        }
    }

    /// Ranges that have all of the pages, and perhaps others, each within a unit of 512 pages.
    var batches: [Range<UInt64>] {
        var batches: [Range<UInt64>] = []
        for run in runs {
            var page = run.lowerBound
            while page < run.upperBound {
                let unit = HugePage.pages(around: page)
                let end = min(run.upperBound, unit.upperBound)
                if let last = batches.last, last.lowerBound >= unit.lowerBound {
                    batches[batches.count - 1] = last.lowerBound..<end
                } else {
                    batches.append(page..<end)
                }
                page = end
            }
        }
        return batches
    }
}
