import Foundation

extension Group {
    /// A machine of 64 nodes and 1024 memory blocks, listed to the last file, against a tmpfs with the same names.
    static let listing: Group = Group(name: "listing", title: "Listing", columns: []) { stage, body in
        try stage.withTopology(largeMachine) { topology in
            try stage.withSite(.tmpfs) { tmpfs in
                try stage.withSite(.tracked, topology: topology) { site in
                    try copyNames(from: site.path, to: tmpfs.file("tree"))
                }
                try body([
                    Trial(
                        [
                            Row(
                                "`ls -lR`, 64 nodes, 1024 blocks, just mounted", .seconds,
                                .figure(.tracked, beside: .tmpfs, 1))
                        ],
                        [
                            Trial.Entrant(contestant: .tmpfs) { [try list(tmpfs.file("tree"))] },
                            Trial.Entrant(contestant: .tracked) {
                                var seconds = 0.0
                                try stage.withSite(.tracked, topology: topology) { seconds = try list($0.path) }
                                return [seconds]
                            },
                        ])
                ])
            }
        }
    }

    private static let largeMachine =
        "block_size = \"2M\"\n"
        + (0..<64).map { id in
            let kind = id < 32 ? "kind = \"ram\"\ncpus = \"\(2 * id)-\(2 * id + 1)\"" : "kind = \"coherent\""
            return "[[node]]\nid = \(id)\nmemory = \"32M\"\n\(kind)\n"
        }.joined()

    private static func copyNames(from source: String, to target: String) throws {
        let files = FileManager.default
        try files.createDirectory(atPath: target, withIntermediateDirectories: false)
        for name in try files.contentsOfDirectory(atPath: source) {
            let (from, to) = (source + "/" + name, target + "/" + name)
            switch try files.attributesOfItem(atPath: from)[.type] as? FileAttributeType {
            case .typeDirectory: try copyNames(from: from, to: to)
            case .typeSymbolicLink:
                try files.createSymbolicLink(
                    atPath: to, withDestinationPath: files.destinationOfSymbolicLink(atPath: from))
            default: _ = files.createFile(atPath: to, contents: nil)
            }
        }
    }

    private static func list(_ path: String) throws -> Double {
        let listing = Process()
        listing.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        listing.arguments = ["ls", "-lR", path]
        listing.standardOutput = FileHandle.nullDevice
        let start = ContinuousClock.now
        try listing.run()
        listing.waitUntilExit()
        guard listing.terminationStatus == 0 else { throw Failure("ls -lR \(path): \(listing.terminationStatus)") }
        return (ContinuousClock.now - start) / .seconds(1)
    }
}
