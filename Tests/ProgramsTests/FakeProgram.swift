import CoherentMemory
import MachineTopology
import SystemPackage

@testable import Programs

/// A program of a test: some memory, and mappings.
final class FakeProgram: CallContext {
    let machine: Machine
    var task: Int32 = 0
    var node = 0
    var cpu = 0
    var isPrivileged = true
    var mayFailMemory = true
    var isOver = false
    /// Its own mappings, and those of others.
    var areas: [MemoryArea] = []
    var others: [Int32: [MemoryArea]] = [:]
    var allowed: IDSet?
    /// Whether loads of its mappings find the page of zeros, and give no frames.
    var loadsZeros = false
    /// What it may read and write, from ``base`` on.
    var memory = [UInt8](repeating: 0, count: 65536)
    static let base: UInt64 = 0x1000_0000

    init(_ machine: Machine) { self.machine = machine }

    /// Puts words into its memory; returns where.
    func put<Integer: FixedWidthInteger>(_ values: [Integer], at offset: Int = 0) throws -> UInt64 {
        let address = Self.base + UInt64(offset)
        try write(values, at: address)
        return address
    }

    private func place(_ address: UInt64, _ count: Int) throws(Errno) -> Range<Int> {
        guard address >= Self.base, address - Self.base <= UInt64(memory.count),
            count <= memory.count - Int(address - Self.base)
        else { throw .badAddress }
        let start = Int(address - Self.base)
        return start..<start + count
    }

    func read(_ address: UInt64, _ count: Int) throws(Errno) -> [UInt8] {
        // A page of a buffer: the touch gives it its frame.
        if !loadsZeros, let part = areas.area(at: address)?.part(at: address..<address + 1) {
            let origin = Origin(pid: task, node: node)
            try unsafe machine.read(part.buffer, at: part.bytes.lowerBound, length: 1, origin: origin) { _ in }
            return [UInt8](repeating: 0, count: count)
        }
        if loadsZeros, areas.area(at: address) != nil { return [UInt8](repeating: 0, count: count) }
        return Array(memory[try place(address, count)])
    }

    func write(_ bytes: [UInt8], to address: UInt64) throws(Errno) {
        memory.replaceSubrange(try place(address, bytes.count), with: bytes)
    }

    func areas(of process: Int32?, at addresses: Range<UInt64>) throws(Errno) -> [MemoryArea] {
        (process.map { others[$0] ?? [] } ?? areas).filter { $0.addresses.overlaps(addresses) }
    }

    func isPresent(_ page: UInt64, of process: Int32?) -> Bool { loadsZeros }

    func process(named number: Int32) throws(Errno) -> Int32? {
        guard number != 0 else { return nil }
        guard others[number] != nil else { throw .noSuchProcess }
        return number
    }

    func thread(named number: Int32, toChange: Bool) throws(Errno) -> Int32 { number == 0 ? task : number }

    func affinityChanged(of thread: Int32) {}

    func allowedNodes(of task: Int32) throws(Errno) -> IDSet { allowed ?? machine.nodesWithMemory }

    func usableNodes(of task: Int32) throws(Errno) -> IDSet { try allowedNodes(of: task) }
}
