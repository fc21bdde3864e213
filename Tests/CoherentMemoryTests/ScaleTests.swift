import Glibc
import LinuxSupport
import Testing

@testable import CoherentMemory

/// A million buffers, and what runs beside them.
@Suite("Scale", .serialized)
struct ScaleTests {
    /// The time that this thread has had a CPU, ns: others run beside it.
    private static func ownTime() -> Int {
        var time = timespec()
        unsafe clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return time.tv_sec * 1_000_000_000 + time.tv_nsec
    }

    @Test("A million buffers come, are found and go; a slice of the balancing scan does not visit them all")
    func manyBuffers() throws {
        let machine = try Machine(ram: 64, coherent: [64])
        let count = 1_000_000
        var buffers: [Buffer] = []
        var parts: [Int] = []
        for part in 0..<10 {
            let start = Self.ownTime()
            for _ in 0..<count / 10 { buffers.append(machine.makeBuffer()) }
            parts.append(Self.ownTime() - start)
            // A few of them have pages.
            try machine.store([UInt8(part)], to: buffers[part * count / 10], at: 0)
        }
        #expect(parts.last! < parts.min()! * 4, "the last are as fast as the first: \(parts)")
        #expect(machine.buffers.count == count + 1)
        #expect(machine.memory.buffer(id: buffers[count / 2].id) === buffers[count / 2])
        var position = Balancer.ScanPosition()
        machine.balancer.mark(1, [.normal], from: &position, isCancelled: { false })
        #expect(position.buffer > 0 && position.buffer < 10_000)
        for part in 0..<10 {
            #expect(try machine.bytes(of: buffers[part * count / 10], at: 0, count: 1) == [UInt8(part)])
        }
        for buffer in buffers { machine.remove(buffer) }
        #expect(machine.buffers.count == 1)
        #expect(machine.node(0)!.usage.free == machine.node(0)!.usage.present)
        try machine.checkInvariants()
    }

    @Test("A scan slice by slice comes to every buffer")
    func scanning() throws {
        let machine = try Machine(ram: 64, coherent: [64])
        let buffers = (0..<10_000).map { _ in machine.makeBuffer() }
        let used = [0, 1, 4095, 4096, 8191, 9999].map { buffers[$0] }
        for buffer in used {
            try machine.resize(buffer, to: 4096)
            _ = try machine.bytes(of: buffer, at: 0, count: 1)
        }
        var position = Balancer.ScanPosition()
        for _ in 0..<4 { machine.balancer.mark(1000, [.normal], from: &position, isCancelled: { false }) }
        for buffer in used {
            #expect(buffer.state.withLock { $0.pages.table[0].isHinting }, "buffer \(buffer.id)")
        }
        for buffer in buffers { machine.remove(buffer) }
        try machine.checkInvariants()
    }
}
