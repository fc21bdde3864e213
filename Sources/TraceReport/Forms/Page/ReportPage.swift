import Charts
import CoherentMemory
import LinuxSupport

/// A recorded trace as a page with pictures.
public struct ReportPage {
    let analysis: TraceAnalysis
    let nodes: [Int]
    var page: HTMLPage

    /// The page of an analysis that is finished.
    ///
    /// - Parameters:
    ///   - analysis: what the page shows.
    ///   - name: of the trace, for the title.
    public init(_ analysis: TraceAnalysis, name: String) {
        self.analysis = analysis
        nodes = analysis.allNodes
        page = HTMLPage("Memory of \(Self.isolated(name.printable))", subtitle: Self.subtitle(of: analysis))
        addHead()
        guard analysis.eventCount > 0 || analysis.samples.count > 0 else {
            page.notice("The trace is empty: nothing was recorded, neither events nor samples of the counters.")
            return
        }
        addPlacement()
        addRasters()
        addFlows()
        addPingPong()
        addPromotions()
        addRefusals()
        addRecovery()
        addTables()
        addMethod()
    }

    /// The page in HTML.
    public var html: String { page.html }

    // MARK: Words

    static func isolated(_ text: String) -> String { "\u{2068}\(text)\u{2069}" }

    private static func fact(_ name: String, of analysis: TraceAnalysis) -> String? {
        analysis.facts.first { $0.name == name && !$0.value.isEmpty }?.value
    }

    private static func subtitle(of analysis: TraceAnalysis) -> String {
        let command = fact("command", of: analysis).map { "What “\(isolated($0.printable))” did" } ?? "What happened"
        return "\(command) to the memory of a simulated machine, recorded with cdmfs."
    }

    private static func date(_ nanoseconds: UInt64) -> String {
        let (days, second) = (nanoseconds / 1_000_000_000).quotientAndRemainder(dividingBy: 86_400)
        // Years that begin in March, in eras of 400 (Howard Hinnant, chrono-compatible low-level date algorithms).
        let (era, day) = (days + 719_468).quotientAndRemainder(dividingBy: 146_097)
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365
        let dayOfYear = day - (365 * year + year / 4 - year / 100)
        let month = (5 * dayOfYear + 2) / 153
        func two(_ number: UInt64) -> String { number < 10 ? "0\(number)" : "\(number)" }
        return "\(era * 400 + year + (month < 10 ? 0 : 1))-\(two(month < 10 ? month + 3 : month - 9))-"
            + "\(two(dayOfYear - (153 * month + 2) / 5 + 1)) \(two(second / 3600)):\(two(second / 60 % 60)):\(two(second % 60)) UTC"
    }

    func fill(of node: Int) -> Fill { Fill(series: nodes.firstIndex(of: node) ?? nodes.count) }
    func fill(of reason: String) -> Fill {
        Fill(series: MoveReason.allCases.firstIndex { $0.rawValue == reason } ?? MoveReason.allCases.count)
    }

    static func bytes(_ pages: UInt64) -> String { Figure.bytes(Double(pages) * Double(Page.size)) }

    // MARK: Head and sums

    private mutating func addHead() {
        for note in analysis.notes { page.notice(note) }
        var facts: [(name: String, value: String)] = []
        if let time = Self.fact("realtime_ns", of: analysis).flatMap({ UInt64($0) }) {
            facts.append(("Recorded", Self.date(time)))
        }
        for (name, title) in [("command", "Command"), ("mountpoint", "Mount point"), ("version", "Version of cdmfs")] {
            if let value = Self.fact(name, of: analysis) { facts.append((title, Self.isolated(value.printable))) }
        }
        page.facts(facts)
        let promotions = analysis.promotions
        var figures: [(name: String, value: String)] = [
            ("Duration", Figure.duration(analysis.bins.duration)),
            ("Events", Figure.grouped(analysis.eventCount)),
            ("First touched", Self.bytes(analysis.placedPages)),
            ("Moved between nodes", Self.bytes(analysis.movedPages)),
            ("Refusals", Figure.grouped(analysis.refusals)),
            ("Lost memory", Self.bytes(analysis.lostPages)),
        ]
        if promotions.promoted > 0 {
            figures.append(
                (
                    "Promotion precision",
                    Figure.percent(Double(promotions.touched), of: Double(promotions.touched + promotions.demoted))
                ))
        }
        page.figures(figures)
    }

    private mutating func addTables() {
        page.section("Sums", id: "sums")
        page.add(analysis.events)
        page.add(analysis.touches)
        page.add(analysis.commandTable)
        let check = analysis.check
        guard !check.rows.isEmpty else { return }
        page.part("Events and counters")
        let differences = check.rows.filter { $0[3] != "0" }.count
        page.paragraph(
            differences == 0
                ? "The sums of the events are what the counters grew by between the first and the last sample."
                : "In \(differences) of \(check.rows.count) rows the sums differ: what happened before the first sample or after the last one is in "
                    + "one of them alone"
                    + (analysis.lost > 0 ? ", and \(analysis.lost) events were lost." : "."))
        page.add(check)
    }

    private mutating func addMethod() {
        page.section("About the figures", id: "method")
        let bins = analysis.bins
        page.paragraph(
            "Time is divided into \(bins.count) steps of \(Figure.duration(bins.binDuration)), and the offsets of a buffer into at most "
                + "\(BufferRaster.rowLimit) parts. Sums are of all events. Pictures and tables of buffers have the largest ones; "
                + "`cdmfs report --format csv` has every event.")
        page.paragraph("A page is \(Page.size) bytes. Sizes are in powers of 1024.")
    }
}
