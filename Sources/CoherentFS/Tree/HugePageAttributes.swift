import AttributeTree
import CoherentMemory
import SystemPackage

/// sys/devices/system/node/nodeN/hugepages/hugepages-2048kB (per_node_hstate_attrs of mm/hugetlb_sysfs.c).
enum HugePageAttributes {
    static func directory(of subject: Subject<CoherentMemory.Node>) -> Child {
        .directory("hugepages", [.directory("hugepages-2048kB", [.attributes(table, of: subject)])])
    }

    private static let table: [Attribute<Subject<CoherentMemory.Node>>] = [
        .readOnly("free_hugepages", summary: "Reserved huge pages that no buffer has.") {
            "\($0.part.usage.hugePool.free)"
        },
        .readWrite(
            "nr_hugepages",
            summary: "Huge pages of 2 MiB reserved for buffers with huge=pool; write how many, read how many were got.",
            show: { "\($0.part.usage.hugePool.total)" },
            start: { subject, text throws(Errno) in
                let count = Int(clamping: try text.unsigned(base: 10))
                let (machine, node) = (subject.machine, subject.part)
                return Job("hugepages") { _ throws(Errno) in machine.setHugePages(count, of: node) }
            }),
        .readOnly("surplus_hugepages", summary: "Huge pages that go when the buffers that have them give them up.") {
            "\($0.part.usage.hugePool.surplus)"
        },
    ]
}
