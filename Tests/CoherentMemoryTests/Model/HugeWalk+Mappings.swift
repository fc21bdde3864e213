import MachineTopology
import SystemPackage
import Testing

@testable import CoherentMemory

/// What a mapping of a program in huge pages has (MAP_HUGETLB), by the numbers of its pages.
struct HugeMapping {
    let buffer: Buffer
    /// Whether pages that it frees are promised to it again.
    let reserves: Bool
    var promised: Set<UInt64>
    var present: Set<UInt64> = []
}

/// Mappings of programs beside the buffers of the walk.
extension HugeWalk {
    static let mappingUnits: UInt64 = 6

    /// Free huge pages that are promised to nobody.
    var available: Int { machine.nodes.reduce(0) { $0 + $1.usage.hugePool.free } - promised }

    /// Huge pages that are promised.
    private var promised: Int { mappings.reduce(0) { $0 + $1.promised.count } }

    /// Free huge pages that a task without a policy may get.
    private var reachable: Int {
        machine.nodes.filter { $0.allows(.node) && $0.allows(.fallback) }.reduce(0) { $0 + $1.usage.hugePool.free }
    }

    mutating func operateOnMapping() throws {
        guard !mappings.isEmpty, !random.oneIn(5) else { return try makeMapping() }
        let index = Int.random(in: 0..<mappings.count, using: &random)
        let first = UInt64.random(in: 0..<Self.mappingUnits, using: &random)
        let units = first..<UInt64.random(in: first...Self.mappingUnits, using: &random)
        let bytes = units.lowerBound * HugePage.size..<units.upperBound * HugePage.size
        switch Int.random(in: 0..<12, using: &random) {
        case ..<7: try touchMapping(index, first)
        case ..<9:
            note("discard \(units) of mapping \(mappings[index].buffer.id)")
            machine.discard(mappings[index].buffer, bytes: bytes)
            mappings[index].present.subtract(units)
            guard mappings[index].reserves, machine.nodes.allSatisfy({ $0.usage.hugePool.surplus == 0 }) else { return }
            for unit in units where !mappings[index].present.contains(unit) && available > 0 {
                mappings[index].promised.insert(unit)
            }
        case ..<11:
            note("unmap \(units) of mapping \(mappings[index].buffer.id)")
            machine.unmap(mappings[index].buffer, bytes: bytes)
            mappings[index].present.subtract(units)
            mappings[index].promised.subtract(units)
        default:
            note("remove mapping \(mappings[index].buffer.id)")
            machine.remove(mappings[index].buffer)
            mappings.remove(at: index)
        }
    }

    private mutating func makeMapping() throws {
        guard mappings.count < 4 else { return }
        let count = random.oneIn(3) ? 0 : Int.random(in: 1...Int(Self.mappingUnits), using: &random)
        note("mapping that reserves \(count)")
        let isRefused = count > available || count > reachable
        let real = outcome { () throws(Errno) in
            try machine.makeHugeMapping(reserving: count, origin: onNode0)
        }
        try require(real.errno == (isRefused && count > 0 ? .noMemory : nil), "reserving \(count): \(real)")
        guard let buffer = try? real.get() else { return }
        mappings.append(
            HugeMapping(buffer: buffer, reserves: count > 0, promised: Set(0..<UInt64(count))))
    }

    private mutating func touchMapping(_ index: Int, _ unit: UInt64) throws {
        let mapping = mappings[index]
        note("touch \(unit) of mapping \(mapping.buffer.id)")
        let offset = unit * HugePage.size
        let mayTake = mapping.promised.contains(unit) || available > 0
        let isThere = mapping.present.contains(unit)
        let expected: Errno? = isThere || mayTake && reachable > 0 ? nil : .noMemory
        let real = outcome { () throws(Errno) in
            try machine.touch(
                mapping.buffer, at: offset + 4096, around: offset..<offset + HugePage.size, origin: onNode0)
        }
        try require(real.errno == expected, "touch: \(real), expected \(String(describing: expected))")
        guard expected == nil else { return }
        try require(try real.get().bytes == offset..<offset + HugePage.size, "a part of a huge page")
        mappings[index].present.insert(unit)
        mappings[index].promised.remove(unit)
    }

    func compareMappings() throws {
        try require(machine.reservedHugePages == promised, "\(machine.reservedHugePages) promised, not \(promised)")
        for mapping in mappings {
            let pages = mapping.present.count * HugePage.frames
            try require(mapping.buffer.residentPages == pages, "mapping \(mapping.buffer.id): pages")
        }
    }
}
