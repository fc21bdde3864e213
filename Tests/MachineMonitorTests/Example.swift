import CoherentMemory
import TraceFormat

@testable import MachineMonitor

/// A machine as its files tell of it, at two moments a second apart: RAM that is nearly full and demotes to a device.
enum Example {
    /// The text of sys/kernel/cdm/metrics.
    static func metrics(
        nodes: Int = 2, free: [Double] = [20, 800], hits: Double = 0, demoted: Double = 0, moved: Double = 0,
        copied: Double = 0, modelled: Double = 0, stalled: Double = 0
    ) -> String {
        var text = "# TYPE cdmfs_node_info gauge\n# HELP cdmfs_node_info Nodes.\n"
        let mega = 1_048_576.0
        for node in 0..<nodes {
            let isRAM = node == 0
            let label = "{node=\"\(node)\""
            text += "cdmfs_node_info\(label),kind=\"\(isRAM ? "ram" : "coherent")\",tier=\"\(isRAM ? 4 : 22)\"} 1\n"
            let present = (isRAM ? 4096 : 1024) * mega
            let unused = (node < free.count ? free[node] : 1024) * mega
            for (state, value) in [
                ("present", present), ("free", unused), ("allocated", present - unused),
                ("active", (present - unused) / 4),
            ] { text += "cdmfs_node_memory_bytes\(label),state=\"\(state)\"} \(Int(value))\n" }
            for (mark, value) in [("min", 8), ("low", 16), ("high", 24), ("promo", 32)] {
                text += "cdmfs_node_watermark_bytes\(label),mark=\"\(mark)\"} \(Int(Double(value) * mega))\n"
            }
            text += "cdmfs_node_allocations_total\(label),outcome=\"hit\"} \(isRAM ? hits : 0)\n"
            text += "cdmfs_node_reclaim_pages_total\(label),event=\"demoted_by_kswapd\"} \(isRAM ? demoted : 0)\n"
        }
        for device in 0..<max(0, nodes - 1) {
            let label = "{device=\"cdm\(device)\""
            text += "cdmfs_device_info\(label),node=\"\(device + 1)\"} 1\ncdmfs_device_link_up\(label)} 1\n"
            text += "cdmfs_device_link_bandwidth_bytes\(label),direction=\"read\"} 6e10\n"
            text += "cdmfs_device_copied_bytes_total\(label)} \(device == 0 ? copied : 0)\n"
            text += "cdmfs_device_link_modelled_seconds_total\(label)} \(device == 0 ? modelled : 0)\n"
            text += "cdmfs_device_link_stalled_seconds_total\(label)} \(device == 0 ? stalled : 0)\n"
        }
        text += "cdmfs_buffers 3\n"
        if moved > 0 {
            text += "cdmfs_migrated_pages_total{from=\"0\",to=\"1\",reason=\"demotion\"} \(moved)\n"
            text += "cdmfs_migrated_pages_total{from=\"1\",to=\"0\",reason=\"buffer\"} 512\n"
        }
        return text + "# EOF\n"
    }

    /// The text of sys/kernel/cdm/bufferinfo.
    static func buffers(touched: UInt64 = 0) -> String {
        let mega = 1 << 20
        return """
            5 \(64 * mega) \(48 * mega) 10 20 \(touched) 0 0 N0=8192,N1=4096 - model/weights
            6 \(2048 * mega) \(4 * mega) 7 0 1024 0 3 N1=1024 pinned 日本語の\\040バッファ
            7 4096 0 0 0 0 0 0 - - bad\\033[2J\\012name

            """
    }

    /// The lines of `pages` of the first buffer.
    static let pages = [
        "0x0 0x2000000 0 0x1000000 -", "0x2000000 0x800000 1 0x140000000 -", "0x2800000 0x1000 1 0x140800000 poisoned",
        "0x2801000 0x7ff000 1 0x140801000 pinned", "0x3000000 0x1000 1 0x141000000 migrating",
    ]

    static let uevents =
        "ACTION=add\nDEVPATH=/kernel/cdm/buffers/model/weights\nSUBSYSTEM=cdm\nSEQNUM=1\n\n"
        + "ACTION=change\nDEVPATH=/class/cdm/cdm0\nSUBSYSTEM=cdm\nCDM_EVENT=poisoned\nADDRESS=0x140800000\nSEQNUM=2\n\n"

    static let time = 12 * 3600 + 3 * 60 + 44

    static func records() -> [TraceRecord] {
        var events: [TraceRecord] = [.name(buffer: 5, "model/weights")]
        for _ in 0..<10 {
            events.append(.event(TraceEvent(.touchPlaced, pid: 4711, buffer: 5, count: 100, from: 0, to: 0, local: 0)))
        }
        events.append(
            .event(
                TraceEvent(
                    .demoted, detail: UInt8(MoveReason.allCases.firstIndex(of: .demotion)!), buffer: 5, count: 768,
                    from: 0, to: 1)))
        events.append(.event(TraceEvent(.touchRefused, pid: 4712, buffer: 6, count: 1, value: 12)))
        events.append(.lost(17))
        return events
    }

    /// What there is to see after the second moment.
    static func snapshot(isRoot: Bool = true) -> Snapshot {
        var model = MachineModel(mountPoint: "/mnt/cdm")
        model.setSeesEvents(isRoot)
        model.add(BufferTable(buffers(), at: 1_000_000_000))
        _ = model.add(MachineFigures(metrics(), at: 1_000_000_000), at: time)
        model.add(uevents: uevents, at: time)
        if isRoot { for record in records() { model.add(record, at: time + 1) } }
        model.add(BufferTable(buffers(touched: 1000), at: 2_000_000_000))
        var map = BufferMap(0..<64 << 20)
        for line in pages { _ = map.add(line: line[...]) }
        model.add(Snapshot.Map(buffer: 5, map: map, isWhole: true))
        _ = model.add(
            MachineFigures(
                metrics(
                    free: [14, 797], hits: 1000, demoted: 768, moved: 768, copied: 768 * 4096, modelled: 0.05,
                    stalled: 0.001), at: 2_000_000_000), at: time + 1)
        for id in model.namelessTasks { model.setName(id == 4711 ? "python3" : "gr\u{7}ep", ofTask: id) }
        return model.current
    }
}
