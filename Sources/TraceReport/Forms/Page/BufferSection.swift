import Charts
import CoherentMemory

/// For the largest buffers, the node of each part of the offsets over time.
extension ReportPage {
    /// The most buffers that have a raster.
    private static let rasterLimit = 8

    mutating func addRasters() {
        page.section("Buffers: offset and time", id: "buffers")
        let list = analysis.largestBuffers(Self.rasterLimit)
        guard !list.isEmpty else { return page.paragraph("No event is of a buffer.") }
        let count = analysis.buffers.count
        page.paragraph(
            "Where the pages of \(count > list.count ? "the \(list.count) largest of \(count) buffers" : "each buffer") were: the node that "
                + "has the most pages of a part of the offsets, at the end of a step of the time, and in a strip at the bottom the node with the "
                + "second most. Pages that had their frames before the record began are seen from their first event on. Buffers with few pages "
                + "at far offsets, such as the memory of programs, have no picture.")
        for (id, track) in list { add(track, name: analysis.name(of: id)) }
        page.part("Buffers with the most events")
        page.add(analysis.bufferTable)
    }

    private mutating func add(_ track: BufferTrack, name: String) {
        let raster = track.raster
        let (bins, places) = (analysis.bins, analysis.nodes.nodes)
        let span = Double(UInt64(raster.rowCount) << raster.shift) * Double(Page.size)
        // Small numbers of a kind come first, so that the picture is as in the legend.
        let order = places.indices.sorted { places[$0] < places[$1] }
        var rows = [[HeatMap.Cell?]](
            repeating: [HeatMap.Cell?](repeating: nil, count: bins.count), count: raster.rowCount)
        var (moves, failures): ([(row: Int, column: Int)], [(row: Int, column: Int)]) = ([], [])
        var used: Set<Int> = []
        for (index, column) in raster.columns.enumerated() where column.bin < bins.count {
            let next = index + 1 < raster.columns.count ? min(raster.columns[index + 1].bin, bins.count) : bins.count
            for row in 0..<raster.rowCount {
                if column.moves[row] > 0 { moves.append((row, column.bin)) }
                if column.failures[row] > 0 { failures.append((row, column.bin)) }
                let pages = order.map { column.pages(row, $0) }
                let sum = pages.reduce(0, +)
                guard sum > 0, let most = pages.indices.max(by: { pages[$0] < pages[$1] }) else { continue }
                used.insert(most)
                // What is less than an eighth is nothing to see.
                let others = pages.indices.filter { $0 != most && pages[$0] > sum / 8 }
                let second = others.max { pages[$0] < pages[$1] }
                if let second { used.insert(second) }
                let cell = HeatMap.Cell(kind: most, second: second)
                for bin in column.bin..<next { rows[row][bin] = cell }
            }
        }
        let kinds = order.map { HeatMap.Kind("node \(places[$0])", fill(of: Int(places[$0]))) }
        var legend = used.sorted().map { LegendKey(kinds[$0].name, kinds[$0].fill) }
        if !moves.isEmpty { legend.append(HeatMap.key(ofMoves: "pages moved")) }
        if !failures.isEmpty { legend.append(HeatMap.key(ofFailures: "failed, lost or refused")) }
        page.add(
            Picture(
                "\(Self.isolated(name)), \(Self.bytes(track.mostResident)) at most: node by offset and time",
                description:
                    "\(name): \(track.placed) pages got frames, \(track.moved) moved, \(track.lost) were lost, \(track.refused) "
                    + "requests were refused.",
                HeatMap(
                    rows, kinds: kinds, seconds: bins.duration, covered: Double(bins.count) * bins.binDuration,
                    span: span,
                    moves: moves, failures: failures),
                legend: legend, marks: moves.isEmpty && failures.isEmpty ? nil : "show moves and failures"))
        page.add(table(of: raster, order))
    }

    /// The pages of a buffer by node over time, with what happened in each step.
    private func table(of raster: BufferRaster, _ order: [Int]) -> DataTable {
        let (places, bins) = (analysis.nodes.nodes, analysis.bins)
        let used = order.filter { place in
            raster.columns.contains { column in (0..<raster.rowCount).contains { column.pages($0, place) > 0 } }
        }
        var table = DataTable(
            "raster", "Pages by node at the end of a step, and what happened in it",
            [.figures("until second")] + used.map { .figures("node\(places[$0])") } + [
                .figures("moved"), .figures("failed"),
            ])
        let step = (raster.columns.count + 11) / 12
        for start in stride(from: 0, to: raster.columns.count, by: max(step, 1)) {
            let columns = raster.columns[start..<min(start + step, raster.columns.count)]
            guard let last = columns.last else { continue }
            func sum(_ figure: (BufferRaster.Column, Int) -> UInt64) -> UInt64 {
                columns.reduce(0) { sum, column in (0..<raster.rowCount).reduce(sum) { $0 &+ figure(column, $1) } }
            }
            table.append(
                [Figure.fixed(min(Double(last.bin + 1) * bins.binDuration, bins.duration), digits: 3)]
                    + used.map { place in "\((0..<raster.rowCount).reduce(0) { $0 &+ last.pages($1, place) })" }
                    + ["\(sum { UInt64($0.moves[$1]) })", "\(sum { UInt64($0.failures[$1]) })"])
        }
        return table
    }
}
