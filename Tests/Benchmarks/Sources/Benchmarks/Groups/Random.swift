import Clients

extension Group {
    static let random: Group = Group(
        name: "random", title: "Random access to a large file",
        columns: [.tmpfs, .hugeTmpfs, .tracked, .direct, .hugeDirect]
    ) { stage, body in
        let bytes = stage.settings.randomBytes
        try stage.withTopology(largeNode) { topology in
            try stage.withSites(random.columns, topology: topology) { sites in
                try hop(sites[...], bytes, []) { entrants in
                    let size = "\(bytes >> 20) MiB"
                    let aims: [Aim] = [
                        .ratio(.tracked, to: .tmpfs, 1 / 0.95), .ratio(.direct, to: .tmpfs, 1 / 0.98),
                        .ratio(.hugeDirect, to: .tmpfs, 1 / 1.5),
                    ]
                    try body([
                        Trial(
                            [
                                Row("64 bytes loaded at random from \(size)", .nanoseconds, aims: aims),
                                Row("64 bytes loaded and stored to at random in \(size)", .nanoseconds, aims: aims),
                            ], entrants)
                    ])
                }
            }
        }
    }

    /// Copies of the file that are in memory at once: what is tracked is there twice.
    static let randomCopies = random.columns.count + 1

    /// Maps the file of one site after the other, and makes it resident, before the first of them is measured.
    private static func hop(
        _ sites: ArraySlice<Site>, _ bytes: Int, _ entrants: [Trial.Entrant], _ body: ([Trial.Entrant]) throws -> Void
    ) throws {
        guard let site = sites.first else { return try body(entrants) }
        try unsafe site.withMapping("random", bytes) { mapped, _ in
            _ = try timed(site.path) {
                unsafe clients_touch(mapped, bytes, 4096, .max, clients_ascending.rawValue, &$0)
            }
            let count = 500_000
            let entrant = Trial.Entrant(contestant: site.contestant) {
                try [Int32(0), 1].map { storing in
                    let seconds = try timed(site.path) { unsafe clients_hop(mapped, bytes, count, storing, &$0) }
                    return seconds * 1e9 / Double(count)
                }
            }
            try hop(sites.dropFirst(), bytes, entrants + [entrant], body)
        }
    }
}
