import Charts
import CoherentMemory
import Foundation
import TestSupport
import Testing
import TraceFormat

@testable import TraceReport

/// Pages are well-formed and of a bounded size, whatever was recorded.
@Suite("Report pages", .timeLimit(.minutes(2)))
struct PageTests {
    private func html(_ trace: HandTrace, isCutOff: Bool = false, name: String = "a.trace") -> String {
        var analysis = trace.analysis
        analysis.isCutOff = isCutOff
        return ReportPage(analysis, name: name).html
    }

    private func check(_ html: String) {
        let parsed = Wellformed(html)
        #expect(parsed.error == nil, "\(parsed.error ?? "")")
        #expect(Set(parsed.ids).count == parsed.ids.count)
        #expect(!parsed.attributes.contains { $0.hasPrefix("on") })
        #expect(
            !html.contains("http:") && !html.contains("https:") && !html.contains("src=") && !html.contains("@import"))
    }

    /// A trace with something for every picture.
    private static func scenario(name: String = "a", command: String = "c") -> HandTrace {
        var trace = HandTrace()
        trace.parts += [
            .fact(name: "command", value: command), .fact(name: "realtime_ns", value: "1790000000000000000"),
            .fact(name: "mountpoint", value: name),
        ]
        trace.name(1, name)
        trace.sample([0: 4, 1: 0], at: 0)
        trace.place(0..<1000, on: 0, at: 10)
        trace.move(0..<500, 0, to: 1, at: 200, .demotion)
        trace.move(0..<100, 1, to: 0, at: 300, .promotion)
        trace.add(.touchFound, at: 350, pages: 0..<50, to: 0)
        trace.add(.touchRefused, at: 400, pages: 1000..<1001, value: 12)
        trace.sample([0: 2, 1: 2], at: 500)
        trace.add(.linkState, at: 600, detail: 0, buffer: 0, to: 1)
        trace.add(.pagesLost, at: 601, pages: 100..<500, from: 1)
        trace.add(.linkState, at: 700, detail: 1, buffer: 0, to: 1)
        trace.block(8, of: 1, "online", at: 710)
        trace.place(100..<500, on: 1, at: 800)
        trace.sample([0: 2, 1: 2], at: 1000)
        return trace
    }

    @Test("Every section is there, with its picture and its table")
    func sections() {
        let html = html(Self.scenario())
        check(html)
        for id in ["placement", "buffers", "flow", "ping-pong", "promotions", "refusals", "recovery", "sums", "method"]
        {
            #expect(html.contains("<section id=\"\(id)\">"))
        }
        #expect(html.components(separatedBy: "<figure>").count - 1 == 7)
        #expect(html.contains("2026-09-21 14:13:20 UTC") && html.contains("touch_refused ENOMEM"))
        #expect(html.contains(">50 pages<") || html.contains(">100 pages<"))
    }

    @Test(
        "Names are texts, not markup",
        arguments: [
            "</script><svg onload=alert(1)>", "\"><img src=x onerror=alert(1)>", "\u{202e}txt.\u{1b}[2J\u{0}", "שלום",
            "<!--",
            String(repeating: "x/", count: 2000),
        ])
    func names(_ name: String) {
        let html = html(Self.scenario(name: name, command: name), name: name)
        let parsed = Wellformed(html)
        #expect(parsed.error == nil, "\(parsed.error ?? "")")
        #expect(!parsed.attributes.contains { $0.hasPrefix("on") || $0 == "src" } && !parsed.elements.contains("img"))
        #expect(!html.contains("\u{202e}") && !html.contains("\u{1b}"))
        #expect(html.components(separatedBy: "<script").count == 2)
    }

    @Test("An empty trace, and one that was cut off, say so")
    func empty() {
        let empty = html(HandTrace())
        check(empty)
        #expect(empty.contains("The trace is empty"))
        let cut = html(Self.scenario(), isCutOff: true)
        check(cut)
        #expect(cut.contains("cut off or damaged"))
        var lossy = Self.scenario()
        lossy.parts.append(.record(.lost(17)))
        #expect(html(lossy).contains("lost 17 events"))
        check(ReportPage(TraceAnalysis(), name: "").html)
    }

    @Test("The page of an hour of a busy machine has a few megabytes at most")
    func bounded() {
        var trace = HandTrace()
        var generator = SeededGenerator(state: 7)
        for buffer in 1...40 as ClosedRange<UInt64> { trace.name(buffer, "directory/buffer number \(buffer)") }
        let steps = 40_000
        for step in 0..<steps {
            let time = Double(step) * 3_600_000 / Double(steps)
            let buffer = UInt64.random(in: 1...40, using: &generator)
            let page = UInt64.random(in: 0..<20_000, using: &generator)
            switch step % 4 {
            case 0, 1:
                trace.place(page..<page + 32, on: UInt16.random(in: 0...3, using: &generator), at: time, buffer: buffer)
            case 2:
                let reason = MoveReason.allCases.randomElement(using: &generator)!
                trace.move(
                    page..<page + 64, 0, to: UInt16.random(in: 0...3, using: &generator), at: time, reason,
                    buffer: buffer)
            default: trace.add(.touchRefused, at: time, buffer: buffer, pages: page..<page + 1, value: 12)
            }
            if step % 100 == 0 {
                trace.sample([0: step % 700, 1: 700 - step % 700, 2: 5, 3: 9], at: time)
                trace.block(UInt64(step), of: UInt16(step % 3), "going-offline", at: time)
                trace.block(UInt64(step), of: UInt16(step % 3), "offline", at: time + 1)
                trace.block(UInt64(step), of: UInt16(step % 3), "online", at: time + 2)
            }
        }
        let analysis = trace.analysis
        #expect(analysis.bins.count <= TimeBins.limit && analysis.bins.duration > 3590)
        let html = ReportPage(analysis, name: "hour").html
        #expect(html.utf8.count < 4 << 20, "\(html.utf8.count)")
        check(html)
    }

    @Test("Records with any numbers trap nothing")
    func extremes() {
        var generator = SeededGenerator(state: 11)
        func any<T: FixedWidthInteger & UnsignedInteger>(_ type: T.Type) -> T {
            switch Int.random(in: 0..<4, using: &generator) {
            case 0: .max
            case 1: T(truncatingIfNeeded: UInt64.random(in: 0...3, using: &generator))
            case 2: T(truncatingIfNeeded: UInt64.random(in: 0...5000, using: &generator))
            default: .random(in: .min ... .max, using: &generator)
            }
        }
        for _ in 0..<20 {
            var analysis = TraceAnalysis()
            analysis.add(.fact(name: "start_ns", value: "\(any(UInt64.self))"))
            analysis.add(.fact(name: "realtime_ns", value: "\(any(UInt64.self))"))
            for kind in Array(repeating: TraceEvent.Kind.allCases, count: 20).joined() {
                var event = TraceEvent(
                    kind, detail: any(UInt8.self), pid: Int32(bitPattern: any(UInt32.self)),
                    buffer: any(UInt64.self) % 5,
                    start: any(UInt64.self), count: any(UInt64.self), from: any(UInt16.self), to: any(UInt16.self),
                    local: any(UInt16.self), flags: TraceEvent.Flags(rawValue: any(UInt16.self)),
                    value: any(UInt64.self),
                    other: any(UInt64.self))
                event.time = any(UInt64.self)
                analysis.add(.record(.event(event)))
            }
            analysis.add(.record(.lost(.max)))
            analysis.add(.record(.lost(.max)))
            for value in ["nan", "inf", "-1", "1e308", "x", ""] {
                analysis.add(
                    .sample(
                        time: any(UInt64.self),
                        "cdmfs_node_memory_bytes{node=\"1\",state=\"allocated\"} \(value)\na_total \(value)\n"))
            }
            analysis.finish()
            check(ReportPage(analysis, name: "x").html)
            #expect(!analysis.text.isEmpty)
        }
    }

    @Test("A buffer of which something is told long before a page of it has a frame")
    func late() {
        var trace = HandTrace()
        trace.add(.pagesFreed, at: 1, pages: 0..<1 << 40)
        trace.add(.touchFound, at: 2, pages: 0..<4)
        trace.place(0..<100, on: 1, at: 900)
        trace.place(100..<101, on: 0, at: 1000)
        check(html(trace))
    }

    @Test("A comparison of variants: a table, a page")
    func comparison() {
        var comparison = Comparison("Replays of <a>", subtitle: "b & c", variants: ["recorded", "bind:1"])
        comparison.append("refusals", [3, 0])
        comparison.append("modelled time", unit: "ns", [1500.5, nil])
        #expect(comparison.table.rows == [["refusals", "3", "0"], ["modelled time, ns", "1500.5", "–"]])
        comparison.note("bind:1: no <more>")
        check(comparison.html)
        #expect(comparison.html.contains("Replays of &lt;a&gt;") && comparison.html.contains("no &lt;more&gt;"))
    }
}

/// The same numbers each time.
private struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var word = state
        word = (word ^ word >> 30) &* 0xbf58_476d_1ce4_e5b9
        word = (word ^ word >> 27) &* 0x94d0_49bb_1331_11eb
        return word ^ word >> 31
    }
}
