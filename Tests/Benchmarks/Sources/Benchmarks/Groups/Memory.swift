import Clients
import Foundation

extension Group {
    /// What a page costs beside its bytes, and what the order of free frames costs.
    static let memory: Group = Group(name: "memory", title: "Memory", columns: []) { stage, body in
        try stage.withTopology(largeNode) { topology in
            try stage.withSite(.tracked, topology: topology) { try bookkeeping($0, body) }
        }
        try stage.withTopology(smallNode) { topology in
            try stage.withSite(.tracked, topology: topology) { fresh in
                try stage.withSite(.tracked, topology: topology) { scattered in
                    try frames(fresh, scattered, stage.settings, body)
                }
            }
        }
    }

    private static let bytes = Contestant("the page's own bytes")
    private static let scattered = Contestant("cdmfs, no free frame beside another")
    private static let fresh = Contestant("cdmfs, a node as it begins")

    /// Few enough frames that all are soon taken.
    private static let smallNode = """
        block_size = "2M"
        [[node]]
        id = 0
        kind = "ram"
        memory = "256M"
        cpus = "all"
        [[node]]
        id = 1
        kind = "coherent"
        memory = "64M"
        device = "cdm0"
        """

    /// The anonymous memory of the daemon, where its tables are; the bytes of pages are in shared memory.
    private static func bookkeeping(_ site: Site, _ body: ([Trial]) throws -> Void) throws {
        let size = 1 << 30
        let daemon = try daemon(of: site)
        try body([
            Trial(
                [
                    Row(
                        "memory of the daemon for a resident page, beside its bytes", .bytes,
                        .figure(site.contestant, beside: bytes, 9))
                ],
                [
                    Trial.Entrant(contestant: bytes) { [4096] },
                    Trial.Entrant(contestant: site.contestant) {
                        let before = try anonymousMemory(of: daemon)
                        try site.fill("resident", size)
                        defer { try? site.remove("resident") }
                        return [(try anonymousMemory(of: daemon) - before) / Double(size / 4096)]
                    },
                ])
        ])
    }

    private static func frames(
        _ fresh: Site, _ scattered: Site, _ settings: Settings, _ body: ([Trial]) throws -> Void
    ) throws {
        try Failure.check(unsafe clients_scatter(scattered.file("filler"), 512 << 20), scattered.file("filler"))
        try body([
            Trial(
                [
                    Row(
                        "first touch of 128 KiB, in sequence, and sizing the file", .microseconds,
                        .ratio(Self.scattered, to: Self.fresh, 1.05))
                ],
                [(Self.fresh, fresh), (Self.scattered, scattered)].map { contestant, site in
                    Trial.Entrant(contestant: contestant) {
                        let block = 128 << 10
                        return [
                            try touch(
                                site, settings, block: block, count: settings.bytes / 2 / block, clients_ascending,
                                .microseconds)
                        ]
                    }
                })
        ])
    }

    /// The process that serves a mount: the one whose command line ends with the mount point.
    private static func daemon(of site: Site) throws -> Int {
        for name in try FileManager.default.contentsOfDirectory(atPath: "/proc") {
            guard let id = Int(name),
                let line = try? FileHandle(forReadingFrom: URL(fileURLWithPath: "/proc/\(id)/cmdline")).readToEnd()
            else { continue }
            let words = line.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
            if words.contains(site.path), words[0].hasSuffix("cdmfs") { return id }
        }
        throw Failure("no daemon of \(site.path)")
    }

    /// RssAnon of proc_pid_status(5), bytes.
    private static func anonymousMemory(of process: Int) throws -> Double {
        let status = try FileHandle(forReadingFrom: URL(fileURLWithPath: "/proc/\(process)/status")).readToEnd()
        for line in String(decoding: status ?? Data(), as: UTF8.self).split(separator: "\n")
        where line.hasPrefix("RssAnon:") {
            if let kilobytes = Double(line.split(separator: " ")[1]) { return kilobytes * 1024 }
        }
        throw Failure("/proc/\(process)/status has no RssAnon")
    }
}
