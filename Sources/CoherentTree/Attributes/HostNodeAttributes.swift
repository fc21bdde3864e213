import AttributeTree
import CoherentMemory

/// Where the nodes' memory is on the host: sys/kernel/cdm.
enum HostNodeAttributes {
    static let table: [Attribute<Machine>] = [
        .readOnly("host_nodes", summary: "The host node of each node's memory, a line each.") {
            machine in
            machine.nodes.compactMap { node in
                node.hostNode.map { hostNode in
                    let (moved, failed) = node.hostMigration
                    return "node\(node.id) host=\(hostNode) moved=\(moved) failed=\(failed)\n"
                }
            }.joined()
        }.verbatim()
    ]
}
