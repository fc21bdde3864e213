/// Where the pages of a buffer were, by parts of its offsets and of the time.
struct BufferRaster: Sendable {
    /// The most parts of the offsets; when the buffer grows, they become twice as long.
    static let rowLimit = 32

    /// The pages of a row are 2 to the power of this.
    private(set) var shift: UInt64 = 0
    /// Pages by row and place of a node, now.
    private var pages: [UInt64] = []
    private var nodeCount = 1
    private var moves = [UInt32](repeating: 0, count: rowLimit)
    private var failures = [UInt32](repeating: 0, count: rowLimit)
    private var bin: Int?

    /// What was at the end of a bin, and what happened in it.
    struct Column: Sendable {
        var bin: Int
        fileprivate var nodeCount: Int
        fileprivate var pages: [UInt64]
        fileprivate(set) var moves: [UInt32]
        fileprivate(set) var failures: [UInt32]

        /// The pages of a row on a node.
        func pages(_ row: Int, _ node: Int) -> UInt64 {
            // Nothing is kept before a page has had a frame.
            node < nodeCount && !pages.isEmpty ? pages[row * nodeCount + node] : 0
        }
    }

    /// The bins in which something changed, in order.
    private(set) var columns: [Column] = []
    /// The rows in use.
    private(set) var rowCount = 0

    /// Begins a bin, if it is another one.
    mutating func begin(_ bin: Int) {
        if let old = self.bin, old >= bin { return }
        finish()
        self.bin = bin
    }

    /// Ends the bin.
    mutating func finish() {
        guard let bin else { return }
        columns.append(Column(bin: bin, nodeCount: nodeCount, pages: pages, moves: moves, failures: failures))
        (moves, failures) = (Self.none, Self.none)
        self.bin = nil
    }

    private static let none = [UInt32](repeating: 0, count: rowLimit)

    /// Two bins become one.
    mutating func halve() {
        var halved: [Column] = []
        for var column in columns {
            column.bin /= 2
            if let last = halved.last, last.bin == column.bin {
                for row in 0..<Self.rowLimit {
                    column.moves[row] &+= last.moves[row]
                    column.failures[row] &+= last.failures[row]
                }
                halved[halved.count - 1] = column
            } else {
                halved.append(column)
            }
        }
        columns = halved
        guard let bin else { return }
        self.bin = bin / 2
        // The bin that is not over goes on with the half before it.
        if let last = columns.last, last.bin == bin / 2 {
            for row in 0..<Self.rowLimit {
                moves[row] &+= last.moves[row]
                failures[row] &+= last.failures[row]
            }
            columns.removeLast()
        }
    }

    /// Pages went from a node to another one, by their places; nil for none.
    mutating func move(_ range: Range<UInt64>, from: Int?, to: Int?) {
        makeRoom(for: range.upperBound, node: max(from ?? 0, to ?? 0))
        forEachRow(of: range) { raster, row, count in
            if let from {
                raster.pages[row * raster.nodeCount + from] -= min(count, raster.pages[row * raster.nodeCount + from])
            }
            if let to { raster.pages[row * raster.nodeCount + to] += count }
        }
    }

    /// Pages were moved in this bin.
    mutating func noteMove(_ range: Range<UInt64>) {
        makeRoom(for: range.upperBound, node: 0)
        forEachRow(of: range) { raster, row, count in raster.moves[row] &+= UInt32(clamping: count) }
    }

    /// Pages failed, were lost or refused in this bin.
    mutating func noteFailure(_ range: Range<UInt64>) {
        makeRoom(for: range.upperBound, node: 0)
        forEachRow(of: range) { raster, row, count in raster.failures[row] &+= UInt32(clamping: count) }
    }

    private mutating func forEachRow(of range: Range<UInt64>, _ body: (inout BufferRaster, Int, UInt64) -> Void) {
        guard !range.isEmpty else { return }
        for row in range.lowerBound >> shift...(range.upperBound - 1) >> shift {
            let start = max(range.lowerBound, row << shift)
            body(&self, Int(row), min(range.upperBound, (row + 1) << shift) - start)
        }
    }

    private mutating func makeRoom(for end: UInt64, node: Int) {
        while (max(end, 1) - 1) >> shift >= UInt64(Self.rowLimit) {
            shift += 1
            pages = Self.joiningRows(pages, nodeCount)
            moves = Self.joiningRows(moves, 1)
            failures = Self.joiningRows(failures, 1)
            rowCount = (rowCount + 1) / 2
            for index in columns.indices {
                columns[index].pages = Self.joiningRows(columns[index].pages, columns[index].nodeCount)
                columns[index].moves = Self.joiningRows(columns[index].moves, 1)
                columns[index].failures = Self.joiningRows(columns[index].failures, 1)
            }
        }
        rowCount = max(rowCount, Int((max(end, 1) - 1) >> shift) + 1)
        let rows = Self.rowLimit
        if pages.isEmpty { pages = [UInt64](repeating: 0, count: rows * nodeCount) }
        guard node >= nodeCount else { return }
        let count = node + 1
        var wider = [UInt64](repeating: 0, count: rows * count)
        for row in 0..<rows {
            for node in 0..<nodeCount { wider[row * count + node] = pages[row * nodeCount + node] }
        }
        (pages, nodeCount) = (wider, count)
    }

    /// Two rows become one.
    private static func joiningRows<Number: FixedWidthInteger>(_ numbers: [Number], _ width: Int) -> [Number] {
        guard !numbers.isEmpty else { return [] }
        var joined = [Number](repeating: 0, count: numbers.count)
        for row in 0..<rowLimit {
            for place in 0..<width { joined[row / 2 * width + place] &+= numbers[row * width + place] }
        }
        return joined
    }
}
