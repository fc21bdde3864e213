import MachineTopology
import SystemPackage
import Testing

@testable import CoherentMemory

/// The rules of mpol_parse_str() in mm/mempolicy.c, for the modes there are.
@Suite("MemoryPolicy")
struct MemoryPolicyTests {
    private let available: IDSet = [0, 1, 3]

    @Test(
        "What parses, and as what it is shown",
        arguments: [
            ("default", "default"), ("bind:0", "bind:0"), ("bind:0-1,3", "bind:0-1,3"), ("bind:3,0,0", "bind:0,3"),
            ("prefer:3", "prefer:3"), ("prefer:03", "prefer:3"), ("interleave:0-1", "interleave:0-1"),
            ("interleave", "interleave:0-1,3"), ("interleave:1", "interleave:1"), ("bind:0-3:1/3", "bind:0,3"),
            ("prefer", "local"), ("local", "local"), ("prefer (many):0-1", "prefer (many):0-1"),
            ("weighted interleave:0,3", "weighted interleave:0,3"),
            ("weighted interleave", "weighted interleave:0-1,3"),
            ("bind=static:1", "bind=static:1"), ("interleave=relative:0-1", "interleave=relative:0-1"),
            ("interleave=static", "interleave=static:0-1,3"), ("prefer=static:1", "prefer=static:1"),
            ("default=static", "default"),
        ])
    func valid(text: String, shown: String) throws {
        let policy = try MemoryPolicy(parsing: text, available: available)
        #expect(policy.description == shown)
        #expect(try MemoryPolicy(parsing: policy.description, available: available) == policy)
    }

    @Test(
        "What is EINVAL",
        arguments: [
            "", ":", "default:", "default:0", "default ", " default", "Default", "BIND:0", "bind", "bind:", "bind: ",
            "bind:2", "bind:0-3", "bind:0-", "bind:-1", "bind:x", "bind:1-0", "bind:0;1", "bind:0x1", "bind:all",
            "bind:1024", "bind:99999999999999999999", "bind:4294967296", "prefer=static", "prefer:", "local:0",
            "local=static", "prefer (many)", "prefer (many):", "weighted interleave:", "bind=:1", "bind=dynamic:1",
            "bind=static=relative:1", "bind:1=static", "prefer(many):0", "prefer:0-1",
            "prefer:0,1", "prefer:1-1", "prefer:1,", "prefer:N", "prefer:2", "interleave:", "interleave:2",
            "interleave:0,,x", "bind=static", "interleaved:0", "bind\u{0}:0", "prefer:９", "weighted", "bind:0:1",
        ])
    func invalid(text: String) {
        #expect(
            failure { () throws(Errno) in try MemoryPolicy(parsing: text, available: available) } == .invalidArgument,
            "\(text)")
    }

    @Test("Interleaving over no memory at all is EINVAL")
    func nothing() {
        #expect(
            failure { () throws(Errno) in try MemoryPolicy(parsing: "interleave", available: []) } == .invalidArgument)
    }

    @Test("A device's memory keeps its policy, and a node must have memory when it is named")
    func setting() throws {
        let machine = try Machine(ram: 2, coherent: [2])
        #expect(
            failure { () throws(Errno) in try machine.setPolicy(.default, of: machine.devices[0].memory) }
                == .notPermitted)
        try machine.offline(machine.devices[0])
        let buffer = machine.makeBuffer()
        #expect(failure { () throws(Errno) in try machine.setPolicy(.bind(1), of: buffer) } == .invalidArgument)
        #expect(failure { () throws(Errno) in try machine.setPolicy(.bind(7), of: buffer) } == .invalidArgument)
        #expect(buffer.policy == .default)
    }
}

@Suite("NodeMask")
struct NodeMaskTests {
    @Test("Agrees with a sorted array")
    func random() {
        var random = SplitMix64(seed: 5)
        for _ in 0..<50 {
            var members = Set<Int>()
            for _ in 0..<Int.random(in: 0...40, using: &random) {
                members.insert(
                    random.oneIn(4)
                        ? [0, 63, 64, 1023].randomElement(using: &random)! : Int.random(in: 0..<1024, using: &random))
            }
            let mask = NodeMask(members)
            let sorted = members.sorted()
            #expect(mask.count == sorted.count)
            #expect((0..<sorted.count).map { mask.member($0) } == sorted)
            #expect((0..<1024).filter { mask.contains($0) } == sorted)
            var walked: [Int] = []
            mask.forEach { walked.append($0) }
            #expect(walked == sorted)
        }
    }
}
