import Foundation

extension Rows {
    /// A machine of 64 nodes and 1024 memory blocks, listed to the last file, against a tmpfs with the same names.
    func listing(_ body: ([Contest]) throws -> Void) throws {
        let tmpfs = try Mount.tmpfs(at: scratch + "/names")
        defer { tmpfs.end() }
        let topology = tmpfs.path + "/topology.toml"
        try Self.largeMachine.write(toFile: topology, atomically: false, encoding: .utf8)
        let path = scratch + "/listed"
        do {
            let mount = try Mount.cdmfs(cdmfs, at: path, topology: topology)
            defer { mount.end() }
            try copyNames(from: path, to: tmpfs.path + "/tree")
        }
        try body([
            Contest(
                title: "`ls -lR`, 64 nodes, 1024 blocks, just mounted", peer: "tmpfs", unit: .seconds, aim: nil,
                limit: 1,
                measurePeer: { try list(tmpfs.path + "/tree") },
                measureOurs: {
                    let mount = try Mount.cdmfs(cdmfs, at: path, topology: topology)
                    defer { mount.end() }
                    return try list(path)
                })
        ])
    }

    private static let largeMachine =
        "block_size = \"2M\"\n"
        + (0..<64).map { id in
            let kind = id < 32 ? "kind = \"ram\"\ncpus = \"\(2 * id)-\(2 * id + 1)\"" : "kind = \"coherent\""
            return "[[node]]\nid = \(id)\nmemory = \"32M\"\n\(kind)\n"
        }.joined()

    private func copyNames(from source: String, to target: String) throws {
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

    private func list(_ path: String) throws -> Double {
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
