import CoherentMemory
import Glibc
import LinuxSupport
import MachineTopology
import SystemPackage
import Testing

@testable import Programs

@Suite("Address spaces of a run")
struct AddressSpaceLimitTests {
    private struct World: ProgramWorld {
        let machine: Machine
        let failedTouches = FailedTouches()
        var mountDevice: DeviceNumber? { nil }
        var faultAround: UInt64 { 128 << 10 }

        func buffer(ofInode inode: UInt64) -> Buffer? { nil }
        func node(ofTask task: Int32) -> Int { 0 }
        func cpu(ofTask task: Int32) -> Int { 0 }
        func share(ofUser user: UInt32) -> FrameShare? { nil }
        func note(_ message: String) {}
        func task(named number: Int32, by task: Int32) throws(Errno) -> (task: Int32, process: Int32) {
            throw .noSuchProcess
        }
    }

    /// A space of which nothing is ever reported, with one page.
    ///
    /// - Parameter silence: gets what is to be closed afterwards.
    private func makeSpace(_ machine: Machine, _ silence: inout [FileDescriptor]) throws -> AddressSpace {
        let pipe = try FileDescriptor.pipe()
        silence.append(pipe.writeEnd)
        let space = AddressSpace(memory: machine.makeAddressSpace(), faults: pipe.readEnd)
        _ = try machine.touch(space.memory, at: 0, around: 0..<4096, origin: Origin(pid: 0, node: 0))
        return space
    }

    private func agent() throws -> FileDescriptor {
        let pipe = try FileDescriptor.pipe()
        try pipe.readEnd.close()
        return pipe.writeEnd
    }

    @Test("A touch that has waited for blocks of a device has all its time left between two of them")
    func waiting() throws {
        let machine = try Machine(
            topology: Topology(
                toml: "block_size = \"2M\"\n[[node]]\nid = 0\nkind = \"ram\"\nmemory = \"4M\"\ncpus = \"all\""))
        var silence: [FileDescriptor] = []
        defer { for end in silence { try? end.close() } }
        let space = try makeSpace(machine, &silence)
        var waiting = WaitingTouches()
        let now = ContinuousClock.now
        let isForced = Array(repeating: true, count: 100) + Array(repeating: false, count: 8)
        let answers = (isForced + isForced + [false]).map { waiting.note(0, of: space, isForced: $0, at: now) }
        #expect(answers == Array(repeating: true, count: 216) + [false])
        let repeated = waiting.take().count
        #expect(repeated == 216)
    }

    @Test("One beyond the limit is refused, and one more may come when another has gone")
    func limit() throws {
        let machine = try Machine(
            topology: Topology(
                toml: "block_size = \"2M\"\n[[node]]\nid = 0\nkind = \"ram\"\nmemory = \"4M\"\ncpus = \"all\""))
        let directory = SpaceDirectory()
        let spaces = try AddressSpaces(World(machine: machine), in: directory, limit: 2) { _ in }
        var silence: [FileDescriptor] = []
        defer { for end in silence { try? end.close() } }
        let all = try (0..<3).map { _ in try makeSpace(machine, &silence) }
        for space in all.prefix(2) {
            #expect(spaces.hasRoom)
            #expect(spaces.add(space, agent: try agent(), process: getpid()))
        }
        #expect(!spaces.hasRoom)
        #expect(!spaces.add(all[2], agent: try agent(), process: getpid()))
        #expect(!directory.contains(all[2].memory.id))
        // Whoever was refused has no frame any more.
        spaces.remove(all[2])
        #expect(machine.nodes[0].usage.anonymous == 2)
        spaces.remove(all[0])
        #expect(spaces.hasRoom)
        let last = try makeSpace(machine, &silence)
        #expect(spaces.add(last, agent: try agent(), process: getpid()))
        for space in [all[1], last] { spaces.remove(space) }
        #expect(machine.nodes[0].usage.anonymous == 0)
        spaces.close()
        try machine.checkInvariants()
    }
}
