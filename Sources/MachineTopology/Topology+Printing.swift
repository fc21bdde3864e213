extension Topology {
    /// The topology as a TOML file with every default filled in. Reading it gives the same topology.
    public var toml: String { toml(header: [], comments: [:], linksOf: nodeIDs) }

    /// The topology as a TOML file with comments.
    ///
    /// - Parameters:
    ///   - header: the lines of the comment before everything.
    ///   - comments: the lines of the comment before each node, by the id of the node.
    ///   - links: the nodes whose performance is written; that of others follows from the distance.
    public func toml(header: [String], comments: [Int: [String]], linksOf links: IDSet) -> String {
        func lines(_ comment: [String]) -> String { comment.map { "# \($0)\n" }.joined() }
        var text = lines(header) + "block_size = \"\(String(byteSize: blockSize))\"\n"
        if possible != nodeIDs { text += "possible = \"\(possible)\"\n" }
        for node in nodes {
            text += "\n" + lines(comments[node.id] ?? []) + node.toml(withLink: links.contains(node.id))
        }
        for (pair, value) in distances.given.sorted(by: { ($0.key.from, $0.key.to) < ($1.key.from, $1.key.to) }) {
            text += "\n[[distance]]\nfrom = \(pair.from)\nto = \(pair.to)\nvalue = \(value)\n"
        }
        return text
    }
}

extension NodeDescription {
    fileprivate func toml(withLink: Bool) -> String {
        var lines = [
            "[[node]]", "id = \(id)", "kind = \"\(kind.rawValue)\"", "memory = \"\(String(byteSize: memory))\"",
        ]
        if kind == .ram { lines.append("cpus = \"\(cpus)\"") }
        if let device { lines.append("device = \"\(device)\"") }
        if kind == .coherent {
            lines.append("isolation = \"\(isolation.rawValue)\"")
            lines.append("contiguous = \"\(String(byteSize: contiguous))\"")
        }
        if let pci { lines += pci.toml }
        lines.append("online = \(isOnline)")
        if let hostNode { lines.append("host_node = \(hostNode)") }
        if withLink, let link {
            lines += ["[node.link]"] + Link.names.map { "\($0.name) = \(link[keyPath: $0.figure])" }
        }
        if let initiator {
            lines += ["[node.initiator]"] + Link.names.map { "\($0.name) = \(initiator[keyPath: $0.figure])" }
        }
        lines += caches.flatMap(\.toml)
        return lines.joined(separator: "\n") + "\n"
    }
}
