import MachineTopology

@testable import CoherentMemory

/// The machine as the ABI describes it, slow and obvious: nodes are counts, buffers are dictionaries of bytes.
///
/// It knows nothing of frames, page tables or free lists. Which frame a page gets is the machine's business; on which
/// node it lands, what it holds, what every call answers and what the counters say afterwards is not.
struct Model {
    struct Page {
        var node: Int
        var bytes: [UInt8]
        var isWritten = false
        /// The address of the frame that it had, once that failed; then it has none.
        var failedAt: UInt64?

        init(node: Int) {
            self.node = node
            bytes = [UInt8](repeating: 0, count: Int(CoherentMemory.Page.size))
        }
    }

    struct Buffer {
        var size: UInt64 = 0
        var isFixed = false
        var policy = Policy()
        var pages: [UInt64: Page] = [:]
    }

    struct Policy {
        var mode = MemoryPolicy.Mode.default
        var nodes: [Int] = []
    }

    struct Node {
        var kind: NodeDescription.Kind
        var isIsolated: Bool
        var weight = 1
        /// Whether each block is online, and the numbers of the blocks.
        var blocks: [Bool]
        var numbers: [UInt64]
        /// Whether the node's device was not removed.
        var isThere = true
        var used = 0
        var statistics = NodeStatistics()
    }

    let pagesPerBlock: Int
    /// Ids are places here: the walks use nodes 0, 1, 2, ….
    var nodes: [Node]
    let distances: [[Int]]
    /// The addresses of frames that failed, with the page that each was.
    var failed: [UInt64: (buffer: UInt64, page: UInt64)?] = [:]
    /// What becomes of added blocks.
    var autoOnline = OnlineType.offline
    let own: [[UInt64]]
    private(set) var windows: [Range<UInt64>] = []
    let isolations: [Bool]
    var buffers: [UInt64: Buffer] = [:]

    init(of topology: Topology) {
        let pagesPerBlock = Int(topology.blockSize / 4096)
        self.pagesPerBlock = pagesPerBlock
        var next: UInt64 = 0
        nodes = topology.nodes.map { node in
            let numbers = Array(next..<next + node.memory / topology.blockSize)
            next += UInt64(numbers.count)
            return Node(
                kind: node.kind, isIsolated: node.isolation != .none,
                blocks: [Bool](repeating: node.isOnline, count: numbers.count), numbers: numbers)
        }
        // Behind all memory each node has room for as much again, and at least eight blocks.
        own = nodes.map(\.numbers)
        for numbers in own {
            let room = UInt64(max(8, numbers.count))
            windows.append(next..<next + room)
            next += room
        }
        isolations = topology.nodes.map { $0.isolation != .none }
        distances = topology.nodes.map { from in topology.nodes.map { topology.distance(from: from.id, to: $0.id) } }
    }

    func present(_ node: Int) -> Int { nodes[node].blocks.count { $0 } * pagesPerBlock }

    func free(_ node: Int) -> Int { present(node) - nodes[node].used - retired(node) }

    /// The nodes as seen from one of them: itself, then by distance, the next number first among equals.
    func zonelist(of node: Int) -> [Int] {
        let upwards = (0..<nodes.count).map { (node + $0) % nodes.count }
        return [node] + upwards.dropFirst().sorted { distances[node][$0] < distances[node][$1] }
    }

    mutating func free(page: UInt64, of buffer: UInt64) {
        guard let page = buffers[buffer]!.pages.removeValue(forKey: page) else { return }
        if page.failedAt == nil { nodes[page.node].used -= 1 }
    }
}
