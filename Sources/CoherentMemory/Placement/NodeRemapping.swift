import MachineTopology

/// How a policy's nodes follow a change of the nodes that are allowed (lib/bitmap.c and mm/mempolicy.c), on node ids.
extension IDSet {
    /// Each member that is the `n`th of `old` becomes the `n`th of `new`, counted round; others stay
    /// (nodes_remap()).
    func remapped(from old: IDSet, to new: IDSet) -> IDSet {
        guard !new.isEmpty else { return self }
        let targets = Array(new)
        var result = IDSet()
        var position = 0
        var ordinals: [Int: Int] = [:]
        for node in old {
            ordinals[node] = position
            position += 1
        }
        for node in self { result.insert(ordinals[node].map { targets[$0 % targets.count] } ?? node) }
        return result
    }

    /// The members as ordinals within `allowed`, counted round (mpol_relative_nodemask()).
    func relative(to allowed: IDSet) -> IDSet {
        let targets = Array(allowed)
        guard !targets.isEmpty else { return IDSet() }
        var result = IDSet()
        for node in self { result.insert(targets[node % targets.count]) }
        return result
    }

    /// The moves that take the memory of a task from some nodes to others, in an order in which no page moves twice
    /// (do_migrate_pages()).
    ///
    /// If both sets have the same number of nodes, each node's pages go to its counterpart; otherwise pages on a node
    /// of `new` stay.
    public func migrationSteps(to new: IDSet) -> [(source: Int, target: Int)] {
        guard !new.isEmpty else { return [] }
        let old = Array(self)
        let targets = Array(new)
        var waiting = self
        var steps: [(Int, Int)] = []
        while true {
            var pick: (Int, Int)?
            for (position, source) in old.enumerated() where waiting.contains(source) {
                if old.count != targets.count, new.contains(source) { continue }
                let target = targets[position % targets.count]
                if source == target { continue }
                pick = (source, target)
                // A target that is no source any more: nothing that arrives there will be moved on.
                if !waiting.contains(target) { break }
            }
            guard let pick else { return steps }
            waiting.remove(pick.0)
            steps.append(pick)
        }
    }
}
