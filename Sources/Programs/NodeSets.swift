import CoherentMemory
import MachineTopology
import SystemPackage

extension CallContext {
    /// Reads a set of nodes as the calls of mm/mempolicy.c do (get_nodes()).
    ///
    /// - Parameters:
    ///   - address: of a bit map; 0 for the empty set.
    ///   - limit: one more than the number of bits, as those calls have it.
    /// - Throws: EINVAL for too long a map, or a bit of a node that there cannot be; EFAULT.
    func nodes(at address: UInt64, limit: UInt64) throws(Errno) -> IDSet {
        let bits = limit &- 1
        guard bits != 0, address != 0 else { return IDSet() }
        guard bits <= 4096 * 8 else { throw .invalidArgument }
        let words = try read(address, count: Int((bits + 63) / 64), as: UInt64.self)
        var nodes = IDSet()
        for (place, word) in words.enumerated() {
            var word = word
            // Bits behind the last one have no meaning.
            if place == words.count - 1, bits % 64 != 0 { word &= 1 << (bits % 64) - 1 }
            while word != 0 {
                let node = place * 64 + word.trailingZeroBitCount
                guard node < IDSet.maxNodes else { throw .invalidArgument }
                nodes.insert(node)
                word &= word - 1
            }
        }
        return nodes
    }

    /// Writes a set of nodes (copy_nodes_to_user()).
    func write(_ nodes: IDSet, at address: UInt64, limit: UInt64) throws(Errno) {
        let bits = limit &- 1
        // What ALIGN() makes of the largest numbers.
        let bytes = (bits &+ 63) / 64 * 8
        let known = UInt64((nodeLimit + 63) / 64 * 8)
        guard bytes <= known || bytes <= 4096 else { throw .invalidArgument }
        var words = [UInt64](repeating: 0, count: Int(bytes / 8))
        for node in nodes where node / 64 < words.count && node / 8 < known {
            words[node / 64] |= 1 << UInt64(node % 64)
        }
        try write(words, at: address)
    }

    /// One more than the highest node there can be (nr_node_ids).
    var nodeLimit: Int { (machine.topology.possible.max() ?? 0) + 1 }
}
