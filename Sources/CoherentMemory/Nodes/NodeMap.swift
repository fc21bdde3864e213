import CLinux
import Glibc
import LinuxSupport
import MachineTopology
import Synchronization
import SystemPackage

/// The nodes of a machine, and which of them each frame belongs to (NODE_DATA() and pfn_to_nid()).
final class NodeMap: Sendable {
    /// The nodes in ascending order of their ids.
    let all: [Node]
    /// Whether any node names one of the host.
    let hasHostNodes: Bool
    /// What kswapd sleeps on.
    let kswapd = WakeUp()
    /// Whether kswapd works and reclaim moves pages to slower tiers; see ``Machine/isDemotionEnabled``.
    let isDemotionEnabled = Atomic(false)
    /// What the pools of huge pages have promised.
    let hugeReserve = HugeReserve()
    /// Held while the watermarks are computed.
    let watermarkTurn = Mutex<Void>(())
    /// Frames per memory block.
    let framesPerBlock: Int
    private let starts: FlatMemory<PFN>
    private let windowStarts: FlatMemory<PFN>
    /// Where the nodes' own memory ends and that which may be added begins.
    private let windowsPFN: PFN
    private let indices: [Int: Int]

    /// - Throws: ENOMEM and the like where the host refuses address space.
    init(_ topology: Topology) throws(Errno) {
        framesPerBlock = Int(topology.blockSize >> Page.shift)
        hasHostNodes = topology.nodes.contains { $0.hostNode != nil }
        var nodes: [Node] = []
        var start: PFN = 0
        var window = topology.nodes.reduce(0) { $0 + $1.memory >> Page.shift }
        windowsPFN = window
        starts = try FlatMemory(count: topology.nodes.count)
        windowStarts = try FlatMemory(count: topology.nodes.count)
        for (index, description) in topology.nodes.enumerated() {
            starts[index] = start
            windowStarts[index] = window
            let end = start + description.memory >> Page.shift
            let windowEnd =
                window + NodeSpan.windowFrames(memory: description.memory, blockSize: topology.blockSize)
            let span = NodeSpan(
                base: start..<end, window: window..<windowEnd, framesPerBlock: Int(topology.blockSize >> Page.shift))
            nodes.append(try Node(description, index: index, topology: topology, span: span, kswapd: kswapd))
            (start, window) = (end, windowEnd)
        }
        all = nodes
        indices = Dictionary(uniqueKeysWithValues: nodes.map { ($0.id, $0.index) })
        for node in nodes { node.zone.withLock { $0.pool.reserve = hugeReserve } }
    }

    /// A node by its place.
    subscript(index: Int) -> Node { all[index] }

    /// The node `nodeN`, if there is one.
    func node(_ id: Int) -> Node? { indices[id].map { all[$0] } }

    /// The place of the node that a frame belongs to.
    func index(of pfn: PFN) -> Int {
        pfn < windowsPFN ? Self.place(of: pfn, in: starts) : Self.place(of: pfn, in: windowStarts)
    }

    /// The last of some ascending starts that is not behind a frame.
    private static func place(of pfn: PFN, in starts: borrowing FlatMemory<PFN>) -> Int {
        var low = 0
        var high = starts.count - 1
        while low < high {
            let middle = (low + high + 1) / 2
            if starts[middle] <= pfn { low = middle } else { high = middle - 1 }
        }
        return low
    }

    /// The node that a frame belongs to.
    func node(of pfn: PFN) -> Node { all[index(of: pfn)] }

    /// The ids of the nodes that have memory online and a right.
    func withMemory(_ capability: NodeCapabilities) -> IDSet {
        IDSet(all.lazy.filter { $0.allows(capability) && $0.hasMemory }.map(\.id))
    }

    /// The ids of the nodes that no cpuset grants or denies.
    var ungoverned: IDSet { IDSet(all.lazy.filter { $0.allows(.node) && !$0.allows(.cpuset) }.map(\.id)) }

    /// The other nodes as allocations for one try them: that one first, then by distance.
    func byDistance(from node: Node) -> [Node] { (0..<all.count).map { all[Int(node.fallback[$0])] } }

    /// The node whose CPU runs this thread.
    var current: Node {
        let cpu = Int(sched_getcpu())
        return all.first { $0.cpus.contains(cpu) } ?? all[0]
    }
}
