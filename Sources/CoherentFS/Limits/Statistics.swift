import CoherentMemory
import Fuse
import MachineTopology

extension Services {
    /// What statfs(2) tells.
    var statistics: FileSystemStatistics {
        var statistics = FileSystemStatistics()
        for node in machine.nodes {
            let usage = node.usage
            statistics.blocks += UInt64(usage.present)
            statistics.freeBlocks += UInt64(usage.free)
            // The rest is for who names the node, or asks for contiguous memory.
            if node.capabilities.isSuperset(of: [.node, .fallback, .anyTask]) {
                statistics.availableBlocks += UInt64(max(usage.free - usage.contiguous.free, 0))
            }
        }
        // As tmpfs, which without a limit on inodes counts none.
        if let limit = accounts.inodes.limit {
            statistics.files = limit
            statistics.freeFiles = limit - min(limit, accounts.inodes.used)
        }
        return statistics
    }
}
