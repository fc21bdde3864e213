import LinuxSupport
import MachineTopology
import SystemPackage
import Testing

@testable import CoherentMemory

/// Policies of parts of a buffer.
@Suite("Policies of ranges")
struct RangePolicyTests {
    private static let (one, two) = (MemoryPolicy.bind(1), MemoryPolicy.bind(2))

    private func parts(_ ranges: RangePolicies) -> [String] {
        ranges.parts.map { "\($0.pages.lowerBound)-\($0.pages.upperBound) \($0.policy)" }
    }

    @Test("Parts are cut, joined with neighbours of the same policy, and taken away")
    func parts() {
        var ranges = RangePolicies()
        func set(_ policy: MemoryPolicy?, _ pages: Range<UInt64>) {
            let isSet = ranges.set(policy.map { ($0, .default) }, for: pages)
            #expect(isSet)
        }
        set(Self.one, 10..<20)
        set(Self.two, 14..<16)
        #expect(parts(ranges) == ["10-14 bind:1", "14-16 bind:2", "16-20 bind:1"])
        #expect(ranges[13]?.policy == Self.one)
        #expect(ranges[14]?.policy == Self.two)
        #expect(ranges[20] == nil)
        #expect(ranges[9] == nil)
        set(Self.one, 14..<16)
        #expect(parts(ranges) == ["10-20 bind:1"])
        set(Self.two, 20..<22)
        set(Self.two, 8..<10)
        set(Self.one, 5..<8)
        #expect(parts(ranges) == ["5-8 bind:1", "8-10 bind:2", "10-20 bind:1", "20-22 bind:2"])
        #expect(ranges.end(ofFirstStretchIn: 0..<30) == 5)
        #expect(ranges.end(ofFirstStretchIn: 9..<30) == 10)
        #expect(ranges.end(ofFirstStretchIn: 21..<22) == 22)
        #expect(ranges.end(ofFirstStretchIn: 22..<30) == 30)
        #expect(ranges.overlapping(9..<11).map(\.pages) == [8..<10, 10..<20])
        #expect(ranges.overlapping(22..<100).isEmpty)
        set(nil, 6..<21)
        #expect(parts(ranges) == ["5-6 bind:1", "21-22 bind:2"])
        set(Self.two, 0..<(.max))
        #expect(parts(ranges) == ["0-\(UInt64.max) bind:2"])
        set(nil, 0..<(.max))
        #expect(ranges.isEmpty)
        set(Self.one, 3..<3)
        #expect(ranges.isEmpty)
    }

    @Test("There are only so many parts, and one that does not fit changes nothing")
    func limit() throws {
        var ranges = RangePolicies()
        func set(_ policy: MemoryPolicy?, _ pages: Range<UInt64>) -> Bool {
            ranges.set(policy.map { ($0, .default) }, for: pages)
        }
        for part in 0..<UInt64(RangePolicies.limit) {
            let isSet = set(part % 2 == 0 ? Self.one : Self.two, part..<part + 1)
            try #require(isSet)
        }
        let (far, farther) = (set(Self.one, 1 << 20..<1 << 20 + 1), set(.bind(3), 1 << 30..<1 << 31))
        #expect(!far)
        #expect(!farther)
        #expect(ranges.parts.count == RangePolicies.limit)
        let (inPlace, fewer) = (set(.bind(3), 4..<5), set(nil, 0..<2))
        #expect(inPlace)
        #expect(fewer)
        let fits = set(Self.one, 1 << 20..<1 << 20 + 1)
        #expect(fits)
    }

    /// Which node each page is on, against a table of policies page by page.
    @Test(
        "Pages land where the policy of their own page says, whatever the requests touch at once",
        arguments: [1, 7, 64])
    func placement(_ step: Int) throws {
        let machine = try Machine(ram: 16, coherent: [16, 16], isolation: .exclusive)
        let buffer = machine.makeBuffer()
        try machine.resize(buffer, to: 256 << 12)
        var generator = SplitMix64(seed: UInt64(step))
        var expected = [Int](repeating: 0, count: 256)
        for _ in 0..<40 {
            let start = Int(generator.next() % 256)
            let end = min(256, start + 1 + Int(generator.next() % 40))
            let node = Int(generator.next() % 3)
            try machine.setPolicy(.bind(node), of: buffer, bytes: UInt64(start) << 12..<UInt64(end) << 12)
            for page in start..<end { expected[page] = node }
        }
        for page in stride(from: 0, to: 256, by: step) {
            _ = try machine.bytes(of: buffer, at: UInt64(page) << 12, count: min(step, 256 - page) << 12)
        }
        #expect((0..<256).map { machine.nodeID(of: buffer, at: UInt64($0) << 12) } == expected)
        let stretches = machine.policies(of: buffer, in: 0..<256 << 12)
        #expect(stretches.first?.bytes.lowerBound == 0)
        #expect(stretches.last?.bytes.upperBound == 256 << 12)
        #expect(zip(stretches, stretches.dropFirst()).allSatisfy { $0.bytes.upperBound == $1.bytes.lowerBound })
        machine.remove(buffer)
        #expect(machine.nodes.allSatisfy { $0.usage.free == $0.usage.present })
    }

    @Test("A node that is full refuses its part alone")
    func shortage() throws {
        let machine = try Machine(ram: 16, coherent: [2])
        let buffer = machine.makeBuffer()
        let pages = 2 * UInt64(machine.nodes[1].usage.free)
        try machine.resize(buffer, to: pages << 12)
        try machine.setPolicy(.bind(1), of: buffer, bytes: 8 << 12..<pages << 12)
        #expect(try machine.store([1], to: buffer, at: 0) == 1)
        // What comes before the first page without a frame is stored.
        let bytes = [UInt8](repeating: 1, count: Int(pages << 12))
        let stored = try machine.store(bytes, to: buffer, at: 0)
        #expect(stored == Int(8 + pages / 2) << 12)
        #expect(throws: Errno.noSpace) { try machine.store([1], to: buffer, at: UInt64(stored)) }
        machine.remove(buffer)
    }

    @Test("A policy of the whole ends those of ranges; a device's memory has none")
    func whole() throws {
        let machine = try Machine(ram: 16, coherent: [16])
        let buffer = machine.makeBuffer()
        try machine.setPolicy(.bind(1), of: buffer, bytes: 0..<4096)
        #expect(machine.policy(of: buffer, at: 4095) == .bind(1))
        #expect(machine.policy(of: buffer, at: 4096) == .default)
        try machine.setPolicy(.bind(0), of: buffer)
        #expect(machine.policyRanges(of: buffer).isEmpty)
        #expect(throws: Errno.notPermitted) {
            try machine.setPolicy(.bind(1), of: machine.devices[0].memory, bytes: 0..<4096)
        }
        for wrong: Range<UInt64> in [4096..<4096, 0..<(.max)] {
            #expect(throws: Errno.invalidArgument) { try machine.setPolicy(.bind(1), of: buffer, bytes: wrong) }
        }
        #expect(throws: Errno.invalidArgument) { try machine.setPolicy(.bind(9), of: buffer, bytes: 0..<4096) }
        machine.remove(buffer)
    }
}
