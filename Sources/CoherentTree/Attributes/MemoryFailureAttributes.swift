import AttributeTree
import CoherentMemory

/// nodeN/memory_failure (memory_failure_attr_group of mm/memory-failure.c): pages.
enum MemoryFailureAttributes {
    static let table: [Attribute<CoherentMemory.Node>] = [
        count("total", "Pages of the node that have failed.") { $0.total },
        count("ignored", "Failures that were ignored, because the page cannot be handled.") { $0.ignored },
        count("failed", "Failures whose page is still in use.") { $0.failed },
        count("delayed", "Failures delayed until the page is touched again.") { $0.delayed },
        count("recovered", "Failures whose page is out of use.") { $0.recovered },
    ]

    private static func count(
        _ name: String, _ summary: String, _ count: @escaping @Sendable (MemoryFailureStatistics) -> UInt64
    ) -> Attribute<CoherentMemory.Node> {
        .readOnly(name, summary: summary) { "\(count($0.memoryFailures))" }
    }
}
