import AttributeTree
import CoherentMemory
import MachineTopology
import SystemPackage

/// What user space sets of memory management as a whole: sys/kernel/mm.
package final class MemorySettings: Sendable {
    /// Whether new buffers have huge pages, where a user chose that.
    package let defaultHugeMode: HugeMode?

    init(defaultHugeMode: HugeMode?) { self.defaultHugeMode = defaultHugeMode }
}

enum MemoryManagementTree {
    static func directory(_ services: TreeServices) -> [Child] {
        let machine = services.machine
        return [
            .directory("numa", [.attributes(numa, of: services)]),
            HugePageAttributes.directory(of: machine),
            .directory(
                "mempolicy",
                [
                    .directory(
                        "weighted_interleave",
                        [
                            .attributes(interleaving, of: services),
                            .dynamic(
                                list: { machine.nodesWithMemory.map { "node\($0)" } },
                                lookup: { name in
                                    machine.nodes.first { "node\($0.id)" == name && $0.hasMemory }.map { node in
                                        .attribute(weight(of: node).bound(to: services))
                                    }
                                }),
                        ])
                ]),
        ]
    }

    private static let numa: [Attribute<TreeServices>] = [
        .readWrite(
            "demotion_enabled",
            summary: "Whether reclaim may demote pages to a slower tier; kswapd does so when memory is short.",
            show: { "\($0.machine.isDemotionEnabled)" },
            store: { services, text throws(Errno) in
                services.machine.isDemotionEnabled = try text.bool()
            })
    ]

    // Documentation/ABI says `auto`; Linux 6.18 shows it as `__auto_type`, by a macro gone
    // astray, and group-writable, which files of sys/ are not here.
    private static let interleaving: [Attribute<TreeServices>] = [
        .readWrite(
            "auto", summary: "Whether the weights are automatic; setting a weight turns this off.",
            show: { "\($0.machine.hasAutomaticWeights)" },
            store: { services, text throws(Errno) in services.machine.hasAutomaticWeights = try text.bool() })
    ]

    private static func weight(of node: CoherentMemory.Node) -> Attribute<TreeServices> {
        .readWrite(
            "node\(node.id)", summary: "Consecutive pages on the node under weighted interleave, 1 to 255.",
            show: { _ in "\(node.interleaveWeight)" },
            store: { services, text throws(Errno) in
                // What does not fit is EINVAL here, too.
                guard let weight = try? text.integer(), (1...255).contains(weight) else {
                    throw text.refused(.invalidArgument, "\(text.quoted) is not a number from 1 to 255")
                }
                try services.machine.setInterleaveWeight(weight, of: node)
            })
    }
}
