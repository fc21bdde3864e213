import AttributeTree
import CoherentMemory
import SystemPackage

/// Memory pressure and automatic balancing: nodeN/cdm/pressure and sys/kernel/cdm.
enum PressureAttributes {
    /// Of a coherent node; of all nodes below sys/kernel/cdm/pressure.
    static let pressure: Attribute<Subject<CoherentMemory.Node>> = .readOnly(
        "pressure", summary: "Watermarks and lists of the node, and counters of reclaim and balancing, in pages."
    ) { text(of: $0.part) }

    /// sys/kernel/cdm/pressure.
    static func directory(_ services: TreeServices) -> Child {
        .directory(
            "pressure",
            [
                .dynamic(
                    list: { services.machine.presentNodes.map { "node\($0.id)" } },
                    lookup: { name in
                        services.machine.node(named: name).map { node in
                            .attribute(
                                Attribute<CoherentMemory.Node>.readOnly(
                                    "node\(node.id)", summary: pressure.summary, show: { text(of: $0) }
                                ).bound(to: node))
                        }
                    })
            ])
    }

    private static func text(of node: CoherentMemory.Node) -> String {
        let usage = node.usage
        let marks = node.watermarks
        let pressure = node.pressure
        return nameValueLines([
            ("free", UInt64(usage.free)), ("min", UInt64(marks.min)), ("low", UInt64(marks.low)),
            ("high", UInt64(marks.high)), ("promo", UInt64(marks.promo)), ("active", UInt64(usage.active)),
            ("inactive", UInt64(usage.allocated - usage.active)), ("scanned", pressure.scanned),
            ("referenced", pressure.referenced), ("activated", pressure.activated),
            ("deactivated", pressure.deactivated), ("reclaimed", pressure.reclaimed),
            ("demoted", pressure.demotedByKswapd + pressure.demotedProactively), ("promoted", pressure.promoted),
            ("kswapd_runs", pressure.kswapdRuns), ("numa_pte_updates", pressure.marked),
            ("numa_hint_faults", pressure.hintingFaults), ("numa_hint_faults_local", pressure.localHintingFaults),
            ("numa_pages_migrated", pressure.balanced),
        ])
    }

    /// Events of reclaim and balancing, summed over the nodes.
    static func events(of machine: Machine) -> [(String, UInt64)] {
        let nodes = machine.nodes.map(\.pressure)
        func sum(_ figure: (PressureStatistics) -> UInt64) -> UInt64 { nodes.reduce(0) { $0 + figure($1) } }
        return [
            ("pgactivate", sum(\.activated)), ("pgdeactivate", sum(\.deactivated)),
            ("pgpromote_success", sum(\.promoted)), ("pgpromote_candidate", sum(\.promotionCandidates)),
            ("pgdemote_kswapd", sum(\.demotedByKswapd)), ("pgdemote_direct", 0),
            ("pgdemote_proactive", sum(\.demotedProactively)), ("numa_pte_updates", sum(\.marked)),
            ("numa_hint_faults", sum(\.hintingFaults)), ("numa_hint_faults_local", sum(\.localHintingFaults)),
            ("numa_pages_migrated", sum(\.balanced)),
        ]
    }

    /// The files of sys/kernel/cdm.
    static let table: [Attribute<Machine>] = [
        .readOnly("vmstat", summary: "Events of reclaim and balancing on all nodes.") {
            nameValueLines(events(of: $0))
        },
        setting(
            "numa_balancing", "Automatic NUMA balancing: 0 off, 1 pages follow tasks, 2 promotion, 3 both.",
            0...3,
            get: { Int($0.mode.rawValue) }, set: { $0.mode = BalancingMode(rawValue: UInt8($1)) }),
        setting(
            "numa_balancing_scan_period_ms", "Time between two slices of the balancing scan, ms.",
            10...60_000, get: { $0.scanPeriod }, set: { $0.scanPeriod = $1 }),
        setting(
            "numa_balancing_scan_size_mb", "Maximum memory that a slice of the balancing scan marks, MB.", 1...65_536,
            get: { $0.scanSize }, set: { $0.scanSize = $1 }),
        setting(
            "numa_balancing_hot_threshold_ms", "Maximum time from marking to touch of a hot page, ms.", 1...60_000,
            get: { $0.hotThreshold }, set: { $0.hotThreshold = $1 }),
    ]

    /// A number out of range is EINVAL, as of a sysctl (proc_dointvec_minmax()).
    private static func setting(
        _ name: String, _ summary: String, _ range: ClosedRange<Int>,
        get: @escaping @Sendable (BalancingSettings) -> Int,
        set: @escaping @Sendable (inout BalancingSettings, Int) -> Void
    ) -> Attribute<Machine> {
        .readWrite(
            name, summary: summary, show: { "\(get($0.balancing))" },
            store: { machine, text throws(Errno) in
                guard let value = try? text.sysctl(), range.contains(value) else {
                    throw text.refused(
                        .invalidArgument,
                        "\(text.quoted) is not a number from \(range.lowerBound) to \(range.upperBound)")
                }
                machine.updateBalancing { set(&$0, value) }
            })
    }
}

extension AttributeText {
    /// A number as a file of /proc/sys takes it (proc_dointvec()): blanks around it, a minus, no plus, any base.
    ///
    /// - Throws: EINVAL for anything else, ERANGE for what does not fit in 64 bits.
    func sysctl() throws(Errno) -> Int {
        let words = words
        guard words.count == 1, !words[0].text.hasPrefix("+") else {
            throw refused(.invalidArgument, "\(quoted) is not a number")
        }
        return try words[0].integer()
    }
}
