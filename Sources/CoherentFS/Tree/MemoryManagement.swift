import AttributeTree
import CoherentMemory
import Synchronization
import SystemPackage

/// What user space sets of memory management as a whole: sys/kernel/mm.
final class MemorySettings: Sendable {
    /// Whether reclaim may move pages to a slower tier instead of giving them up.
    let isDemotionEnabled = Atomic(false)
    private let weights = Mutex<[Int: Int]>([:])

    /// The weight of a node in weighted interleaving, 1 to 255. Setting nil brings the default back: 1, for the
    /// topology says the bandwidth of devices only.
    subscript(weightOf node: Int) -> Int? {
        get { weights.withLock { $0[node] } }
        set { weights.withLock { $0[node] = newValue } }
    }
}

enum MemoryManagementTree {
    static func directory(_ services: Services) -> [Child] {
        let machine = services.machine
        return [
            .directory("numa", [.attributes(numa, of: services)]),
            .directory(
                "mempolicy",
                [
                    .directory(
                        "weighted_interleave",
                        [
                            .dynamic(
                                list: { machine.nodesWithMemory.map { "node\($0)" } },
                                lookup: { name in
                                    machine.nodes.first { "node\($0.id)" == name && $0.hasMemory }.map { node in
                                        .attribute(weight(of: node).bound(to: services))
                                    }
                                })
                        ])
                ]),
        ]
    }

    private static let numa: [Attribute<Services>] = [
        .readWrite(
            "demotion_enabled", summary: "Whether reclaim may move pages to a slower tier.",
            show: { "\($0.memory.isDemotionEnabled.load(ordering: .relaxed))" },
            store: { services, text throws(Errno) in
                services.memory.isDemotionEnabled.store(try text.bool(), ordering: .relaxed)
            })
    ]

    private static func weight(of node: CoherentMemory.Node) -> Attribute<Services> {
        let id = node.id
        return .readWrite(
            "node\(id)", summary: "Pages in a row on the node under weighted interleave, 1 to 255; 0 for the default.",
            show: { "\($0.memory[weightOf: id] ?? 1)" },
            store: { services, text throws(Errno) in
                // As in Linux, nothing is the default, and one that does not fit is EINVAL as well.
                let weight = text.text.isEmpty ? 0 : (try? text.unsigned()) ?? .max
                guard weight <= 255 else { throw .invalidArgument }
                services.memory[weightOf: id] = weight == 0 ? nil : Int(weight)
            })
    }
}
