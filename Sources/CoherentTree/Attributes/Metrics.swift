import AttributeTree
import CoherentMemory
import MachineTopology

/// The text of sys/kernel/cdm/metrics: what can be counted, for Prometheus and those who read its formats.
///
/// The text is OpenMetrics and the older text format of Prometheus at once. The two differ in the name of a counter's family:
/// so a counter has no `# TYPE` line here, and its name ends in `_total`.
struct Metrics {
    private var text = ""

    /// One sample: what it is about, and the figure.
    typealias Sample = (labels: [(String, String)], value: Double)

    /// What is there at this moment.
    mutating func gauge(_ name: String, _ help: String, _ samples: [Sample]) {
        guard !samples.isEmpty else { return }
        text += "# TYPE cdmfs_\(name) gauge\n"
        add(name, help, samples)
    }

    /// What was counted since the mount began, or since a device was plugged in.
    mutating func counter(_ name: String, _ help: String, _ samples: [Sample]) {
        guard !samples.isEmpty else { return }
        add(name + "_total", help, samples)
    }

    private mutating func add(_ name: String, _ help: String, _ samples: [Sample]) {
        text += "# HELP cdmfs_\(name) \(help)\n"
        for (labels, value) in samples {
            let list = labels.map { "\($0)=\"\(Self.escaped($1))\"" }.joined(separator: ",")
            // Whole numbers up to 2⁵³ are exact.
            let number = value.rounded() == value && value.magnitude < 0x1p53 ? "\(Int64(value))" : "\(value)"
            text += "cdmfs_\(name)\(list.isEmpty ? "" : "{\(list)}") \(number)\n"
        }
    }

    private static func escaped(_ value: String) -> String {
        value.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"").replacing("\n", with: "\\n")
    }

    /// The whole text; nothing follows its last line.
    var finished: String { text + "# EOF\n" }
}

/// Whose metrics: the names of buffers are those that the opener of the file may see.
struct MetricsReader: Sendable {
    let services: TreeServices
    let opener: Credentials

    init(_ services: TreeServices, _ opener: Opener) {
        self.services = services
        self.opener = Credentials(opener)
    }

    /// The name of a buffer; nil for one that the opener may not see, and for one that has none any more.
    func name(of buffer: Buffer) -> String? {
        let name = services.files.name(of: buffer.id)
        guard case .buffer(let place) = name, place.isOpen(to: opener) else { return nil }
        return name.shown(to: Uevent.Viewer(opener), escape: BlockerListing.escaped)
    }
}

/// What is counted of a machine.
enum MachineMetrics {
    static let attribute: Attribute<MetricsReader> = Attribute.readOnly(
        "metrics", summary: "The counters of the machine, as OpenMetrics text.", show: { text(for: $0) }
    ).verbatim()

    static let machine: Attribute<Machine> = Attribute.readOnly(
        "machine", summary: "The machine as it was made, as a topology file.", show: { $0.topology.toml }
    ).verbatim()

    /// How many buffers have samples of their own: a name is a time series to the collector.
    static let largestCount = 10

    static func text(for reader: MetricsReader) -> String {
        let machine = reader.services.machine
        var metrics = Metrics()
        let nodes = machine.presentNodes
        addMemory(of: nodes, to: &metrics)
        addAllocations(of: nodes, to: &metrics)
        addReclaim(of: nodes, to: &metrics)
        addDevices(machine.devices, to: &metrics)
        addBuffers(machine, reader, to: &metrics)
        metrics.counter(
            "migrated_pages", "Pages that moved from one node to another.",
            machine.transfers.map {
                (
                    [("from", "\($0.from)"), ("to", "\($0.to)"), ("reason", $0.reason.rawValue)], Double($0.pages)
                )
            })
        return metrics.finished
    }

    /// Samples of some figures of each node, the figure's name as a label.
    private static func samples<Source, Number: BinaryInteger>(
        _ nodes: [CoherentMemory.Node], _ label: String, of source: (CoherentMemory.Node) -> Source,
        _ figures: KeyValuePairs<String, KeyPath<Source, Number>>, unit: Double = 1
    ) -> [Metrics.Sample] {
        nodes.flatMap { node -> [Metrics.Sample] in
            let source = source(node)
            return figures.map { name, figure in
                ([("node", "\(node.id)"), (label, name)], Double(source[keyPath: figure]) * unit)
            }
        }
    }

    private static func addMemory(of nodes: [CoherentMemory.Node], to metrics: inout Metrics) {
        metrics.gauge(
            "node_info", "1 for each node, with its kind and memory tier.",
            nodes.map { node in
                (
                    [("node", "\(node.id)"), ("kind", node.kind.rawValue)]
                        + (MemoryTiers.tier(of: node).map { [("tier", "\($0)")] } ?? []), 1
                )
            })
        metrics.gauge(
            "node_memory_bytes", "Memory of a node: online, free, and used by buffers and programs.",
            samples(
                nodes, "state", of: \.usage,
                [
                    "present": \.present, "free": \.free, "allocated": \.allocated, "anonymous": \.anonymous,
                    "active": \.active, "cached": \.cached, "dirty": \.written, "poisoned": \.poisoned,
                ], unit: Double(Page.size)))
        metrics.gauge(
            "node_huge_pages", "Reserved huge pages of a node.",
            samples(
                nodes, "state", of: \.usage.hugePool, ["reserved": \.total, "free": \.free, "surplus": \.surplus]))
        metrics.gauge(
            "node_watermark_bytes", "Watermarks of a node.",
            samples(
                nodes, "mark", of: \.watermarks,
                ["min": \.min, "low": \.low, "high": \.high, "promo": \.promo], unit: Double(Page.size)))
    }

    private static func addAllocations(of nodes: [CoherentMemory.Node], to metrics: inout Metrics) {
        metrics.counter(
            "node_allocations", "Allocations by their outcome, as numastat counts them.",
            samples(
                nodes, "outcome", of: \.statistics,
                [
                    "hit": \.hit, "miss": \.miss, "foreign": \.foreign, "interleave": \.interleaveHit, "local": \.local,
                    "other": \.other,
                ]))
        metrics.counter(
            "node_refusals", "Allocations that the isolation of a node refused.",
            samples(
                nodes, "cause", of: \.statistics,
                [
                    "fallback": \.refusedFallback, "not_allowed": \.refusedNotAllowed, "hugetlb": \.refusedHugePages,
                ]))
    }

    private static func addReclaim(of nodes: [CoherentMemory.Node], to metrics: inout Metrics) {
        metrics.counter(
            "node_reclaim_pages", "Events of reclaim and balancing of pages of a node.",
            samples(
                nodes, "event", of: \.pressure,
                [
                    "scanned": \.scanned, "referenced": \.referenced, "activated": \.activated,
                    "deactivated": \.deactivated, "reclaimed": \.reclaimed, "demoted_by_kswapd": \.demotedByKswapd,
                    "demoted_proactively": \.demotedProactively, "promoted": \.promoted,
                    "hinting_fault": \.hintingFaults, "balanced": \.balanced,
                ]))
    }

    private static func addDevices(_ devices: [Device], to metrics: inout Metrics) {
        func all(_ figure: (Device) -> Double) -> [Metrics.Sample] {
            devices.map { ([("device", $0.name)], figure($0)) }
        }
        metrics.gauge(
            "device_info", "1 for each device, with the node of its memory.",
            devices.map { ([("device", $0.name), ("node", "\($0.node.id)")], 1) })
        addLinks(of: devices, to: &metrics)
        metrics.counter(
            "device_faults", "Faults of the page tables of the device.", all { Double($0.mmu.figures.faults) })
        metrics.gauge("device_present", "1 while the device is plugged in.", all { $0.isPresent ? 1 : 0 })
        metrics.counter(
            "device_link_modelled_seconds", "Modelled time of faults and copies over the link, in ns.",
            all { Double($0.modelledNanoseconds) / 1e9 })
        metrics.counter(
            "device_link_stalled_seconds", "Total time that errors kept the link down, in ns.",
            all { Double($0.stalledNanoseconds) / 1e9 })
        metrics.counter(
            "device_copied_bytes", "Bytes that the copy engine has copied.", all { Double($0.copies.bytes) })
        metrics.gauge("device_copy_channels_busy", "Channels that are copying.", all { Double($0.copies.busy) })
        metrics.counter("device_commands", "Completed commands.", all { Double($0.queue.completed) })
        metrics.counter("device_failed_commands", "Commands that failed.", all { Double($0.queue.failed) })
        metrics.gauge("device_queue_depth", "Commands that wait or run.", all { Double($0.queue.depth) })
        metrics.counter(
            "device_errors", "Errors of the device and its link.",
            devices.flatMap { device -> [Metrics.Sample] in
                let counts = device.errors.counts
                return [
                    ("correctable", counts.correctable), ("uncorrectable", counts.uncorrectable), ("link", counts.link),
                ].map { ([("device", device.name), ("kind", $0)], Double($1)) }
            })
        metrics.gauge(
            "device_failed_pages", "Pages of the device that are poisoned, or out of use.",
            devices.flatMap { device -> [Metrics.Sample] in
                let usage = device.node.failureUsage
                return [("poisoned", usage.poisoned), ("retired", usage.retired)]
                    .map { ([("device", device.name), ("state", $0)], Double($1)) }
            })
    }

    private static func addLinks(of devices: [Device], to metrics: inout Metrics) {
        func both(_ figure: (Link) -> (read: Double, write: Double)) -> [Metrics.Sample] {
            devices.flatMap { device -> [Metrics.Sample] in
                let (read, write) = figure(device.link)
                return [("read", read), ("write", write)].map {
                    ([("device", device.name), ("direction", $0)], $1)
                }
            }
        }
        metrics.gauge(
            "device_link_up", "1 while the link is up.",
            devices.map { ([("device", $0.name)], $0.linkState == .up ? 1 : 0) })
        metrics.gauge(
            "device_link_bandwidth_bytes", "Bandwidth of the link, bytes per second.",
            both { (Double($0.readBandwidth) * 1e6, Double($0.writeBandwidth) * 1e6) })
        metrics.gauge(
            "device_link_latency_seconds", "Latency of the link.",
            both { (Double($0.readLatency) / 1e9, Double($0.writeLatency) / 1e9) })
    }

    /// Of all buffers together: their names are not for every user.
    private static func addBuffers(_ machine: Machine, _ reader: MetricsReader, to metrics: inout Metrics) {
        let buffers = machine.buffers.filter { $0.fixedSize == nil && !$0.isAnonymous }
        metrics.gauge("buffers", "Number of buffers.", [([], Double(buffers.count))])
        metrics.gauge(
            "buffer_resident_bytes", "Resident bytes of all buffers.",
            [([], buffers.reduce(0) { $0 + Double($1.residentPages) * Double(Page.size) })])
        let largest = buffers.map { (buffer: $0, pages: $0.residentPages) }.filter { $0.pages > 0 }
            .sorted { ($0.pages, $1.buffer.id) > ($1.pages, $0.buffer.id) }.prefix(largestCount)
        metrics.gauge(
            "buffer_node_bytes", "Memory of the largest buffers by node, as far as the reader may see their names.",
            largest.flatMap { item -> [Metrics.Sample] in
                guard let name = reader.name(of: item.buffer) else { return [] }
                return machine.placement(of: item.buffer).map {
                    (
                        [("buffer", name), ("id", "\(item.buffer.id)"), ("node", "\($0.node)")],
                        Double($0.pages) * Double(Page.size)
                    )
                }
            })
        let sums = buffers.map(\.counters)
        func sum(_ figure: (BufferCounters) -> UInt64) -> Double { sums.reduce(0) { $0 + Double(figure($1)) } }
        metrics.counter(
            "buffer_accesses", "Accesses and refusals of the present buffers.",
            [
                ("read", sum(\.read)), ("write", sum(\.write)), ("cpu", sum(\.cpu)), ("device", sum(\.device)),
                ("refused", sum(\.refused)),
            ].map { ([("kind", $0)], $1) })
    }
}
