/// Counts pages of one node at a time, so that a counter is bumped once a run rather than once a page.
struct PageTally: ~Copyable {
    private var node: Node?
    private var count = 0

    mutating func add(_ pfn: PFN, in machine: Machine, _ flush: (Node, Int) -> Void) {
        if let node, node.span.contains(pfn) {
            count += 1
            return
        }
        self.flush(flush)
        node = machine.node(of: pfn)
        count = 1
    }

    mutating func flush(_ body: (Node, Int) -> Void) {
        if let node, count > 0 { body(node, count) }
        count = 0
    }
}
