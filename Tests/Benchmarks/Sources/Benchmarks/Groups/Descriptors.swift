import Clients

extension Group {
    static let descriptors: Group = Group(
        name: "descriptors", title: "read(2) and write(2) of a resident file of 64 MiB, at random",
        columns: [.tmpfs, .tracked, .direct, .memfs, .passthrough]
    ) { stage, body in
        try stage.withSites(descriptors.columns) { sites in
            let bytes = 64 << 20
            for site in sites { try site.fill("data", bytes) }
            func transfer(_ site: Site, _ size: Int, _ count: Int, _ kind: clients_transfer) throws -> Double {
                try timed(site.path) {
                    unsafe clients_transfer(site.file("data"), bytes, size, count, kind.rawValue, &$0)
                } / Double(count)
            }
            try body([
                Trial(
                    [
                        Row("pread of 4 KiB", .microseconds, .ratio(.tracked, to: .tmpfs)),
                        Row("pwrite of 4 KiB", .microseconds, .ratio(.tracked, to: .memfs)),
                        Row("pread of 1 MiB", .microseconds, .ratio(.tracked, to: .tmpfs)),
                        Row("pwrite of 1 MiB", .microseconds, .ratio(.tracked, to: .memfs)),
                    ], sites
                ) { site in
                    [
                        try transfer(site, 4096, 10_000, clients_read) * 1e6,
                        try transfer(site, 4096, 2000, clients_write) * 1e6,
                        try transfer(site, 1 << 20, 128, clients_read) * 1e6,
                        try transfer(site, 1 << 20, 64, clients_write) * 1e6,
                    ]
                }
            ])
        }
    }
}
