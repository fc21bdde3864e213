import Clients

extension Group {
    /// What it costs that every event is recorded. `PlacementBenchmark` has the figure of the machine alone.
    static let tracing: Group = Group(
        name: "tracing", title: "First touches while every event is recorded", columns: [.tracked, .recorded]
    ) { stage, body in
        try stage.withTopology(largeNode) { topology in
            try stage.withSites(tracing.columns, topology: topology) { sites in
                let settings = stage.settings
                func row(_ title: String) -> Row { Row(title, .microseconds, .ratio(.recorded, to: .tracked)) }
                try body([
                    Trial([row("first touch of a page, in sequence")], sites) {
                        [try touch($0, settings, block: 4096, count: 16_384, clients_ascending, .microseconds)]
                    },
                    Trial([row("first touch of a page, at random")], sites) {
                        [try touch($0, settings, block: 4096, count: 8192, clients_at_random, .microseconds)]
                    },
                ])
            }
        }
    }
}
