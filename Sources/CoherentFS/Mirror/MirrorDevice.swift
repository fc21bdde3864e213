import CoherentMemory

/// A device of the HMM test driver (`struct dmirror_device`), which mirrors the address space of whoever opens its file.
final class MirrorDevice: Sendable {
    /// What the device's memory is to the CPU.
    enum Kind: Sendable {
        /// MEMORY_DEVICE_PRIVATE: the CPU cannot reach it, and a page that the CPU touches moves back.
        case hidden
        /// MEMORY_DEVICE_COHERENT: the CPU reaches it as any other memory, and a page that the CPU touches stays.
        case coherent
    }

    /// The devices of a mount, which Linux calls private (0, 1) and coherent (2, 3).
    static func makeAll(in machine: Machine) -> [MirrorDevice] {
        (0..<4).map {
            MirrorDevice(
                number: $0, kind: $0 < 2 ? .hidden : .coherent, memory: MirrorMemory(machine: machine, number: $0))
        }
    }

    let number: Int
    let kind: Kind
    let memory: MirrorMemory

    private init(number: Int, kind: Kind, memory: MirrorMemory) {
        self.number = number
        self.kind = kind
        self.memory = memory
    }

    var name: String { "hmm_dmirror\(number)" }
}
