import LinuxSupport
import MachineTopology

/// Memory blocks and devices that come and go (mm/memory_hotplug.c).
final class Hotplug: MoverUser {
    let topology: Topology
    let mover: Mover
    var blockSize: UInt64 { topology.blockSize }
    /// What becomes of hot-added memory blocks.
    let autoOnline = Mutex(OnlineType.offline)

    init(_ mover: Mover, _ topology: Topology) {
        self.topology = topology
        self.mover = mover
    }
}
