import AttributeTree
import CoherentMemory
import SystemPackage

/// The files of mm/hugetlb_sysfs.c, of the machine and of each node (per_node_hstate_attrs).
enum HugePageAttributes {
    /// sys/kernel/mm/hugepages, of all nodes together (hstate_attrs).
    static func directory(of machine: Machine) -> Child {
        .directory("hugepages", [.directory("hugepages-2048kB", [.attributes(sums, of: machine)])])
    }

    private static let sums: [Attribute<Machine>] = [
        sum("free_hugepages", "Reserved huge pages that are free, on all nodes.", \.free),
        .readWrite(
            "nr_hugepages",
            summary: "Huge pages of 2 MiB reserved on all nodes; a write sets the target, a read shows the count.",
            show: { "\($0.nodes.reduce(0) { $0 + $1.usage.hugePool.total })" },
            start: { machine, text throws(Errno) in
                let count = Int(clamping: try text.unsigned(base: 10))
                return Job("hugepages") { _ throws(Errno) in machine.setHugePages(count) }
            }),
        .readOnly("resv_hugepages", summary: "Huge pages that are promised to mappings of programs and not taken yet.")
        {
            "\($0.reservedHugePages)"
        },
        sum("surplus_hugepages", "Huge pages above the target, until their buffers free them.", \.surplus),
    ]

    private static func sum(
        _ name: String, _ summary: String, _ figure: @escaping @Sendable (HugePoolUsage) -> Int
    ) -> Attribute<Machine> {
        .readOnly(name, summary: summary) { "\($0.nodes.reduce(0) { $0 + figure($1.usage.hugePool) })" }
    }

    static func directory(of subject: Subject<CoherentMemory.Node>) -> Child {
        .directory("hugepages", [.directory("hugepages-2048kB", [.attributes(table, of: subject)])])
    }

    private static let table: [Attribute<Subject<CoherentMemory.Node>>] = [
        .readOnly("free_hugepages", summary: "Reserved huge pages that are free.") {
            "\($0.part.usage.hugePool.free)"
        },
        .readWrite(
            "nr_hugepages",
            summary:
                "Huge pages of 2 MiB for buffers with huge=pool and for MAP_HUGETLB; a write sets the target, a read shows the count.",
            show: { "\($0.part.usage.hugePool.total)" },
            start: { subject, text throws(Errno) in
                let count = Int(clamping: try text.unsigned(base: 10))
                let (machine, node) = (subject.machine, subject.part)
                return Job("hugepages") { _ throws(Errno) in machine.setHugePages(count, of: node) }
            }),
        .readOnly("surplus_hugepages", summary: "Huge pages above the target, until their buffers free them.") {
            "\($0.part.usage.hugePool.surplus)"
        },
    ]
}
