import AttributeTree
import CoherentMemory
import SystemPackage

/// What moves in sys/kernel/cdm, and what has moved.
enum JobAttributes {
    static let table: [Attribute<TreeServices>] = [
        .readWrite(
            "jobs", isPollable: true,
            summary: "Jobs that move memory, a line each: those that run and the last 64 that ended; write cancel ID.",
            show: { services in services.jobs.lines.map { $0 + "\n" }.joined() },
            store: { services, text throws(Errno) in
                let words = text.words
                guard words.count == 2, words[0].text == "cancel", let id = try? words[1].unsigned() else {
                    throw text.refused(.invalidArgument, "expected cancel ID")
                }
                do throws(Errno) {
                    try services.jobs.cancel(Int(clamping: id))
                } catch {
                    throw text.refused(error, "no job with the number \(id) runs")
                }
            }
        ).verbatim().changingSteadily(),
        .readOnly(
            "migrations", summary: "Pages moved by source node, target node and reason, a line each.",
            records: { services, place, _ in
                services.machine.transfers.dropFirst(Int(clamping: place)).prefix(256).enumerated().map {
                    index, moved in
                    TextRecord(
                        "\(moved.from) \(moved.to) \(moved.reason.rawValue) \(moved.pages)\n",
                        next: place + UInt64(index) + 1)
                }
            }),
    ]
}

/// sys/class/cdm/cdmN/dma.
enum CopyEngineAttributes {
    static let table: [Attribute<Device>] = [
        .readWrite(
            "channels", summary: "Batches of pages that the device copies at once, 1 to 64.",
            show: { "\($0.copies.channels)" },
            store: { device, text throws(Errno) in
                try device.copies.setChannels(Int(clamping: try text.unsigned()))
            }),
        .readOnly("busy", summary: "Channels that are copying.") { "\($0.copies.busy)" },
        .readOnly("queued", summary: "Batches that wait for a channel.") { "\($0.copies.queued)" },
        .readOnly("bytes", summary: "Bytes copied to, from and within the device's memory.") { "\($0.copies.bytes)" },
        .readOnly("errors", summary: "Batches with pages whose bytes could not be read.") { "\($0.copies.errors)" },
        .readOnly("modelled_ns", summary: "Modelled time of the copies, in ns.") {
            "\($0.copies.modelledNanoseconds)"
        },
    ]
}
