import LinuxSupport
import MachineTopology
import Synchronization
import SystemPackage

/// The link over which the programs come to a coherent node: its figures, and what reads took by them.
final class LinkMeter: Sendable {
    private let figures: Mutex<Link>
    private let time = Atomic<UInt64>(0)

    init(_ link: Link) { figures = Mutex(link) }

    var link: Link { figures.withLock { $0 } }

    /// Nanoseconds that the pages read so far take by the model.
    var nanoseconds: UInt64 { time.load(ordering: .relaxed) }

    /// Counts pages of the node that are read.
    func countRead(pages: Int) {
        time.wrappingAdd(link.readTime(of: UInt64(pages) << Page.shift), ordering: .relaxed)
    }

    /// Changes figures. ERANGE for one outside of ``Link/figures``; then nothing changes.
    func update(_ change: (inout Link) -> Void) throws(Errno) {
        try figures.withLock { link throws(Errno) in
            var changed = link
            change(&changed)
            guard changed.isValid else { throw .outOfRange }
            link = changed
        }
    }
}

extension Link {
    /// The modelled time in nanoseconds to read bytes from the device.
    func readTime(of bytes: UInt64) -> UInt64 { readLatency + bytes * 1000 / readBandwidth }

    /// The modelled time in nanoseconds to write bytes to the device.
    func writeTime(of bytes: UInt64) -> UInt64 { writeLatency + bytes * 1000 / writeBandwidth }
}
