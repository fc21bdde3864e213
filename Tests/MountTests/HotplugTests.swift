import CLinux
import Foundation
import SystemPackage
import Testing

private let memory = "sys/devices/system/memory"
private let nodes = "sys/devices/system/node"
private let device = "sys/class/cdm/cdm0"

extension Mounts {
    /// Memory comes and goes while the machine runs, and the tree with it.
    @Suite("Hot-add and hot-remove")
    struct HotplugTests {
        private static let size = Machines.blockSize

        @Test("probe adds a block where a node has a range, in the state of auto_online_blocks")
        func probe() throws {
            try TestMount.with(checkingLeaks: false) { mount in
                #expect(try mount.entry("\(memory)/probe").permissions == 0o200)
                let reader = try UeventReader(mount)
                // Two nodes of 16 blocks: behind them 16 may be added to node 0, and 16 to node 1.
                for (text, error) in [
                    ("", Errno.invalidArgument), ("x", .invalidArgument), ("0x1000", .invalidArgument),
                    ("\(64 * Self.size)", .invalidArgument), ("0xfffffffffffff000", .invalidArgument),
                    ("0x10000000000000000", .outOfRange), ("0", .fileExists), ("\(31 * Self.size)", .fileExists),
                ] { #expect(throws: error, "\(text)") { try mount.store(text, in: "\(memory)/probe") } }
                #expect(try reader.events() == [])
                #expect(try mount.numbers("memory", in: memory) == Array(0..<32))
                for (number, word, state, zones, node) in [
                    (32, "offline", "offline", "Normal Movable", 0), (47, "online", "online", "Normal", 0),
                    (34, "online_movable", "online", "Movable", 0), (48, "online", "online", "Movable", 1),
                    // A device's memory is never the kernel's own.
                    (63, "online_kernel", "offline", "Movable", 1),
                ] {
                    try mount.store(word, in: "\(memory)/auto_online_blocks")
                    try mount.store("0x" + String(number * Self.size, radix: 16), in: "\(memory)/probe")
                    #expect(try mount.word("\(memory)/memory\(number)/state") == state)
                    #expect(try mount.word("\(memory)/memory\(number)/valid_zones") == zones)
                    #expect(try mount.target("\(nodes)/node\(node)/memory\(number)") == "../../memory/memory\(number)")
                    try mount.expectAgreement("memory\(number)")
                }
                #expect(
                    try reader.events().map { $0.summary.replacing("/devices/system/memory/memory", with: "") } == [
                        "add@32", "add@47", "online@47", "add@34", "online@34", "add@48", "online@48", "add@63",
                    ])
                #expect(throws: Errno.fileExists) { try mount.store("\(34 * Self.size)", in: "\(memory)/probe") }
                // What was added is memory like any other.
                let file = try mount.makeBuffer("a", size: 0, policy: "bind:1")
                let total = try mount.fill(file)
                #expect(try total > 240 << 20 && mount.blocks(of: "a").contains(48))
                try mount.store("offline", in: "\(memory)/memory48/state")
                #expect(try mount.placement("a")[0] != nil)
            }
        }

        @Test("A device goes with its node and blocks, and comes back as new")
        func remove() throws {
            try TestMount.with(checkingLeaks: false) { mount in
                let control = try FileDescriptor.open(FilePath("\(mount.path)/\(device)/size"), .readOnly)
                let block = try FileDescriptor.open(FilePath("\(mount.path)/\(memory)/memory20/online"), .readWrite)
                let meminfo = try FileDescriptor.open(FilePath("\(mount.path)/\(nodes)/node1/meminfo"), .readOnly)
                let data = try FileDescriptor.open(FilePath("\(mount.path)/dev/cdm0"), .readWrite)
                defer { for file in [control, block, meminfo, data] { try? file.close() } }
                try Client.pattern("store", mount.path + "/dev/cdm0", 0, "1M", 1)
                try mount.store("none", in: "\(nodes)/node1/cdm/isolation")
                try mount.store("on", in: "\(memory)/memory20/power/control")
                try mount.makeBuffer("a", size: 1 << 20, policy: "bind:1")

                #expect(throws: Errno.resourceBusy) { try mount.store("1", in: "\(device)/remove") }
                #expect(throws: Errno.invalidArgument) { try mount.store("2", in: "\(device)/remove") }
                try mount.store("offline", in: "\(device)/state")
                let reader = try UeventReader(mount)
                try mount.store("1", in: "\(device)/remove")
                try mount.expectAgreement("removed")
                let gone = try reader.events().map(\.summary)
                let (pci, dax) = ("/devices/pci0000:01/0000:01:00.0", "/devices/pci0000:01/0000:01:00.0/dax0.0")
                #expect(
                    gone.filter { $0.contains("pci") } == [
                        "unbind@\(dax)", "remove@\(dax)", "unbind@\(pci)", "remove@\(pci)",
                    ])
                #expect(
                    gone.filter { !$0.contains("pci") }
                        == (16..<32).map { "remove@/devices/system/memory/memory\($0)" }
                        + ["remove@/devices/system/node/node1", "remove@/class/cdm/cdm0"])
                for file in [
                    "\(device)/state", "\(nodes)/node1/meminfo", "\(memory)/memory20", "sys/bus/node/devices/node1",
                    "sys/bus/memory/devices/memory16", "\(nodes)/node0/access0/targets/node1",
                    "sys/kernel/mm/mempolicy/weighted_interleave/node1",
                ] { #expect(throws: Errno.noSuchFileOrDirectory, "\(file)") { try mount.entry(file) } }
                #expect(try mount.word("\(nodes)/online") == "0" && mount.word("\(nodes)/possible") == "0-1")
                #expect(try mount.word("\(nodes)/node0/distance") == "10")
                var bytes = [UInt8](repeating: 0, count: 64)
                for file in [control, block, meminfo, data] {
                    #expect(throws: Errno.operationNotSupportedByDevice) {
                        try unsafe bytes.withUnsafeMutableBytes {
                            _ = unsafe try file.read(fromAbsoluteOffset: 0, into: $0)
                        }
                    }
                }
                for file in [block, data] {
                    #expect(throws: Errno.operationNotSupportedByDevice) {
                        try file.writeAll(toAbsoluteOffset: 0, "1\n".utf8)
                    }
                }
                #expect(throws: Errno.operationNotSupportedByDevice) { try mount.text("dev/cdm0") }
                #expect(throws: Errno.invalidArgument) { try mount.makeBuffer("b", size: 0, policy: "bind:1") }
                #expect(throws: Errno.operationNotSupportedByDevice) {
                    try mount.store("1", in: mount.control("a") + "/migrate")
                }
                #expect(throws: Errno.operationNotSupportedByDevice) {
                    try mount.store("\(20 * Self.size)", in: "\(memory)/probe")
                }
                #expect(try Client.sigbus("load", mount.path + "/buffers/a", 0, "1M")["failed"] == 256)

                try mount.store("online", in: "\(memory)/auto_online_blocks")
                #expect(throws: Errno.invalidArgument) { try mount.store("0", in: "sys/class/cdm/rescan") }
                try mount.store("1", in: "sys/class/cdm/rescan")
                try mount.expectAgreement("back")
                let events = try reader.events().filter { !$0.summary.contains("/buffers/") }
                #expect(
                    events.map(\.summary).filter { $0.contains("pci") } == [
                        "add@\(pci)", "bind@\(pci)", "add@\(dax)", "bind@\(dax)",
                    ])
                #expect(
                    events.map(\.summary).filter { !$0.contains("pci") }
                        == ["add@/class/cdm/cdm0", "add@/devices/system/node/node1"]
                        + (16..<32).map { "add@/devices/system/memory/memory\($0)" } + ["change@/class/cdm/cdm0"]
                        + (16..<32).map { "online@/devices/system/memory/memory\($0)" } + ["change@/class/cdm/cdm0"])
                #expect(events.compactMap { $0["STATE"] } == ["online_in_progress", "online"])
                #expect(try mount.word("\(nodes)/node1/cdm/isolation") == "none [exclusive] restricted driver private")
                #expect(try mount.word("\(memory)/memory20/power/control") == "auto")
                // As with every frame: whoever has the device next reads zeros, and who had it before has nothing.
                let fresh = try FileDescriptor.open(FilePath(mount.path + "/dev/cdm0"), .readOnly)
                defer { try? fresh.close() }
                bytes = [UInt8](repeating: 1, count: 64)
                try unsafe bytes.withUnsafeMutableBytes { _ = unsafe try fresh.read(into: $0) }
                #expect(bytes.allSatisfy { $0 == 0 })
                #expect(throws: Errno.operationNotSupportedByDevice) {
                    try unsafe bytes.withUnsafeMutableBytes {
                        _ = unsafe try block.read(fromAbsoluteOffset: 0, into: $0)
                    }
                }
                #expect(try Client.sigbus("load", mount.path + "/buffers/a", 0, "1M")["failed"] == 0)
            }
        }

        @Test("A mapping of a removed device is SIGBUS, and stays so when the device is back")
        func mapping() throws {
            try TestMount.with(checkingLeaks: false) { mount in
                let file = mount.path + "/dev/cdm0"
                let child = try Child([
                    "python3", "-c",
                    """
                    import mmap, os, sys, time
                    m = mmap.mmap(os.open(sys.argv[1], os.O_RDWR), 1 << 20)
                    m[0] = 7; m[4096] = 8
                    print("ready", flush=True)
                    while os.path.exists(sys.argv[2]): time.sleep(0.01)
                    while True: m[4096]
                    """, file, mount.path + "/" + device,
                ])
                #expect(try child.line() == "ready")
                try mount.store("force", in: "\(device)/remove")
                #expect(try child.finish().ending == .killed(SIGBUS))
                try mount.store("1", in: "sys/class/cdm/rescan")
                #expect(try mount.word("\(device)/state") == "offline")
                try mount.expectAgreement()
            }
        }

        @Test("By force, or not at all")
        func force() throws {
            try TestMount.with(Machines.make(ram: "64M", device: "64M")) { mount in
                try mount.fill(mount.makeBuffer("a", size: 0, policy: "bind:1"), limit: 48 << 20)
                try mount.fill(mount.makeBuffer("wall", size: 0, policy: "bind:0"), limit: 48 << 20)
                #expect(throws: Errno.resourceBusy) { try mount.store("offline", in: "\(device)/state") }
                #expect(try mount.word("\(device)/state") == "offline_failed")
                try mount.store("online", in: "\(device)/state")
                #expect(throws: Errno.resourceBusy) { try mount.store("force", in: "\(device)/remove") }
                #expect(try mount.word("\(device)/state") == "online")
                try mount.expectAgreement()
                try FileManager.default.removeItem(atPath: mount.path + "/buffers/wall")
                #expect(try eventually { try mount.meminfo(0)["MemUsed"]! < 32 << 10 })
                try mount.store("force", in: "\(device)/remove")
                #expect(try mount.placement("a").keys.sorted() == [0])
                try mount.expectAgreement()
                try mount.store("online", in: "\(memory)/auto_online_blocks")
                try mount.store("1", in: "sys/class/cdm/rescan")
            }
        }

        @Test("The figures of the link, and what follows them")
        func link() throws {
            try TestMount.with { mount in
                for name in ["read_latency", "write_latency", "read_bandwidth", "write_bandwidth"] {
                    let (file, shown) = ("\(device)/link/\(name)", "\(nodes)/node1/access0/initiators/\(name)")
                    #expect(try mount.entry(file).permissions == 0o644)
                    #expect(try mount.word(file) == mount.word(shown))
                    for value in ["1", "1000000000", "4321"] {
                        try mount.store(value, in: file)
                        #expect(try mount.word(file) == value && mount.word(shown) == value)
                    }
                    for (text, error) in [
                        ("0", Errno.outOfRange), ("1000000001", .outOfRange), ("99999999999999999999", .outOfRange),
                        ("-1", .invalidArgument), ("1.5", .invalidArgument), ("", .invalidArgument),
                    ] { #expect(throws: error, "\(text)") { try mount.store(text, in: file) } }
                    #expect(try mount.word(file) == "4321")
                }
            }
        }

        @Test("Who reads the whole tree while devices come and go meets ENOENT and ENODEV, and nothing else")
        func races() throws {
            try TestMount.with(Machines.four, checkingLeaks: false) { mount in
                try mount.store("online", in: "\(memory)/auto_online_blocks")
                try mount.makeBuffer("go", size: 4096)
                let readers = try (0..<2).map { _ in
                    try Child(
                        [
                            "bash", "-c",
                            "cd \"$0\"; while [ -e buffers/go ]; do find sys -name uevents -prune -o -name 'trace_pipe*' -prune -o -type f -readable -exec cat {} + -o -true; "
                                + "ls -lR sys/devices/system sys/bus sys/class; done 2>&1 >/dev/null | sort -u",
                            mount.path,
                        ], environment: ["LC_ALL": "C"])
                }
                for round in 0..<12 {
                    let name = "cdm\(round % 2)"
                    try mount.store("force", in: "sys/class/cdm/\(name)/remove")
                    #expect(throws: Errno.noSuchFileOrDirectory) { try mount.entry("sys/class/cdm/\(name)") }
                    try mount.store("1", in: "sys/class/cdm/rescan")
                    #expect(try mount.word("sys/class/cdm/\(name)/state") == "online")
                }
                try FileManager.default.removeItem(atPath: mount.path + "/buffers/go")
                for reader in readers {
                    let outcome = try reader.finish(within: 60)
                    let lines = (outcome.output + outcome.errors).split(separator: "\n").filter {
                        !$0.hasSuffix("No such file or directory") && !$0.hasSuffix("No such device")
                            && !$0.hasSuffix("Permission denied")
                            // Two directories that go while find opens them look to it like one (fts_build() of gnulib).
                            && !$0.contains("File system loop detected")
                    }
                    #expect(lines == [])
                }
                try mount.expectAgreement()
            }
        }
    }
}
