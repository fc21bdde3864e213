import MachineTopology

/// The names that differ from machine to machine, and what stands for them in the reference.
enum Placeholder {
    /// What is numbered, and the letter that stands for the number.
    static let numbered: [(prefix: String, letter: Character)] = [
        ("node", "N"), ("memory", "M"), ("cpu", "N"), ("cdm", "N"), ("memory_tier", "T"), ("index", "N"),
        ("hmm_dmirror", "N"), ("mem", "N"),
        ("endpoint", "N"), ("region", "N"), ("dax_region", "N"), ("dport", "N"),
    ]
    /// Stands for a PCI address.
    static let pciAddress = "DDDD:BB:DD.F"
    /// Stands for the name of a buffer.
    static let buffer = "NAME"
    /// Stands for the name of a directory of buffers.
    static let directory = "DIR"
    /// Stands for the name of a group of tasks.
    static let group = "GROUP"
    /// Stands for the number of a process.
    static let task = "PID"

    /// A name with its number, if it has one, replaced: `node1` is `nodeN`.
    static func general(_ name: String) -> String {
        if PCIAddress(name) != nil { return pciAddress }
        if name.hasPrefix("pci"), PCIAddress("\(name.dropFirst(3)):00.0") != nil { return "pciDDDD:BB" }
        if name.hasPrefix("decoder"), name.dropFirst(7).split(separator: ".").allSatisfy({ Int($0) != nil }) {
            return "decoderN.M"
        }
        if name.hasPrefix("dax"), name.hasSuffix(".0"), Int(name.dropFirst(3).dropLast(2)) != nil { return "daxN.0" }
        for (prefix, letter) in numbered where name.hasPrefix(prefix) {
            let rest = name.utf8.dropFirst(prefix.utf8.count)
            guard !rest.isEmpty else { continue }
            let isNumber = rest.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
            let isLetter = rest.count == 1 && (isUppercase(rest.first!) || rest.first == UInt8(ascii: "*"))
            if isNumber || isLetter { return "\(prefix)\(letter)" }
        }
        let isNumber = !name.isEmpty && name.utf8.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
        return isNumber ? task : name
    }

    /// Whether a name of the reference stands for any name at all.
    static func isFree(_ name: String) -> Bool { name == buffer || name == directory || name == group || name == task }

    private static func isUppercase(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte)
    }
}
