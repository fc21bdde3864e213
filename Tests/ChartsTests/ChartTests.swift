import Foundation
import TestSupport
import Testing

@testable import Charts

/// Drawings and pages are well-formed whatever the texts are, and their figures are where they belong.
@Suite("Charts", .timeLimit(.minutes(1)))
struct ChartTests {
    private static let hostile = [
        "</script><svg onload=alert(1)>", "\" onload=\"alert(1)", "'<!--", "]]>", "&lt;&amp;",
        "\u{0}\u{1}\u{1b}[31m\u{fffe}",
        "\u{202e}gnp.exe", "שלום", "漢字漢字漢字漢字漢字漢字漢字漢字漢字", String(repeating: "w", count: 300), "", "🧠👩‍👩‍👧‍👦",
    ]

    private func charts(named name: String) -> [any Chart] {
        let bars = [
            BarChart.Bar(name, Fill(.blue), 3, text: name, spread: 1...9),
            BarChart.Bar(name, parts: [(name, Fill(.green, .rising), 1), (name, Fill(.grey), 2)], text: "3"),
        ]
        return [
            BarChart([BarChart.Group(name, bars)], title: name, subtitle: name),
            StackedAreaChart(
                times: [0, 1, 2], upTo: 3, [StackedAreaChart.Series(name, Fill(series: 7), [1, 2, 3])], unit: "bytes",
                marks: [(1, name)]),
            HeatMap(
                [[nil, .init(kind: 0), .init(kind: 0, second: 0)]], kinds: [.init(name, Fill(series: 1))],
                seconds: 2,
                covered: 3, span: 4096, moves: [(0, 1)], failures: [(0, 2)]),
            FlowMatrix([name, name], [[[], [.init(name, Fill(.cyan), 5)]], [[], []]]) { "\($0)" },
            TimelineChart(
                [.init(name, [.init(name, Fill(.amber, .crossed), from: 1, to: 2)], marks: [(1, name)])], upTo: 2),
        ]
    }

    @Test("A page with any texts is well-formed, and has no elements but its own", arguments: hostile)
    func texts(_ name: String) {
        var page = HTMLPage(name, subtitle: name)
        page.section(name, id: "one")
        page.part(name)
        page.paragraph(name)
        page.notice(name)
        page.figures([(name, name)])
        page.facts([(name, name)])
        var table = DataTable("t", name, [.init(name), .figures(name)], [[name, name], ["a", "1"], ["b", "2"]])
        table.limit(to: 2)
        page.add(table)
        for chart in charts(named: name) {
            func add(_ chart: some Chart) {
                page.add(Picture(name, description: name, chart, legend: [LegendKey(name, Fill(.purple))], marks: name))
                let (drawing, height) = chart.draw(width: 640)
                let file = Wellformed(drawing.document(width: 640, height: height, title: name))
                #expect(file.error == nil && file.elements.first == "svg")
            }
            add(chart)
        }
        let parsed = Wellformed(page.html)
        #expect(parsed.error == nil, "\(parsed.error ?? "")")
        #expect(parsed.elements.filter { $0 == "svg" }.count == 1 + 5 * 3)
        #expect(!parsed.attributes.contains { $0.hasPrefix("on") })
        #expect(Set(parsed.ids).count == parsed.ids.count)
        #expect(!page.html.contains("http:") && !page.html.contains("https:") && !page.html.contains("src="))
        // One script and one style, whatever the names say.
        #expect(page.html.components(separatedBy: "<script").count == 2)
        #expect(page.html.components(separatedBy: "<style").count == 2)
    }

    @Test("Every picture has a title and a description, and every table headers with a scope")
    func accessible() {
        var page = HTMLPage("a")
        for chart in charts(named: "b") {
            func add(_ chart: some Chart) { page.add(Picture("c", description: "d", chart)) }
            add(chart)
        }
        page.add(DataTable("t", "caption", ["x", .figures("y")], [["1", "2"]]))
        let html = page.html
        let pictures = html.matches(of: /<svg [^>]*role="img" aria-labelledby="([^ "]+) ([^"]+)"/)
        #expect(pictures.count == 10)
        for picture in pictures {
            #expect(html.contains("<title id=\"\(picture.1)\">") && html.contains("<desc id=\"\(picture.2)\">"))
        }
        #expect(html.contains("<th scope=\"col\">x</th>") && html.contains("<th scope=\"row\">1</th>"))
        #expect(html.contains("prefers-color-scheme:dark") && html.contains("prefers-reduced-motion"))
        #expect(html.contains("@media print"))
    }

    @Test(
        "Figures",
        arguments: [
            (0.0, "0"), (1, "1"), (1.004, "1"), (12.34, "12.3"), (999.6, "1000"), (0.05, "0.05"), (-2.5, "-2.5"),
            (1e-3, "0.001"),
        ])
    func figures(_ value: Double, _ text: String) { #expect(Figure.short(value) == text) }

    @Test("Extreme figures trap nothing")
    func extremes() {
        for value in [
            Double.nan, .infinity, -.infinity, .greatestFiniteMagnitude, -.greatestFiniteMagnitude,
            .leastNonzeroMagnitude, 9e18,
        ] {
            _ = (Figure.short(value), Figure.bytes(value), Figure.duration(value), Figure.fixed(value, digits: 6))
            _ = (
                Scale([value]).ticks.count, Scale(upTo: value).place(value),
                Scale(exactlyTo: value, count: 5, base: 1024).ticks.count
            )
            _ = BarChart([BarChart.Group("", [BarChart.Bar("", Fill(.blue), value, text: "")])]).draw(width: 300)
            _ = StackedAreaChart(times: [value], upTo: value, [.init("", Fill(.blue), [value])], unit: "bytes").draw(
                width: 300)
            _ = TimelineChart([.init("", [.init("", Fill(.blue), from: 0, to: value)])], upTo: value).draw(width: 300)
        }
        #expect(
            Figure.bytes(1536) == "1.5 KiB" && Figure.bytes(0) == "0 B" && Figure.bytes(5 * 1_073_741_824) == "5 GiB")
        #expect(
            Figure.duration(0.0125) == "12.5 ms" && Figure.duration(3725) == "1 h 2 min"
                && Figure.grouped(1_234_567) == "1\u{202f}234\u{202f}567")
    }

    @Test("An axis is linear or logarithmic by its figures, and has all of them")
    func scales() {
        let linear = Scale([3, 7])
        #expect(!linear.isLogarithmic && linear.ticks == [0, 2, 4, 6, 8] && linear.place(4) == 0.5)
        let logarithmic = Scale([2, 900])
        #expect(logarithmic.isLogarithmic && logarithmic.ticks == [1, 10, 100] && logarithmic.place(1000) == 1)
        let bytes = Scale(exactlyTo: 3 * 1_048_576, count: 4, base: 1024)
        #expect(bytes.ticks == [0, 1, 2, 3].map { $0 * 1_048_576 } && bytes.place(3 * 1_048_576) == 1)
        for number in 0..<40 {
            let (one, two) = (Fill(series: number), Fill(series: number + 1))
            #expect(one.colour != two.colour && one.pattern != two.pattern)
        }
        #expect(Set((0..<36).map { Fill(series: $0) }).count == 36)
    }

    @Test("Colours have a contrast of 3 : 1 with the ground and with what is behind cells, in light and dark")
    func contrast() {
        func luminance(_ colour: String) -> Double {
            let number = Int(colour.dropFirst(), radix: 16)!
            let parts = [number >> 16 & 255, number >> 8 & 255, number & 255].map { part in
                let share = Double(part) / 255
                return share <= 0.04045 ? share / 12.92 : pow((share + 0.055) / 1.055, 2.4)
            }
            return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]
        }
        for colour in Colour.allCases {
            for ground in ["#ffffff", "#f3f5f7"] {
                #expect((luminance(ground) + 0.05) / (luminance(colour.light) + 0.05) >= 3, "\(colour) on \(ground)")
            }
            for ground in ["#0d1117", "#161b22"] {
                #expect((luminance(colour.dark) + 0.05) / (luminance(ground) + 0.05) >= 3, "\(colour) on \(ground)")
            }
        }
    }

    @Test("A table as text and as comma-separated values")
    func tables() {
        var table = DataTable(
            "moves", "c", ["buffer", .figures("pages moved")], [["a, \"b\"", "5"], ["c", "1000"], ["d", "1"]])
        let lines = ["BUFFER  PAGES-MOVED", "a, \"b\"            5", "c              1000", "d                 1"]
        #expect(table.text == "\nmoves\n" + lines.map { $0 + "\n" }.joined())
        #expect(table.commaSeparated == "buffer,pages moved\r\n\"a, \"\"b\"\"\",5\r\nc,1000\r\nd,1\r\n")
        table.limit(to: 1)
        #expect(table.rows.count == 1 && table.text.hasSuffix("and 2 more\n"))
    }
}
