import Charts
import CoherentMemory
import Testing
import TraceFormat

@testable import TraceReport

/// A trace by hand: events at milliseconds since its beginning, which is 100 s.
struct HandTrace {
    var parts: [TraceFile.Part] = [.fact(name: "start_ns", value: "100000000000")]
    static let start: UInt64 = 100_000_000_000

    mutating func add(
        _ kind: TraceEvent.Kind, at milliseconds: Double, detail: UInt8 = 0, buffer: UInt64 = 1,
        pages: Range<UInt64> = 0..<0,
        from: UInt16 = TraceEvent.noNode, to: UInt16 = TraceEvent.noNode, value: UInt64 = 0
    ) {
        var event = TraceEvent(
            kind, detail: detail, buffer: buffer, start: pages.lowerBound, count: UInt64(pages.count), from: from,
            to: to,
            value: value)
        event.time = Self.start + UInt64(milliseconds * 1e6)
        parts.append(.record(.event(event)))
    }

    mutating func place(_ pages: Range<UInt64>, on node: UInt16, at time: Double, buffer: UInt64 = 1) {
        add(.touchPlaced, at: time, buffer: buffer, pages: pages, from: node, to: node)
    }

    mutating func move(
        _ pages: Range<UInt64>, _ from: UInt16, to: UInt16, at time: Double, _ reason: MoveReason = .buffer,
        buffer: UInt64 = 1
    ) {
        let kind: TraceEvent.Kind = reason == .demotion ? .demoted : reason == .promotion ? .promoted : .migrated
        add(
            kind, at: time, detail: UInt8(MoveReason.allCases.firstIndex(of: reason)!), buffer: buffer, pages: pages,
            from: from,
            to: to, value: 1000)
    }

    mutating func block(_ block: UInt64, of node: UInt16, _ state: String, at time: Double) {
        add(
            .blockState, at: time, detail: UInt8(TraceEvent.Kind.blockStates.firstIndex(of: state)!), buffer: 0,
            pages: block..<block, to: node)
    }

    mutating func name(_ buffer: UInt64, _ name: String) { parts.append(.record(.name(buffer: buffer, name))) }

    mutating func sample(_ megabytes: [Int: Int], at milliseconds: Double, _ lines: String = "") {
        let text = megabytes.sorted { $0.key < $1.key }.map {
            "cdmfs_node_memory_bytes{node=\"\($0)\",state=\"allocated\"} \($1 << 20)\n"
        }.joined()
        parts.append(.sample(time: Self.start + UInt64(milliseconds * 1e6), text + lines + "# EOF\n"))
    }

    var analysis: TraceAnalysis { TraceAnalysis(parts) }
}

/// What small traces come to is known.
@Suite("Trace analysis", .timeLimit(.minutes(1)))
struct AnalysisTests {
    @Test("Flow: pages by node and reason, moves within a node apart")
    func flow() {
        var trace = HandTrace()
        trace.place(0..<100, on: 0, at: 1)
        trace.move(0..<40, 0, to: 1, at: 2)
        trace.move(40..<50, 0, to: 1, at: 3, .demotion)
        trace.move(0..<5, 1, to: 1, at: 4, .compaction)
        trace.move(0..<40, 1, to: 0, at: 5)
        let analysis = trace.analysis
        #expect(
            analysis.moves.rows == [
                ["0", "1", "buffer", "40", "1000", "0"], ["0", "1", "demotion", "10", "1000", "0"],
                ["1", "0", "buffer", "40", "1000", "0"], ["1", "1", "compaction", "5", "1000", "0"],
            ])
        #expect(analysis.movedPages == 90 && analysis.placedPages == 100 && analysis.eventCount == 5)
        #expect(analysis.touches.rows == [["0", "100", "0", "0"]])
    }

    @Test("Ping-pong: a return is a move to the node that the page came from with the move before")
    func pingPong() {
        var trace = HandTrace()
        trace.name(1, "a")
        trace.place(0..<1024, on: 0, at: 1)
        for round in 0..<3 {
            trace.move(10..<20, 0, to: 1, at: Double(10 + 10 * round))
            trace.move(10..<20, 1, to: 0, at: Double(15 + 10 * round))
        }
        // Once around is no return.
        trace.move(600..<700, 0, to: 1, at: 50)
        trace.move(600..<700, 1, to: 2, at: 51)
        trace.move(600..<700, 2, to: 0, at: 52)
        // One return of a part.
        trace.move(0..<2, 0, to: 2, at: 60)
        trace.move(1..<2, 2, to: 0, at: 61)
        let analysis = trace.analysis
        // 0→1→0→1→0→1→0: the first move is none, the other five are.
        #expect(
            analysis.pingPongTable.rows == [
                ["a", "0xa000", "10", "0–1", "5", "50"], ["a", "0x1000", "1", "0–2", "1", "1"],
            ])
    }

    @Test("Promotion: touched again, demoted before, gone, not seen again")
    func promotion() {
        var trace = HandTrace()
        trace.name(1, "a")
        trace.place(0..<100, on: 1, at: 1)
        // Touches before do not count.
        trace.add(.touchFound, at: 2, pages: 0..<100, to: 1)
        trace.move(0..<40, 1, to: 0, at: 3, .promotion)
        trace.add(.touchFound, at: 4, pages: 0..<10, to: 0)
        trace.add(.touchFound, at: 5, pages: 5..<12, to: 0)
        trace.move(0..<20, 0, to: 1, at: 6, .demotion)
        trace.move(20..<23, 0, to: 1, at: 7, .buffer)
        trace.add(.pagesFreed, at: 8, pages: 23..<27, from: 0)
        trace.add(.pagesLost, at: 9, pages: 27..<28, from: 0)
        // A second time: 0 to 4 are promoted and demoted again.
        trace.move(0..<5, 1, to: 0, at: 10, .promotion)
        trace.move(0..<5, 0, to: 1, at: 11, .demotion)
        let sum = trace.analysis.promotions
        #expect(sum.promoted == 45 && sum.touched == 12 && sum.demoted == 8 + 5 && sum.gone == 8 && sum.unseen == 12)
        #expect(
            trace.analysis.promotionTable.rows == [
                ["all buffers", "45", "12", "13", "8", "12", "48 %"], ["a", "45", "12", "13", "8", "12", "48 %"],
            ])
    }

    @Test("Offlining and link loss: what went, when it came back, and when the node had as much as before")
    func recovery() {
        var trace = HandTrace()
        trace.place(0..<1000, on: 1, at: 1)
        trace.block(8, of: 1, "going-offline", at: 100)
        trace.move(0..<600, 1, to: 0, at: 110, .offline)
        trace.block(8, of: 1, "offline", at: 120)
        trace.block(9, of: 1, "going-offline", at: 121)
        trace.move(600..<1000, 1, to: 0, at: 130, .offline)
        trace.block(9, of: 1, "offline", at: 140)
        trace.block(8, of: 1, "online", at: 300)
        trace.move(0..<999, 0, to: 1, at: 310)
        trace.move(999..<1000, 0, to: 1, at: 400)
        trace.block(8, of: 1, "absent", at: 500)
        trace.add(.linkState, at: 501, detail: 0, buffer: 0, to: 1)
        trace.add(.pagesLost, at: 502, pages: 0..<600, from: 1)
        trace.add(.pagesLost, at: 503, pages: 600..<1000, from: 1)
        trace.add(.linkState, at: 700, detail: 1, buffer: 0, to: 1)
        trace.block(8, of: 1, "offline", at: 750)
        trace.block(8, of: 1, "online", at: 760)
        trace.place(0..<500, on: 1, at: 800)
        // What cannot be moved stays.
        trace.block(20, of: 2, "going-offline", at: 900)
        trace.block(20, of: 2, "online", at: 910)
        let episodes = trace.analysis.recovery.episodes
        #expect(episodes.map(\.node) == [1, 1, 2] && episodes.map(\.cause) == [.offlining, .linkLoss, .offlining])
        func milliseconds(_ time: UInt64?) -> UInt64? { time.map { ($0 - HandTrace.start) / 1_000_000 } }
        let (one, two) = (episodes[0], episodes[1])
        #expect(one.moved == 1000 && one.lost == 0 && one.blocks == [8, 9] && one.back == 1000)
        #expect([one.began, one.away, one.online, one.recovered].map(milliseconds) == [100, 140, 300, 400])
        #expect(two.moved == 0 && two.lost == 1000 && two.back == 500 && two.recovered == nil)
        #expect([two.began, two.away, two.linkUp, two.online].map(milliseconds) == [500, 500, 700, 760])
        #expect(episodes[2].hasFailed && !one.hasFailed && !two.hasFailed)
        #expect(trace.analysis.lostPages == 1000)
        let timeline = trace.analysis.timeline.rows
        #expect(timeline.map { $0[2] } == ["2", "2", "1", "1", "1", "2", "1", "1", "1", "1", "1"], "\(timeline)")
    }

    @Test("Refusals by cause")
    func refusals() {
        var trace = HandTrace()
        trace.add(.touchRefused, at: 1, pages: 0..<1, value: 12)
        trace.add(.touchRefused, at: 2, pages: 1..<2, value: 12)
        trace.add(.isolationRefused, at: 3, pages: 0..<4, to: 1)
        let table = trace.analysis.refusalTable
        #expect(table.rows == [["isolation_refused fallback by node1", "1"], ["touch_refused ENOMEM", "2"]])
    }

    @Test("Samples: placement over time, and the check of events against counters")
    func samples() {
        var trace = HandTrace()
        func counter(_ pages: Int) -> String {
            "cdmfs_migrated_pages_total{from=\"0\",to=\"1\",reason=\"buffer\"} \(pages)\ncdmfs_buffers 7\n"
        }
        trace.sample([0: 10, 1: 0], at: 0, counter(5))
        trace.move(0..<40, 0, to: 1, at: 10)
        trace.sample([0: 6, 1: 4], at: 50, counter(45))
        trace.sample([0: 3, 1: 7], at: 100, counter(48))
        let analysis = trace.analysis
        #expect(
            analysis.placement.rows == [["0", "10", "0"], ["0.05", "6", "4"], ["0.1", "3", "7"]])
        #expect(
            analysis.check.rows == [
                ["cdmfs_migrated_pages_total{from=\"0\",to=\"1\",reason=\"buffer\"}", "40", "43", "-3"]
            ])
    }

    @Test("A raster keeps every page while times and offsets grow")
    func raster() throws {
        var trace = HandTrace()
        var time = 0.0
        for page in 0..<300 as Range<UInt64> {
            time += 37
            trace.place(page * 11..<page * 11 + 3, on: UInt16(page % 2), at: time)
        }
        trace.move(0..<3, 0, to: 1, at: time + 1)
        trace.add(.pagesFreed, at: time + 100, pages: 11..<14, from: 1)
        trace.add(.touchRefused, at: time + 200, pages: 5000..<5001, value: 12)
        let analysis = trace.analysis
        let track = try #require(analysis.buffers[1])
        #expect(track.placed == 900 && track.mostResident == 900 && track.freed == 3)
        let raster = track.raster
        #expect(raster.rowCount <= BufferRaster.rowLimit && raster.rowCount << Int(raster.shift) > 5000)
        #expect(analysis.bins.count <= TimeBins.limit && analysis.bins.count > TimeBins.limit / 2)
        let last = try #require(raster.columns.last)
        func pages(_ node: Int, _ column: BufferRaster.Column) -> UInt64 {
            (0..<raster.rowCount).reduce(0) { $0 + column.pages($1, node) }
        }
        #expect(pages(0, last) == 447 && pages(1, last) == 450)
        #expect(raster.columns.map { $0.moves.reduce(0, +) }.reduce(0, +) == 3)
        #expect(raster.columns.map { $0.failures.reduce(0, +) }.reduce(0, +) == 1)
        #expect(zip(raster.columns, raster.columns.dropFirst()).allSatisfy { $0.bin < $1.bin })
        // Every page came in its time, so that the sum never falls before the end.
        let sums = raster.columns.map { pages(0, $0) + pages(1, $0) }
        #expect(zip(sums, sums.dropFirst()).dropLast(2).allSatisfy { $0 <= $1 })
    }

    @Test("Frees of all that could be behind an end, and pages that had frames before the record")
    func unknown() throws {
        var trace = HandTrace()
        trace.move(0..<10, 0, to: 1, at: 1)
        trace.add(.touchFound, at: 2, pages: 10..<12, to: 0)
        trace.add(.touchFound, at: 3, pages: 12..<14)
        trace.add(.pagesFreed, at: 4, pages: 5..<UInt64.max >> 12)
        let track = try #require(trace.analysis.buffers[1])
        #expect(track.mostResident == 12)
        let last = try #require(track.raster.columns.last)
        let sum = (0..<track.raster.rowCount).reduce(0 as UInt64) { $0 + last.pages($1, 0) + last.pages($1, 1) }
        #expect(sum == 5)
    }
}
