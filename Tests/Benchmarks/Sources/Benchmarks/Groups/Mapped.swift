import Clients

extension Group {
    static let mapped: Group = Group(
        name: "mapped", title: "Mappings of 128 MiB",
        columns: [.tmpfs, .hugeTmpfs, .tracked, .wide, .direct, .hugeDirect, .memfs, .passthrough]
    ) { stage, body in
        try stage.withTopology(largeNode) { topology in
            try stage.withSites(mapped.columns, topology: topology) { sites in
                let settings = stage.settings
                try body([
                    Trial(
                        [
                            Row(
                                "first touch of a page, in sequence, and sizing the file", .microseconds,
                                .ratio(.tracked, to: .tmpfs, 1.3), .ratio(.tracked, to: .memfs, 0.4),
                                .ratio(.wide, to: .tmpfs, 1.3), .ratio(.direct, to: .tmpfs, 1 / 0.98),
                                .ratio(.hugeDirect, to: .tmpfs, 1 / 1.5)),
                            Row(
                                "mapped stores, resident", .gigabytesPerSecond,
                                .ratio(.tracked, to: .tmpfs, 0.95), .ratio(.direct, to: .tmpfs, 0.98),
                                .ratio(.tracked, to: .memfs)),
                            Row(
                                "mapped loads, resident", .gigabytesPerSecond,
                                .ratio(.tracked, to: .tmpfs, 0.95), .ratio(.direct, to: .tmpfs, 0.98)),
                            Row("msync of what is dirty still", .milliseconds, .ratio(.tracked, to: .memfs)),
                        ], sites
                    ) { try stream($0, settings) },
                    Trial(
                        [
                            Row(
                                "mapped stores, resident, a word of every page", .nanoseconds,
                                .ratio(.tracked, to: .tmpfs, 1 / 0.95), .ratio(.tracked, to: .memfs, 1.0 / 25),
                                .ratio(.direct, to: .tmpfs, 1 / 0.98))
                        ], sites
                    ) { [try storesToPages($0, settings)] },
                    Trial(
                        [
                            Row(
                                "first touch of a page, at random", .microseconds,
                                .ratio(.direct, to: .tmpfs, 1 / 0.98), .ratio(.tracked, to: .memfs))
                        ], sites
                    ) { [try touch($0, settings, block: 4096, count: 8192, clients_at_random, .microseconds)] },
                    Trial(
                        [Row("first touch of 2 MiB, in sequence, all its pages, and sizing the file", .milliseconds)],
                        sites
                    ) {
                        [try touch($0, settings, block: 2 << 20, count: 32, clients_ascending, .milliseconds)]
                    },
                    Trial(
                        [
                            Row(
                                "first touch of 2 MiB, at random, all its pages, and sizing the file", .milliseconds,
                                .ratio(.tracked, to: .tmpfs, 1.3), .ratio(.direct, to: .tmpfs, 1 / 0.98),
                                .ratio(.hugeDirect, to: .tmpfs, 1 / 1.5))
                        ], sites
                    ) { [try touch($0, settings, block: 2 << 20, count: 32, clients_at_random, .milliseconds)] },
                ])
            }
        }
    }

    /// Room for all that is mapped, on one node.
    static let largeNode = """
        [[node]]
        id = 0
        kind = "ram"
        memory = "8G"
        cpus = "all"
        [[node]]
        id = 1
        kind = "coherent"
        memory = "1G"
        device = "cdm0"
        """

    /// The life of a mapping: touched, stored to, loaded from, written back.
    private static func stream(_ site: Site, _ settings: Settings) throws -> [Double] {
        let bytes = settings.bytes
        try warm(bytes)
        return try unsafe site.withMapping("mapped", bytes) { mapped, sizing in
            let touched = try timed(site.path) {
                unsafe clients_touch(mapped, bytes, 4096, .max, clients_ascending.rawValue, &$0)
            }
            // Once to have every page dirty and in the page tables.
            _ = try timed(site.path) { unsafe clients_store(mapped, bytes, 1, 0, &$0) }
            let stores = try timed(site.path) { unsafe clients_store(mapped, bytes, 0, settings.budget, &$0) }
            let loads = try timed(site.path) { unsafe clients_load(mapped, bytes, settings.budget, &$0) }
            let synced = try timed(site.path) { unsafe clients_sync(mapped, bytes, &$0) }
            return [(sizing + touched) * 1e6 / Double(bytes / 4096), stores * 1e-9, loads * 1e-9, synced * 1e3]
        }
    }

    /// The memory's own pace does not show here: what is stored fits into a processor's caches.
    private static func storesToPages(_ site: Site, _ settings: Settings) throws -> Double {
        let bytes = settings.bytes
        return try unsafe site.withMapping("mapped", bytes) { mapped, _ in
            _ = try timed(site.path) {
                unsafe clients_touch(mapped, bytes, 4096, .max, clients_ascending.rawValue, &$0)
            }
            return try timed(site.path) { unsafe clients_stride(mapped, bytes, settings.budget, &$0) } * 1e9
        }
    }

    /// Twice what is going to be touched: the tracked ones have it in the server and in the page cache.
    private static func warm(_ bytes: Int) throws { try Failure.check(clients_warm(2 * bytes), "warming up") }

    /// The time of a block. That of sizing the file counts where every page is touched: a direct mapping gets its memory then.
    static func touch(
        _ site: Site, _ settings: Settings, name: String = "touched", block: Int, count: Int, _ kind: clients_touching,
        _ unit: Unit
    ) throws -> Double {
        // Half the bytes: the rest of the sample, making and removing the file, takes as long.
        let bytes = settings.bytes / 2
        try warm(bytes)
        return try unsafe site.withMapping(name, bytes) { mapped, sizing in
            let seconds = try timed(site.path) {
                unsafe clients_touch(mapped, bytes, block, count, kind.rawValue, &$0)
            }
            return unit.figure(seconds: (seconds + (block * count == bytes ? sizing : 0)) / Double(count))
        }
    }
}
