import Clients

extension Group {
    static let names: Group = Group(
        name: "names", title: "Files, 2,000 in a directory", columns: [.tmpfs, .tracked, .direct, .memfs, .passthrough]
    ) { stage, body in
        try stage.withSites(names.columns) { sites in
            let acts = [clients_create, clients_stat, clients_open, clients_unlink]
            let count = 2000
            try body([
                Trial(
                    [
                        Row(
                            "create", .perSecond, .ratio(.tracked, to: .memfs, 1.5), .ratio(.direct, to: .memfs, 1.5),
                            .ratio(.tracked, to: .tmpfs)),
                        Row("stat", .perSecond, .ratio(.tracked, to: .memfs)),
                        Row("open and close", .perSecond, .ratio(.tracked, to: .memfs)),
                        Row("unlink", .perSecond, .ratio(.tracked, to: .memfs)),
                    ], sites
                ) { site in
                    try acts.map { act in
                        Double(count)
                            / (try timed(site.path) { unsafe clients_names(site.file(""), act, 0, count, &$0) })
                    }
                }
            ])
        }
    }

    /// The same operations among few buffers and among many.
    static let scale: Group = Group(
        name: "scale", title: "Many buffers against 1,000, time an operation", columns: [few, many], isUsual: false
    ) { stage, body in
        try stage.withSite(.tracked) { small in
            try stage.withSite(.tracked) { large in
                let sizes = [(few, small, 1000), (many, large, stage.settings.manyBuffers)]
                for (_, site, size) in sizes {
                    _ = try timed(site.path) { unsafe clients_names(site.file(""), clients_create, 0, size, &$0) }
                }
                try body([
                    Trial(
                        [
                            "create", "stat of the new", "open and close of the new", "unlink", "stat of others",
                            "list, an entry",
                        ]
                        .map {
                            Row(
                                "\($0), many being \(stage.settings.manyBuffers)", .microseconds,
                                .ratio(many, to: few, 1.2))
                        },
                        sizes.map { contestant, site, size in
                            Trial.Entrant(contestant: contestant) { try among(site, size).map { $0 * 1e6 } }
                        })
                ])
            }
        }
    }

    private static let few = Contestant("cdmfs, 1,000 buffers")
    private static let many = Contestant("cdmfs, many buffers")

    /// Seconds an operation.
    private static func among(_ site: Site, _ size: Int) throws -> [Double] {
        let count = 1000
        let directory = site.file("")
        func act(_ act: clients_act, _ first: Int) throws -> Double {
            try timed(site.path) { unsafe clients_names(directory, act, first, count, &$0) } / Double(count)
        }
        let own = try [clients_create, clients_stat, clients_open, clients_unlink].map { try act($0, size) }
        let other = try act(clients_stat, size / 2 - count / 2)
        var entries = 0
        // A thousand entries take no time that can be told apart: often enough.
        let times = max(1, 20_000 / size)
        let listed = try (0..<times).map { _ in
            try timed(site.path) { unsafe clients_list(directory, &entries, &$0) }
        }.reduce(0, +)
        guard entries == size + 2 else { throw Failure("\(directory) lists \(entries), not \(size) files") }
        return own + [other, listed / Double(times * entries)]
    }
}
