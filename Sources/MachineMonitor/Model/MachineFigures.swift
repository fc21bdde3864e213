import TraceFormat

/// The counters of a machine at one moment: what sys/kernel/cdm/metrics says.
package struct MachineFigures: Sendable {
    /// Pages that moved, by where from, where to, and why.
    package struct Flow: Hashable, Sendable {
        /// The node that they left.
        package let from: Int
        /// The node that they went to.
        package let to: Int
        /// The word of the reason.
        package let reason: String
    }

    private struct Key: Hashable {
        let family: String
        let subject: String
        let label: String
    }

    /// When they were read, in nanoseconds of a clock that only grows.
    package let time: UInt64
    private var values: [Key: Double] = [:]
    /// The ids of the nodes that there are, ascending.
    package private(set) var nodes: [Int] = []
    /// The names of the devices that there are.
    package private(set) var devices: [String] = []
    /// Pages that moved since the mount.
    package private(set) var flows: [Flow: Double] = [:]
    private var kinds: [Int: String] = [:]
    private var tiers: [Int: Int] = [:]
    private var nodesOfDevices: [String: Int] = [:]

    /// The figures of a text, read at a time.
    package init(_ text: String, at time: UInt64) {
        self.time = time
        for sample in MetricsText(text) where sample.name.hasPrefix("cdmfs_") && sample.value.magnitude < 0x1p60 {
            let family = String(sample.name.dropFirst(6))
            switch family {
            case "node_info":
                guard let node = sample["node"].flatMap({ Int($0) }) else { continue }
                nodes.append(node)
                kinds[node] = sample["kind"]
                tiers[node] = sample["tier"].flatMap { Int($0) }
            case "device_info":
                guard let device = sample["device"] else { continue }
                devices.append(device)
                nodesOfDevices[device] = sample["node"].flatMap { Int($0) }
            case "migrated_pages_total":
                guard let from = sample["from"].flatMap({ Int($0) }), let to = sample["to"].flatMap({ Int($0) }),
                    let reason = sample["reason"]
                else { continue }
                flows[Flow(from: from, to: to, reason: reason)] = sample.value
            default:
                let subject = sample["node"] ?? sample["device"] ?? ""
                let label = sample.labels.first { $0.name != "node" && $0.name != "device" }?.value ?? ""
                values[Key(family: family, subject: subject, label: label)] = sample.value
            }
        }
        nodes.sort()
    }

    /// A figure; 0 for one that is not there.
    ///
    /// - Parameters:
    ///   - family: the name of the metric without `cdmfs_`.
    ///   - subject: the value of the label `node` or `device`.
    ///   - label: the value of the other label.
    package subscript(family: String, subject: String, label: String) -> Double {
        values[Key(family: family, subject: subject, label: label)] ?? 0
    }

    /// How much a counter grew a second since earlier figures. One that is smaller than it was has begun anew.
    package func rate(_ family: String, _ subject: String, _ label: String, since old: MachineFigures) -> Double {
        Self.rate(
            from: old[family, subject, label], to: self[family, subject, label], seconds: seconds(since: old))
    }

    /// The pages a second of a flow since earlier figures.
    package func rate(of flow: Flow, since old: MachineFigures) -> Double {
        Self.rate(from: old.flows[flow] ?? 0, to: flows[flow] ?? 0, seconds: seconds(since: old))
    }

    /// The seconds since earlier figures; at least a microsecond.
    package func seconds(since old: MachineFigures) -> Double {
        max(1e-6, Double(time) / 1e9 - Double(old.time) / 1e9)
    }

    /// The kind of a node, `ram` or `coherent`.
    package func kind(of node: Int) -> String { kinds[node] ?? "-" }

    /// The memory tier of a node; nil for one that is in none.
    package func tier(of node: Int) -> Int? { tiers[node] }

    /// The node of a device.
    package func node(of device: String) -> Int? { nodesOfDevices[device] }

    /// How much a counter grew a second.
    static func rate(from old: Double, to new: Double, seconds: Double) -> Double {
        (new < old ? new : new - old) / seconds
    }
}
