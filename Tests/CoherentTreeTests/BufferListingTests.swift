import AttributeTree
import CoherentMemory
import SystemPackage
import Testing

@testable import CoherentTree

/// sys/kernel/cdm/bufferinfo without a mount.
@Suite("List of buffers", .timeLimit(.minutes(1))) struct BufferListingTests {
    @Test("A line for each buffer with its counters, names in one word")
    func lines() throws {
        let scene = try Scene()
        let a = scene.machine.makeBuffer()
        try scene.machine.resize(a, to: 16 << 12)
        scene.files.add(a, "a b\n\\")
        try unsafe scene.machine.read(a, at: 0, length: 8192, origin: Origin(pid: 7, node: 0)) { _ in }
        let b = scene.machine.makeBuffer()
        scene.files.add(b, "b")
        let lines = try scene.text("kernel/cdm/bufferinfo").split(separator: "\n")
        let own = lines.filter { line in [a, b].contains { line.hasPrefix("\($0.id) ") } }
        #expect(
            own == [
                "\(a.id) 65536 8192 1 0 2 0 0 N0=2 - a\\040b\\012\\134", "\(b.id) 0 0 0 0 0 0 0 - - b",
            ], "\(lines)")
    }

    @Test("Metrics name the ten largest")
    func largest() throws {
        let scene = try Scene()
        for index in 1...12 { try scene.makeBuffer("b \(index)\"", pages: UInt64(index)) }
        let lines = try scene.text("kernel/cdm/metrics").split(separator: "\n")
            .filter { $0.hasPrefix("cdmfs_buffer_node_bytes{") }
        #expect(lines.count == 10 && lines.first?.hasSuffix(" 49152") == true, "\(lines)")
        #expect(lines.first?.contains(#"buffer="b\\04012\"","#) == true, "\(lines)")
        #expect(lines.last?.hasSuffix(" 12288") == true, "\(lines)")
    }

    @Test("Thousands of them, in parts")
    func many() throws {
        let scene = try Scene()
        for index in 0..<1000 { scene.files.add(scene.machine.makeBuffer(), "b\(index)") }
        let lines = try scene.text("kernel/cdm/bufferinfo").split(separator: "\n")
        #expect(lines.count { $0.contains(" b") } == 1000)
        #expect(Set(lines.compactMap { $0.split(separator: " ").first }).count == lines.count)
    }
}
