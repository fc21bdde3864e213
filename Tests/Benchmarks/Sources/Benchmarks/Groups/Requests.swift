import Clients

extension Group {
    /// Client and server on one CPU: the cost of a request without the wake-up of another CPU.
    static let requestsOnOneCPU: Group = Group(
        name: "requests", title: "Requests, client and server on one CPU", columns: [.plainLoop, .classic, .ring]
    ) { stage, body in
        let cpu: Int32 = 0
        try stage.withSites(requestsOnOneCPU.columns, cpu: cpu) { sites in
            try fillData(sites, stage.settings)
            try Failure.check(clients_pin(cpu), "CPU \(cpu)")
            defer { clients_pin(-1) }
            let settings = stage.settings
            try body([
                Trial(
                    [
                        Row(
                            "4 KiB pread, uncached", .microseconds, .ratio(.classic, to: .plainLoop, 1.05),
                            .ratio(.ring, to: .plainLoop))
                    ], sites
                ) {
                    [try read($0, settings, settings.requests)]
                },
                Trial(
                    [
                        Row(
                            "first load of a page, at random", .microseconds, .ratio(.classic, to: .plainLoop, 1.05),
                            .ratio(.ring, to: .plainLoop))
                    ],
                    sites
                ) { [try touchAtRandom($0, settings, settings.requests / 2)] },
                Trial([Row("read of an attribute", .microseconds, .ratio(.classic, to: .plainLoop, 1.5))], sites) {
                    site in
                    let file = attribute(of: site)
                    return [
                        try timed(file) { unsafe clients_read_attribute(file, settings.requests, &$0) } * 1e6
                            / Double(settings.requests)
                    ]
                },
                Trial([Row("write of an attribute", .microseconds, .ratio(.classic, to: .plainLoop, 1.5))], sites) {
                    site in
                    let file = attribute(of: site)
                    return [
                        try timed(file) { unsafe clients_write_attribute(file, "default\n", settings.requests, &$0) }
                            * 1e6
                            / Double(settings.requests)
                    ]
                },
            ])
        }
    }

    /// As programs find it: every thread where the scheduler puts it.
    static let requestsUnpinned: Group = Group(
        name: "unpinned", title: "Requests, nothing pinned",
        columns: [.plainLoop, .plainThreads, .classic, .ring, .memfs, .memfsRing]
    ) { stage, body in
        try stage.withSites(requestsUnpinned.columns) { sites in
            try fillData(sites, stage.settings)
            let settings = stage.settings
            try body([
                Trial(
                    [
                        Row(
                            "4 KiB pread, uncached", .microseconds, .ratio(.classic, to: .plainLoop),
                            .ratio(.ring, to: .memfsRing, 1.1))
                    ], sites
                ) { [try read($0, settings, 5000)] },
                Trial(
                    [
                        Row(
                            "first load of a page, at random", .microseconds, .ratio(.classic, to: .plainThreads),
                            .ratio(.ring, to: .plainThreads, 1 / 2), .ratio(.ring, to: .memfsRing, 1.1))
                    ], sites
                ) { [try touchAtRandom($0, settings, 5000)] },
            ])
        }
    }

    /// The plain loop has its file already.
    private static func fillData(_ sites: [Site], _ settings: Settings) throws {
        for site in sites where site.contestant != .plainLoop && site.contestant != .plainThreads {
            try site.fill("data", settings.bytes)
        }
    }

    private static func attribute(of site: Site) -> String {
        site.contestant.isOurs ? site.control("data", "policy") : site.file("attribute")
    }

    private static func read(_ site: Site, _ settings: Settings, _ count: Int) throws -> Double {
        let kind = clients_read.rawValue | clients_direct.rawValue
        return try timed(site.path) {
            unsafe clients_transfer(site.file("data"), settings.bytes, 4096, count, kind, &$0)
        } * 1e6 / Double(count)
    }

    private static func touchAtRandom(_ site: Site, _ settings: Settings, _ count: Int) throws -> Double {
        // By loads: stores would measure how soon the kernel writes back. `scratch` is the only name of the plain loop's.
        let loading = clients_touching(clients_at_random.rawValue | clients_loading.rawValue)
        return try touch(site, settings, name: "scratch", block: 4096, count: count, loading, .microseconds)
    }
}
