import CoherentMemory

/// A device of the HMM test driver (`struct dmirror_device`), which mirrors the address space of the process that opens its file.
public final class MirrorDevice: Sendable {
    /// How many bytes of zeros can be mapped from a device's file, as Linux's driver has them for tests of mappings without
    /// `struct page`s of files.
    public static let fileSize = 1 << 16

    /// What the device's memory is to the CPU.
    enum Kind: Sendable {
        /// MEMORY_DEVICE_PRIVATE: the CPU cannot reach it, and a page that the CPU touches moves back.
        case hidden
        /// MEMORY_DEVICE_COHERENT: the CPU reaches it as any other memory, and a page that the CPU touches stays.
        case coherent
    }

    /// The devices of a mount, which Linux calls private (0, 1) and coherent (2, 3).
    public static func makeAll(in machine: Machine) -> [MirrorDevice] {
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

    /// The name of its file.
    public var name: String { "hmm_dmirror\(number)" }

    /// Brings back what is on the device, of every process: as in Linux, the last close of any of its files does.
    public func release() { memory.release() }
}
