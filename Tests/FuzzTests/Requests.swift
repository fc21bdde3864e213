import Fuse
import Glibc

@testable import CoherentFS

/// Bytes as a sequence of requests such as a kernel sends for a hostile user: inodes and open files are those it was told of and
/// lengths are within its limits, but names, values, offsets and the order of calls are anything.
struct Requests {
    private let world: World
    private let wire: Wire
    private var input: ArraySlice<UInt8>
    /// What the kernel knows, and how often it was told of each.
    private var lookups: [UInt64: UInt64] = [:]
    private var nodes: [UInt64] = [1]
    private var files: [(node: UInt64, handle: UInt64, isDirectory: Bool)] = []

    private static let names = [
        "a", "b", "d", "g", "buffers", "sys", "dev", "cdm0", "cdm1", "hmm_dmirror0", "kernel", "cdm", "uevents",
        "class",
        "migrate", "policy", "pages", "queue", "submit", "results", "fs", "cgroup", "devices", "system", "node",
        "node1",
        "user.cdm.policy", "user.cdm.mapping", "user.cdm.pages", "user.x", "security.capability", "trusted.x", ".",
        "..",
        "new", "e\u{301}", "é",
    ]
    private static let texts = [
        "1", "0", "async 1", "0 4096 1", "bind:1", "direct", "tracked", "always", "cancel", "fill a 0 4096 1", "online",
        "offline", "9223372036854775807 1 0",
    ]
    /// What a walk begins with, so that few bytes reach deep.
    private static let paths = [
        "buffers/a", "buffers/d/b", "dev/cdm0", "dev/hmm_dmirror0", "sys/kernel/cdm/uevents",
        "sys/kernel/cdm/buffers/a/migrate", "sys/kernel/cdm/buffers/a/pages", "sys/kernel/cdm/buffers/d",
        "sys/class/cdm/cdm0/queue/submit", "sys/class/cdm/cdm0/state", "sys/fs/cgroup/g/cgroup.procs",
        "sys/devices/system/node/node1/cdm/blockers",
    ]

    init(_ bytes: [UInt8], overRing: Bool) throws {
        world = try World()
        wire = try Wire(world.fileSystem, overRing: overRing)
        input = bytes[...]
    }

    mutating func run() {
        for path in Self.paths {
            var node: UInt64 = 1
            for name in path.split(separator: "/") where node != 0 { node = look(up: Array(name.utf8), in: node) }
        }
        while !input.isEmpty { step() }
        for file in files { release(file) }
        for (node, count) in lookups { forget(node, count) }
        precondition(world.fileSystem.services.inodes[.root] != nil)
        world.end()
        wire.end()
    }

    // MARK: Choices

    private mutating func byte() -> UInt8 { input.popFirst() ?? 0 }

    /// Any number, mostly one at an edge.
    private mutating func number() -> UInt64 {
        let choice = byte()
        if choice < 96 { return UInt64(choice) }
        if choice < 112 { return (0..<8).reduce(0) { value, _ in value << 8 | UInt64(byte()) } }
        let shift = UInt64(choice % 64)
        return (1 << shift) &+ UInt64(bitPattern: Int64(Int8(bitPattern: byte())))
    }

    /// What passes for an offset: the kernel lets no negative one through, nor a range that ends beyond 2⁶³ − 1.
    private mutating func range(upTo limit: UInt64 = .max) -> (offset: UInt64, length: UInt64) {
        let offset = number() & UInt64(Int64.max)
        return (offset, min(number(), limit, UInt64(Int64.max) - offset))
    }

    private mutating func choose<Element>(_ elements: [Element]) -> Element { elements[Int(byte()) % elements.count] }

    private mutating func take(_ count: Int) -> [UInt8] {
        defer { input = input.dropFirst(count) }
        return Array(input.prefix(count))
    }

    /// A name without a slash or NUL, of 255 bytes at most.
    private mutating func name() -> [UInt8] {
        let choice = byte()
        if choice < 160 { return Array(choose(Self.names).utf8) }
        if choice < 200 { return [UInt8](repeating: byte() | 1, count: 255).map { $0 == 0x2f ? 0x2e : $0 } }
        let name = take(Int(byte())).filter { $0 != 0 && $0 != 0x2f }
        return name.isEmpty ? [0xff] : name
    }

    private mutating func data() -> [UInt8] {
        switch byte() {
        case 0..<128: Array(choose(Self.texts).utf8)
        case 128..<160: [UInt8](repeating: byte(), count: 1 << Int(byte() % 18))
        default: take(Int(byte()))
        }
    }

    private mutating func file() -> (node: UInt64, handle: UInt64, isDirectory: Bool)? {
        files.isEmpty ? nil : choose(files)
    }

    // MARK: Calls

    private mutating func call(_ opcode: UInt32, _ node: UInt64, _ fixed: [UInt8] = [], _ payload: [UInt8] = [])
        -> Wire.Answer?
    {
        wire.call(
            opcode, node: node, uid: opcode % 3 == 0 ? 0 : 1000, pid: opcode == 39 ? 0 : UInt32(getpid()), fixed: fixed,
            payload: payload)
    }

    /// Counts what an answer with a struct fuse_entry_out tells of; returns its inode.
    @discardableResult
    private mutating func note(_ answer: Wire.Answer?) -> UInt64 {
        guard let answer, answer.error == 0 else { return 0 }
        precondition(answer.payload.count >= 128, "an entry of \(answer.payload.count) bytes")
        return note(node: answer.payload.long(0))
    }

    @discardableResult
    private mutating func note(node: UInt64) -> UInt64 {
        guard node != 0 else { return 0 }
        if lookups[node] == nil { nodes.append(node) }
        lookups[node, default: 0] += 1
        return node
    }

    @discardableResult
    private mutating func look(up name: [UInt8], in node: UInt64) -> UInt64 { note(call(1, node, [], name + [0])) }

    private mutating func forget(_ node: UInt64, _ count: UInt64) { _ = call(2, node, longs(count)) }

    private mutating func release(_ file: (node: UInt64, handle: UInt64, isDirectory: Bool)) {
        _ = call(file.isDirectory ? 29 : 18, file.node, longs(file.handle) + words(0, 0) + longs(0))
    }

    private mutating func step() {
        let node = choose(nodes)
        switch byte() % 24 {
        case 0, 1: look(up: name(), in: node)
        case 2: _ = call(3, node, words(0, 0) + longs(0))
        case 3: change(node)
        case 4: _ = call(5, node)
        case 5: note(call(8, node, words(UInt32(byte()) << 12 | 0o644, 0, 0, 0), name() + [0]))
        case 6: note(call(9, node, words(UInt32(byte()) << 2, 0), name() + [0]))
        case 7: _ = call(byte() % 2 == 0 ? 10 : 11, node, [], name() + [0])
        case 8:
            let (old, new) = (name(), name())
            _ = call(45, node, longs(choose(nodes)) + words(UInt32(byte() % 8), 0), old + [0] + new + [0])
        case 9, 10: open(node, isDirectory: false)
        case 11: open(node, isDirectory: true)
        case 12: create(node)
        case 13, 14: readOrWrite()
        case 15: list()
        case 16: setAttribute(node)
        case 17:
            let size = UInt32(truncatingIfNeeded: min(number(), 65536))
            expect(call(22, node, words(size, 0), name() + [0]), atMost: size == 0 ? 8 : Int(size))
        case 18: _ = byte() % 2 == 0 ? call(23, node, words(4096, 0)) : call(24, node, [], name() + [0])
        case 19: control()
        case 20: allocate()
        case 21: poll()
        case 22: _ = byte() % 2 == 0 ? call(17, node) : call(34, node, words(UInt32(byte() % 8), 0))
        default: close(node)
        }
    }

    private func expect(_ answer: Wire.Answer?, atMost size: Int) {
        precondition((answer?.payload.count ?? 0) <= size, "more than was asked for")
    }

    private mutating func change(_ node: UInt64) {
        let file = byte() % 2 == 0 ? file() : nil
        let valid = UInt32(byte()) | UInt32(byte() % 8) << 8
        let size = number() & UInt64(Int64.max)
        let times = longs(number(), number(), number()) + words(0, 999_999_999, 1)
        let fixed =
            words(file == nil ? valid & ~64 : valid | 64, 0) + longs(file?.handle ?? 0, size, 0) + times
            + words(UInt32(byte()) << 4, 0, UInt32(byte()), UInt32(byte()), 0)
        _ = call(4, file?.node ?? node, fixed)
    }

    private mutating func open(_ node: UInt64, isDirectory: Bool) {
        let flags = UInt32(byte() % 3) | UInt32(O_NONBLOCK)
        guard let answer = call(isDirectory ? 27 : 14, node, words(flags, 0)), answer.error == 0 else { return }
        files.append((node, answer.payload.long(0), isDirectory))
    }

    private mutating func create(_ node: UInt64) {
        guard let answer = call(35, node, words(2, 0o100644, 0o022, 0), name() + [0]), answer.error == 0 else { return }
        precondition(answer.payload.count == 144, "CREATE's answer has \(answer.payload.count) bytes")
        files.append((note(answer), answer.payload.long(128), false))
    }

    private mutating func readOrWrite() {
        guard let file = file(), !file.isDirectory else { return }
        let isOwned = UInt64(byte() % 2)
        if byte() % 2 == 0 {
            let (offset, size) = range(upTo: 131_072)
            let fixed =
                longs(file.handle, offset) + words(UInt32(size), UInt32(isOwned) << 1) + longs(isOwned)
                + words(UInt32(O_NONBLOCK), 0)
            expect(call(15, file.node, fixed), atMost: Int(size))
        } else {
            let data = data()
            let offset = min(number() & UInt64(Int64.max), UInt64(Int64.max) - UInt64(data.count))
            let fixed =
                longs(file.handle, offset) + words(UInt32(data.count), UInt32(byte() % 2)) + longs(isOwned)
                + words(2, 0)
            let answer = call(16, file.node, fixed, data)
            if let answer, answer.error == 0 { precondition(answer.payload.word(0) <= data.count, "too much written") }
        }
    }

    private mutating func list() {
        guard let file = file(), file.isDirectory else { return }
        let isPlus = byte() % 2 == 0
        let size = UInt32(64 + Int(byte()) * 64)
        let fixed = longs(file.handle, number() & UInt64(Int64.max)) + words(size, 0) + longs(0) + words(0, 0)
        let answer = call(isPlus ? 44 : 28, file.node, fixed)
        expect(answer, atMost: Int(size))
        var rest = (answer?.payload ?? [])[...]
        while !rest.isEmpty {
            // struct fuse_direntplus is struct fuse_entry_out and struct fuse_dirent.
            let entry = Array(rest)
            let start = isPlus ? 128 : 0
            precondition(entry.count >= start + 24, "half an entry of a directory")
            let length = (start + 24 + Int(entry.word(start + 16)) + 7) & ~7
            precondition(length <= entry.count, "half a name of a directory")
            if isPlus { note(node: entry.long(0)) }
            rest = rest.dropFirst(length)
        }
    }

    private mutating func setAttribute(_ node: UInt64) {
        let (name, value) = (name(), data())
        _ = call(21, node, words(UInt32(value.count), UInt32(byte() % 4)), name + [0] + value.prefix(65536))
    }

    private mutating func control() {
        guard let file = file(), !file.isDirectory else { return }
        // Those of struct hmm_dmirror_cmd, mostly.
        let command = byte() < 200 ? 0xc028_4800 | UInt32(byte() % 12) : UInt32(truncatingIfNeeded: number())
        let size = Int(command >> 16) & 0x3fff
        let input = (0..<(size + 7) / 8).flatMap { _ in longs(number()) }.prefix(size)
        let fixed = longs(file.handle) + words(0, command) + longs(number()) + words(UInt32(size), UInt32(size))
        expect(call(39, file.node, fixed, Array(input)), atMost: 16 + size)
    }

    private mutating func allocate() {
        guard let file = file(), !file.isDirectory else { return }
        if byte() % 2 == 0 {
            let (offset, length) = range()
            guard length > 0 else { return }
            _ = call(43, file.node, longs(file.handle, offset, length) + words(UInt32(byte() % 64), 0))
        } else {
            _ = call(46, file.node, longs(file.handle, number()) + words(UInt32(byte() % 6), 0))
        }
    }

    private mutating func poll() {
        guard let file = file(), !file.isDirectory else { return }
        _ = call(40, file.node, longs(file.handle, number()) + words(UInt32(byte() % 2), 0xffff))
    }

    private mutating func close(_ node: UInt64) {
        if byte() % 2 == 0, !files.isEmpty {
            release(files.remove(at: Int(byte()) % files.count))
        } else if let count = lookups[node], !files.contains(where: { $0.node == node }) {
            lookups[node] = nil
            nodes.removeAll { $0 == node }
            forget(node, count)
        }
    }
}
