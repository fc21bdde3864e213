import AttributeTree
import CoherentMemory
import CoherentTree
import LinuxSupport
import SystemPackage
import TestSupport
import Testing

private let memory = "devices/system/memory"

/// The sys/ tree without a mount.
@Suite("Tree") struct TreeTests {
    @Test("Every text is whole and in its format, and every name is found")
    func formats() throws {
        let scene = try Scene()
        try scene.makeBuffer("a", pages: 8)
        let formats = TextFormats()
        var count = 0
        try scene.walk { path, item in
            switch item {
            case .attribute(let attribute):
                // The one that is no text.
                if attribute.name == "config" {
                    #expect(try attribute.opened().bytes().count == attribute.size, "\(path)")
                    return
                }
                #expect(attribute.size == 4096, "\(path)")
                guard attribute.permissions.contains(.ownerRead) else { return }
                let text = try attribute.opened().show()
                #expect(formats.isWhole(text, of: attribute.name), "\(path): \(text)")
                #expect(!text.hasSuffix("\n\n"), "\(path)")
                count += 1
            case .link(let target): #expect(!target.isEmpty && !target.hasPrefix("/"), "\(path)")
            case .stream, .directory: break
            }
        }
        #expect(count > 100)
        #expect(throws: Errno.noSuchFileOrDirectory) { try scene.item("devices/system/node/node3") }
        #expect(throws: Errno.noSuchFileOrDirectory) { try scene.item("devices/system/node/node01") }
    }

    @Test("A link leads somewhere inside the tree")
    func links() throws {
        let scene = try Scene()
        scene.walk { path, item in
            guard case .link(let target) = item else { return }
            var names = path.split(separator: "/").dropLast()
            for part in target.split(separator: "/") {
                if part == ".." { names.removeLast() } else { names.append(part) }
            }
            // Out of sys/ lead those to dev/ and buffers/, which are not this tree's.
            #expect(throws: Never.self, "\(path) -> \(target)") { try scene.item(names.joined(separator: "/")) }
        }
    }

    @Test("What a store refuses changes nothing")
    func refusals() throws {
        let scene = try Scene()
        try scene.makeBuffer("a", pages: 4)
        let controls = "kernel/cdm/buffers/a"
        for (file, text, error) in [
            ("policy", "bind:9", Errno.invalidArgument), ("policy", "nonsense", .invalidArgument),
            ("migrate", "7", .operationNotSupportedByDevice), ("migrate", "0 1 0", .invalidArgument),
            ("migrate", "18446744073709551615 2 0", .invalidArgument), ("huge", "sometimes", .invalidArgument),
            ("pinned", "2", .invalidArgument), ("contiguous", "0", .invalidArgument),
        ] {
            let before = try scene.text("\(controls)/\(file)")
            #expect(throws: error, "\(file): \(text)") { try scene.store(text, in: "\(controls)/\(file)") }
            #expect(try scene.text("\(controls)/\(file)") == before)
        }
        #expect(throws: Errno.permissionDenied) { try scene.store("1", in: "\(controls)/size") }
    }

    private static let inputs: [(name: String, text: String)] = [
        ("a word", "garbage\n"), ("a newline", "\n"), ("a NUL byte", "\0"), ("a NUL byte inside", "1\u{0}2"),
        ("a negative number", "-1\n"), ("a number of 20 digits", "99999999999999999999\n"), ("half a number", "0x\n"),
        ("a number and a word", "1x\n"), ("a format", "%s%n%p\n"), ("spaces", "   \n"),
    ]

    @Test("Garbage to every writable attribute is refused and changes nothing", arguments: inputs)
    func garbage(name: String, text: String) throws {
        let scene = try Scene()
        try scene.makeBuffer("a", pages: 256)
        // kstrtobool() looks at the first letters only.
        let truths = ["/online", "/demotion_enabled", "/weighted_interleave/auto"]
        let isTruth = text.utf8.first.map { "01".utf8.contains($0) } == true && !text.utf8.contains(0)
        var count = 0
        try scene.walk { path, item in
            guard case .attribute(let attribute) = item, attribute.isWritable else { return }
            // Whatever is written to compact asks for it, as in Linux.
            if attribute.name == "compact" || isTruth && truths.contains(where: path.hasSuffix) { return }
            count += 1
            let isReadable = attribute.permissions.contains(.ownerRead)
            let before = isReadable ? try scene.text(path) : ""
            let error = #expect(throws: Errno.self, "\(path) took \(name)") { try scene.store(text, in: path) }
            let isKnown =
                switch attribute.name {
                // What takes a name of a device has it from Linux that there is none of this name.
                case "bind", "unbind": error == .operationNotSupportedByDevice
                case "delete": error == .noSuchAddressOrDevice
                default: error == .outOfRange
                }
            #expect(error == nil || error == .invalidArgument || isKnown, "\(path), \(name): \(error!)")
            // The root group's tasks are the host's, which come and go.
            guard isReadable, path != "/fs/cgroup/cgroup.procs" else { return }
            #expect(try scene.text(path) == before, "\(path), \(name)")
        }
        #expect(count > 30)
        #expect(try scene.word("kernel/cdm/buffers/a/placement") == "N0=256")
    }

    @Test("Pages move to a node and back, and the job is in the list")
    func migration() throws {
        let scene = try Scene()
        try scene.makeBuffer("a", pages: 16)
        let migrate = "kernel/cdm/buffers/a/migrate"
        for round in 1...4 {
            try scene.store("\(round % 2)", in: migrate)
            #expect(try scene.word(migrate).hasPrefix("state=done moved=16 failed=0 bytes=65536 "))
            #expect(try scene.word("kernel/cdm/buffers/a/placement") == "N\(round % 2)=16")
        }
        let jobs = try scene.text("kernel/cdm/jobs").split(separator: "\n").map { $0.split(separator: " ") }
        #expect(jobs.map { $0[0] } == ["1", "2", "3", "4"] && jobs.allSatisfy { $0[1] == "buffer" && $0[6] == "done" })
        #expect(jobs.map { $0[2] } == ["0", "1", "0", "1"] && jobs.allSatisfy { $0[4] == "16/16" })
        for (text, error) in [
            ("", Errno.invalidArgument), ("cancel", .invalidArgument), ("cancel x", .invalidArgument),
            ("end 1", .invalidArgument), ("cancel 1 2", .invalidArgument), ("cancel 99", .noSuchProcess),
            ("cancel 1", .noSuchProcess),
        ] { #expect(throws: error, "\(text)") { try scene.store(text, in: "kernel/cdm/jobs") } }
    }

    @Test("A device executes commands on files by their names")
    func commands() throws {
        let scene = try Scene()
        try scene.makeBuffer("a", pages: 4)
        let queue = "class/cdm/cdm0/queue"
        try scene.store("fill a 0 4096 7\ncrc32 a 0 4096", in: "\(queue)/submit")
        #expect(scene.machine.device(named: "cdm0")?.queue.waitUntilIdle(seconds: 20) == true)
        #expect(try scene.text("\(queue)/results").hasPrefix("1 ok 4096\n2 ok "))
        #expect(throws: Errno.noSuchFileOrDirectory) { try scene.store("fill b 0 1 1", in: "\(queue)/submit") }
        #expect(throws: Errno.invalidArgument) { try scene.store("fill a 0 4096 7 9", in: "\(queue)/submit") }
        #expect(throws: Errno.outOfRange) { try scene.store("fill a 0 4096 256", in: "\(queue)/submit") }
    }
}

/// sys/kernel/cdm/uevents without a mount.
@Suite("Events of the tree") struct TreeEventTests {
    private let root = Uevent.Viewer(Credentials(task: 0, uid: 0, gid: 0))

    private func text(_ scene: Scene, _ reader: UeventLog.Reader, _ size: Int = 1 << 16) -> String? {
        scene.services.uevents.take(reader, size: size).map { String(decoding: $0, as: UTF8.self) }
    }

    private func event(_ action: String, _ block: UInt64, _ number: Int) -> String {
        "ACTION=\(action)\nDEVPATH=/devices/system/memory/memory\(block)\nSUBSYSTEM=memory\nSEQNUM=\(number)\n\n"
    }

    @Test("The text of an event, and each open starts at now")
    func text() throws {
        let scene = try Scene()
        let log = scene.services.uevents
        let block = try scene.block(ofNode: 1)
        let first = log.open(by: root)
        #expect(text(scene, first) == nil && !log.isReadable(first))
        try scene.store("offline", in: "\(memory)/memory\(block)/state")
        let second = log.open(by: root)
        try scene.store("1", in: "\(memory)/memory\(block)/online")
        #expect(log.isReadable(first))
        #expect(text(scene, first) == event("offline", block, 1) + event("online", block, 2))
        #expect(text(scene, second) == event("online", block, 2) && text(scene, first) == nil)
        // What changes nothing is no event.
        #expect(throws: Errno.invalidArgument) { try scene.store("online", in: "\(memory)/memory\(block)/state") }
        #expect(text(scene, first) == nil && text(scene, second) == nil)
    }

    @Test("A read too small for an event gets it in pieces, a larger one whole events")
    func sizes() throws {
        let scene = try Scene()
        let block = try scene.block(ofNode: 1)
        let (reader, bytewise) = (scene.services.uevents.open(by: root), scene.services.uevents.open(by: root))
        for word in ["offline", "online"] { try scene.store(word, in: "\(memory)/memory\(block)/state") }
        let events = [text(scene, reader, 100), text(scene, reader, 100), text(scene, reader, 100)]
        #expect(events[0]?.hasSuffix("SEQNUM=1\n\n") == true && events[1]?.hasSuffix("SEQNUM=2\n\n") == true)
        #expect(events[2] == nil)
        var pieces = ""
        while let byte = text(scene, bytewise, 1) { pieces += byte }
        #expect(pieces == events.compactMap(\.self).joined())
    }

    @Test("A read waits for an event, or is given up, and is answered once")
    func waiting() throws {
        let scene = try Scene()
        let log = scene.services.uevents
        let block = try scene.block(ofNode: 1)
        let reader = log.open(by: root)
        let answers = TracedMutex<[String?]>([])
        func wait() -> @Sendable () -> Void {
            reader.waiting.wait(size: 4096) { bytes in
                answers.withLock { $0.append(bytes.map { String(decoding: $0, as: UTF8.self) }) }
            }
        }
        let giveUp = wait()
        log.deliver()
        #expect(answers.withLock { $0.isEmpty })
        giveUp()
        giveUp()
        #expect(answers.withLock { $0 } == [nil])
        let late = wait()
        try scene.store("offline", in: "\(memory)/memory\(block)/state")
        late()
        #expect(answers.withLock { $0 } == [nil, event("offline", block, 1)])
    }
}
