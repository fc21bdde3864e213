import Fuse
import Synchronization

/// A device of the HMM test driver (`struct dmirror_device`), which mirrors the address space of whoever opens its file.
final class MirrorDevice: Sendable {
    /// What the device's memory is to the CPU.
    enum Kind: Sendable {
        /// MEMORY_DEVICE_PRIVATE: the CPU cannot reach it, and what it touches comes back.
        case hidden
        /// MEMORY_DEVICE_COHERENT: the CPU reaches it as any other memory, and what it touches stays.
        case coherent
    }

    /// The devices of a mount, which Linux calls private (0, 1) and coherent (2, 3).
    static func makeAll() -> [MirrorDevice] {
        (0..<4).map { MirrorDevice(number: $0, kind: $0 < 2 ? .hidden : .coherent) }
    }

    let number: Int
    let kind: Kind
    private let released = Atomic<UInt64>(0)

    private init(number: Int, kind: Kind) {
        self.number = number
        self.kind = kind
    }

    var name: String { "hmm_dmirror\(number)" }

    /// What a page that is on the device now has noted; another number later says that it has been brought back.
    var generation: UInt64 { released.load(ordering: .acquiring) }

    /// Brings everything back that is on the device, whoever put it there.
    func release() { released.add(1, ordering: .releasing) }
}
