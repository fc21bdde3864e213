import CoherentMemory
import TraceFormat

/// Makes a ``Snapshot`` of what was read of a machine. It reads nothing and asks no clock.
package struct MachineModel: Sendable {
    private var snapshot = Snapshot()
    private var figures: MachineFigures?
    private var table: BufferTable?
    private var names = Names()
    private var tasks: [Int32: Snapshot.Task] = [:]
    private var seesEvents = false
    private var tally = Tally()
    private var movedPages: [UInt64: Double] = [:]

    /// What has happened since the last figures.
    private struct Tally {
        var tasks: [Int32: Snapshot.Task] = [:]
        var moves: [Move: Double] = [:]
        var refusals: [Refusal: Double] = [:]
        var lines: [Snapshot.Event] = []
        var omitted = 0
        var lost = 0.0
    }

    private struct Move: Hashable {
        let kind: TraceEvent.Kind
        let buffer: UInt64
        let from: UInt16
        let to: UInt16
        let reason: String
    }

    private struct Refusal: Hashable {
        let kind: TraceEvent.Kind
        let buffer: UInt64
        let node: UInt16
        let why: String
    }

    private struct Names: TraceNames {
        var buffers: [UInt64: String] = [:]
        var devices: [Int: String] = [:]

        func buffer(_ id: UInt64) -> String { buffers[id] ?? "#\(id)" }
        func device(ofNode node: Int) -> String { devices[node] ?? "node\(node)" }
        func task(_ pid: Int32) -> Int32 { pid }
    }

    /// The lines of the ticker that are kept.
    private static let eventLimit = 200
    /// The lines that one interval adds at most.
    private static let newEventLimit = 40
    /// The tasks, and the names of buffers, that are kept.
    private static let taskLimit = 256
    private static let nameLimit = 1 << 16
    private static let pageSize = Double(Page.size)

    /// A model of a machine that is mounted at a path.
    package init(mountPoint: String) { snapshot.mountPoint = mountPoint }

    // MARK: Counters

    /// Takes the counters of a moment, and what was added since the last ones.
    ///
    /// - Parameter time: seconds of the day, local time.
    /// - Returns: what there is to see now.
    package mutating func add(_ new: MachineFigures, at time: Int) -> Snapshot {
        let old = figures
        figures = new
        snapshot.time = time
        snapshot.seconds = old.map { new.seconds(since: $0) }
        snapshot.bufferCount = Int(new["buffers", "", ""])
        names.devices = new.devices.reduce(into: [:]) { names, device in
            if let node = new.node(of: device) { names[node] = device }
        }
        snapshot.nodes = new.nodes.map { Self.node($0, new, since: old ?? new) }
        snapshot.nodes.sort { ($0.tier ?? .max, $0.id) < ($1.tier ?? .max, $1.id) }
        snapshot.flows = new.flows.map { flow, pages in
            Snapshot.Flow(
                flow: flow, rate: new.rate(of: flow, since: old ?? new) * Self.pageSize, total: pages * Self.pageSize)
        }
        snapshot.flows.sort {
            ($0.rate, $0.total, $1.flow.from, $1.flow.to, $1.flow.reason)
                > ($1.rate, $1.total, $0.flow.from, $0.flow.to, $0.flow.reason)
        }
        snapshot.links = new.devices.map { Self.link($0, new, since: old ?? new) }
        closeTally(at: time)
        return snapshot
    }

    /// What there is to see, as of the last figures.
    package var current: Snapshot { snapshot }

    private static func node(_ id: Int, _ new: MachineFigures, since old: MachineFigures) -> Snapshot.Node {
        let subject = "\(id)"
        func memory(_ state: String) -> Double { new["node_memory_bytes", subject, state] }
        func mark(_ name: String) -> Double { new["node_watermark_bytes", subject, name] }
        func rate(_ family: String, _ label: String) -> Double { new.rate(family, subject, label, since: old) }
        func allocations(_ outcome: String) -> Double { rate("node_allocations_total", outcome) }
        func reclaim(_ event: String) -> Double { rate("node_reclaim_pages_total", event) }
        var node = Snapshot.Node(id: id, kind: new.kind(of: id), tier: new.tier(of: id))
        node.present = memory("present")
        node.free = memory("free")
        node.allocated = memory("allocated")
        node.active = memory("active")
        (node.min, node.low, node.high) = (mark("min"), mark("low"), mark("high"))
        (node.hits, node.misses, node.foreign) = (allocations("hit"), allocations("miss"), allocations("foreign"))
        (node.local, node.other) = (allocations("local"), allocations("other"))
        node.hints = reclaim("hinting_fault")
        node.demoted = reclaim("demoted_by_kswapd") + reclaim("demoted_proactively")
        node.promoted = reclaim("promoted")
        node.refused = ["fallback", "not_allowed", "hugetlb"].reduce(0) { $0 + rate("node_refusals_total", $1) }
        node.deviceFaults = new.devices.filter { new.node(of: $0) == id }.reduce(0) {
            $0 + new.rate("device_faults_total", $1, "", since: old)
        }
        return node
    }

    private static func link(_ device: String, _ new: MachineFigures, since old: MachineFigures) -> Snapshot.Link {
        var link = Snapshot.Link(device: device, node: new.node(of: device))
        func rate(_ family: String) -> Double { new.rate(family, device, "", since: old) }
        link.isUp = new["device_link_up", device, ""] > 0
        link.copied = rate("device_copied_bytes_total")
        link.readBandwidth = new["device_link_bandwidth_bytes", device, "read"]
        link.writeBandwidth = new["device_link_bandwidth_bytes", device, "write"]
        link.modelled = rate("device_link_modelled_seconds_total")
        link.stalled = rate("device_link_stalled_seconds_total")
        link.queued = new["device_queue_depth", device, ""]
        link.commands = rate("device_commands_total")
        link.errors = new["device_errors_total", device, "link"]
        return link
    }

    // MARK: Buffers

    /// Takes the buffers of a moment.
    package mutating func add(_ new: BufferTable) {
        let old = table
        table = new
        let seconds = old.map { max(1e-6, Double(new.time) / 1e9 - Double($0.time) / 1e9) }
        snapshot.secondsOfBuffers = seconds
        let before = (old?.buffers ?? []).reduce(into: [UInt64: BufferFigures](minimumCapacity: new.buffers.count)) {
            $0[$1.id] = $1
        }
        snapshot.buffers = new.buffers.map { figures in
            var buffer = Snapshot.Buffer(figures: figures)
            guard let seconds else { return buffer }
            // One that is new began with nothing.
            let past = before[figures.id] ?? BufferFigures()
            func rate(_ figure: KeyPath<BufferFigures, UInt64>) -> Double {
                MachineFigures.rate(
                    from: Double(past[keyPath: figure]), to: Double(figures[keyPath: figure]), seconds: seconds)
            }
            buffer.touched = rate(\.touched)
            (buffer.reads, buffer.writes) = (rate(\.reads), rate(\.writes))
            buffer.refused = rate(\.refused)
            buffer.moved = (movedPages[figures.id] ?? 0) / seconds
            return buffer
        }
        // Once here rather than for every frame.
        snapshot.buffers.sort {
            ($0.heat, $0.figures.resident, $1.figures.name) > ($1.heat, $1.figures.resident, $0.figures.name)
        }
        movedPages = [:]
    }

    /// Takes the map of the selected buffer; nil for none.
    package mutating func add(_ map: Snapshot.Map?) { snapshot.map = map }

    // MARK: Events

    /// Tells whether the user may see trace events.
    package mutating func setSeesEvents(_ seesEvents: Bool) { self.seesEvents = seesEvents }

    /// Takes a record of sys/kernel/cdm/trace/trace_pipe_watch.
    ///
    /// - Parameter time: seconds of the day, local time, of when it was read.
    package mutating func add(_ record: TraceRecord, at time: Int) {
        switch record {
        case .name(let id, let name):
            if names.buffers.count >= Self.nameLimit { names.buffers = [:] }
            names.buffers[id] = name
        case .lost(let count): tally.lost += Double(count)
        case .event(let event): add(event, at: time)
        }
    }

    private mutating func add(_ event: TraceEvent, at time: Int) {
        switch event.kind {
        case .touchPlaced: tally.tasks[event.pid, default: .init(id: event.pid)].touched += Double(event.count)
        case .touchRefused, .isolationRefused:
            tally.tasks[event.pid, default: .init(id: event.pid)].refused += 1
            let why = event.fields(&names).first { $0.name == "error" || $0.name == "why" }?.value ?? "-"
            tally.refusals[
                Refusal(kind: event.kind, buffer: event.buffer, node: event.to, why: why), default: 0] += 1
        case .migrated, .demoted, .promoted:
            tally.tasks[event.pid, default: .init(id: event.pid)].moved += Double(event.count)
            movedPages[event.buffer, default: 0] += Double(event.count)
            let move = Move(
                kind: event.kind, buffer: event.buffer, from: event.from, to: event.to,
                reason: event.moveReason?.rawValue ?? "-")
            tally.moves[move, default: 0] += Double(event.count)
        case .commandBegin, .touchFound, .touchRetried, .pagesStored, .pagesFreed, .bufferMade, .bufferRemoved,
            .requestMade, .taskPlaced:
            break
        case .commandEnd:
            // The others are a counter.
            if event.count != 0 { note(event, at: time) }
        // sys/kernel/cdm/uevents has these for all users.
        case .blockState, .pagePoisoned, .pageCorrected, .linkState, .nodeState: break
        case .pageRetired, .pageCleared, .pagesLost, .linkStalled, .policySet, .isolationSet, .cpusetSet,
            .settingChanged:
            note(event, at: time)
        }
    }

    private mutating func note(_ event: TraceEvent, at time: Int) {
        guard tally.lines.count < Self.newEventLimit else {
            tally.omitted += 1
            return
        }
        let fields = event.fields(&names).filter { $0.value != "-" }.map { "\($0.name) \($0.value)" }
        let isAlarming: Bool =
            switch event.kind {
            case .pagesLost, .linkStalled, .pageRetired, .commandEnd: true
            default: false
            }
        append("\(event.kind.name.replacing("_", with: " ")): " + fields.joined(separator: ", "), time, isAlarming)
    }

    private mutating func append(_ text: String, _ time: Int, _ isAlarming: Bool = false) {
        tally.lines.append(Snapshot.Event(time: time, text: text, isAlarming: isAlarming))
    }

    /// Takes text of sys/kernel/cdm/uevents: whole events.
    ///
    /// - Parameter time: seconds of the day, local time, of when it was read.
    package mutating func add(uevents text: String, at time: Int) {
        for block in text.split(separator: "\n\n") {
            guard tally.lines.count < Self.newEventLimit else {
                tally.omitted += 1
                continue
            }
            var fields = block.split(separator: "\n").compactMap { line -> (name: String, value: String)? in
                let parts = line.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                return parts.count == 2 ? (String(parts[0]), String(parts[1])) : nil
            }
            func take(_ name: String) -> String? {
                fields.firstIndex { $0.name == name }.map { fields.remove(at: $0).value }
            }
            let (action, path) = (take("ACTION") ?? "-", take("DEVPATH") ?? "")
            _ = (take("SUBSYSTEM"), take("SEQNUM"))
            let kind = take("CDM_EVENT")
            let prefix = "/kernel/cdm/buffers/"
            let subject =
                path.hasPrefix(prefix)
                ? "buffers/" + path.dropFirst(prefix.count)
                : path.split(separator: "/").last.map(String.init) ?? ""
            let details = fields.map { "\($0.name.lowercased()) \($0.value)" }
            let words = [subject, kind ?? action] + (details.isEmpty ? [] : [details.joined(separator: ", ")])
            append(
                words.filter { !$0.isEmpty }.joined(separator: " "), time,
                kind != nil || action == "offline" || action == "lost")
        }
    }

    /// Turns what has happened into rates, and lines of the ticker.
    private mutating func closeTally(at time: Int) {
        let seconds = snapshot.seconds ?? 1
        for (move, pages) in tally.moves.sorted(by: { ($0.value, $1.key.buffer) > ($1.value, $0.key.buffer) }) {
            guard tally.lines.count < Self.newEventLimit else {
                tally.omitted += 1
                continue
            }
            let verb =
                switch move.kind {
                case .demoted: "demoted"
                case .promoted: "promoted"
                default: "migrated (\(move.reason))"
                }
            append(
                "\(names.buffer(move.buffer)) \(verb) \(Amount.bytes(pages * Self.pageSize)) node\(move.from) to node\(move.to)",
                time)
        }
        for (refusal, count) in tally.refusals.sorted(by: { ($0.value, $1.key.buffer) > ($1.value, $0.key.buffer) }) {
            guard tally.lines.count < Self.newEventLimit else {
                tally.omitted += 1
                continue
            }
            let what =
                refusal.kind == .touchRefused
                ? "refused: \(refusal.why)" : "kept from node\(refusal.node): \(refusal.why)"
            append(
                "\(names.buffer(refusal.buffer)) \(what)" + (count > 1 ? ", \(Amount.count(count)) times" : ""), time,
                refusal.kind == .touchRefused)
        }
        if tally.omitted > 0 { append("and \(Amount.count(Double(tally.omitted))) events more", time) }
        snapshot.events += tally.lines
        snapshot.events.removeFirst(max(0, snapshot.events.count - Self.eventLimit))
        snapshot.lostEvents = tally.lost
        closeTasks(seconds)
        tally = Tally()
    }

    private mutating func closeTasks(_ seconds: Double) {
        // One that has ended, and rests, is no more.
        tasks = tasks.filter { id, task in id == 0 || !task.name.isEmpty || tally.tasks[id] != nil }
        for id in tasks.keys {
            tasks[id]!.touched = 0
            tasks[id]!.refused = 0
            tasks[id]!.moved = 0
        }
        for (id, counts) in tally.tasks {
            var task = tasks[id] ?? Snapshot.Task(id: id)
            task.touched = counts.touched / seconds
            task.refused = counts.refused / seconds
            task.moved = counts.moved / seconds
            task.total += counts.touched
            tasks[id] = task
        }
        let sorted = tasks.values.sorted { ($0.heat, $0.total, $1.id) > ($1.heat, $1.total, $0.id) }
        snapshot.tasks = seesEvents ? Array(sorted.prefix(Self.taskLimit)) : nil
        if tasks.count > 2 * Self.taskLimit {
            tasks = Dictionary(uniqueKeysWithValues: sorted.prefix(Self.taskLimit).map { ($0.id, $0) })
        }
    }

    /// The tasks whose names are wanted, the hottest first.
    package var namelessTasks: [Int32] { (snapshot.tasks ?? []).filter { $0.name.isEmpty && $0.id > 0 }.map(\.id) }

    /// Gives a task its name.
    package mutating func setName(_ name: String, ofTask id: Int32) {
        tasks[id]?.name = name
        if let index = snapshot.tasks?.firstIndex(where: { $0.id == id }) { snapshot.tasks![index].name = name }
    }
}
