/// How far the nodes of a topology are from each other, and what follows from that.
struct DistanceTable: Sendable, Hashable {
    /// An ordered pair of node ids.
    struct Pair: Sendable, Hashable {
        var from: Int
        var to: Int
    }

    /// The distances that were given.
    let given: [Pair: Int]
    private let coherent: IDSet
    private let processors: IDSet

    /// The distances between some nodes; of several for one pair, which the rules of a topology refuse, the last counts.
    init(_ nodes: [NodeDescription], _ distances: [Topology.Distance]) {
        given = Dictionary(distances.map { (Pair(from: $0.from, to: $0.to), $0.value) }) { $1 }
        coherent = IDSet(nodes.lazy.filter { $0.kind == .coherent }.map(\.id))
        processors = IDSet(nodes.lazy.filter { !$0.cpus.isEmpty }.map(\.id))
    }

    /// The distance between two nodes: 10 to itself; otherwise the one given, or the one given for the other direction, or
    /// 40 where one of the two is coherent, or 20.
    func distance(from: Int, to: Int) -> Int {
        if from == to { return 10 }
        if let given = given[Pair(from: from, to: to)] ?? given[Pair(from: to, to: from)] { return given }
        return coherent.contains(from) || coherent.contains(to) ? 40 : 20
    }

    /// The figures of a node of which none are given: those of its distance from the nearest CPU, or where no node has
    /// CPUs, of the distance that memory of its kind has where none is given.
    func link(of id: Int) -> Link {
        let nearest = processors.lazy.map { distance(from: $0, to: id) }.min()
        return Link(distance: nearest ?? (coherent.contains(id) ? 40 : 10))
    }
}
