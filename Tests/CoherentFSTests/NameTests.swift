import AttributeTree
import CLinux
import CoherentMemory
import Glibc
import LinuxSupport
import SystemPackage
import Testing

@testable import CoherentFS
@testable import CoherentTree
@testable import Fuse

/// Names and paths below buffers/, whatever users make there.
@Suite("Names") struct NameTests {
    @Test("Directories are as deep as a path may be, and everything that tells their names goes on")
    func deep() throws {
        let scene = try Scene()
        let reader = scene.services.uevents.open(by: Uevent.Viewer(Credentials(Scene.alice)))
        var directories = [scene.buffers]
        var refusal: Errno?
        while refusal == nil, directories.count < 100_000 {
            do {
                directories.append(try scene.makeDirectory("d", in: directories.last!))
            } catch let error as Errno {
                refusal = error
            }
        }
        #expect(refusal == .fileNameTooLong)
        #expect(directories.count == 1 + (BufferPath.maximumLength + 1) / 2)
        #expect(throws: Errno.fileNameTooLong) { try scene.makeFile("f", in: directories.last!) }
        #expect(throws: Errno.fileNameTooLong) { try scene.makeDirectory("dd", in: directories[directories.count - 2]) }
        let events = scene.events(reader)
        let deepest =
            "/kernel/cdm/buffers/" + Array(repeating: "d", count: directories.count - 1).joined(separator: "/")
        #expect(events.last?["DEVPATH"] == deepest)
        // A tree is moved as a whole or not at all.
        #expect(throws: Errno.fileNameTooLong) {
            try scene.buffers.rename("d", to: "longer", in: scene.buffers, flags: 0)
        }
        try scene.buffers.rename("d", to: "e", in: scene.buffers, flags: 0)
        #expect(scene.events(reader).map { $0["DEVPATH"] } == ["/kernel/cdm/buffers/e"])
        #expect(try scene.inode("sys/kernel/cdm/buffers/e/d/d/d").number != scene.inode("buffers/e/d/d/d").number)
    }

    /// The same child for the same seed: the order of a dictionary is another in each process.
    private func randomChild(
        of directory: Model, _ generator: inout SeededGenerator
    ) -> (key: String, value: Model)? {
        directory.children.sorted { $0.key < $1.key }.randomElement(using: &generator)
    }

    /// What the directories should be.
    private final class Model {
        var children: [String: Model] = [:]
        let isDirectory: Bool
        weak var parent: Model?
        var inode: Inode

        init(_ inode: Inode, isDirectory: Bool) {
            self.inode = inode
            self.isDirectory = isDirectory
        }

        var length: Int {
            guard let parent, let name = parent.children.first(where: { $0.value === self })?.key else { return 0 }
            return parent.length(of: name)
        }

        func length(of name: String) -> Int {
            let length = length
            return (length > 0 ? length + 1 : 0) + name.utf8.count
        }

        /// The longest path below, from here, with a slash in front; 0 for none.
        var tail: Int { children.map { name, child in 1 + name.utf8.count + child.tail }.max() ?? 0 }

        func fits(_ name: String, _ child: Model? = nil) -> Bool {
            length(of: name) + (child?.tail ?? 0) <= BufferPath.maximumLength
        }

        func contains(_ other: Model) -> Bool {
            var model: Model? = other
            while let current = model {
                if current === self { return true }
                model = current.parent
            }
            return false
        }

        func put(_ child: Model?, _ name: String) {
            children[name] = child
            child?.parent = self
        }
    }

    @Test("Whatever is made, moved, exchanged and removed, no path is too long, and none is refused that is not")
    func walk() throws {
        let scene = try Scene()
        let root = Model(scene.buffers, isDirectory: true)
        var all = [root]
        // Two that are deep to begin with.
        for letter in ["c", "d"] {
            var parent = root
            for _ in 0..<14 {
                let name = String(repeating: letter, count: 255)
                let model = Model(try scene.makeDirectory(name, in: parent.inode), isDirectory: true)
                parent.put(model, name)
                all.append(model)
                parent = model
            }
        }
        var generator = SeededGenerator(state: 14)
        let lengths = [1, 2, 60, 61, 200, 201, 254, 255]
        var refused = 0
        for step in 0..<4000 {
            let directories = all.filter(\.isDirectory)
            // The deeper ones more often.
            let parent = directories[
                max(
                    Int.random(in: directories.indices, using: &generator),
                    Int.random(in: directories.indices, using: &generator))]
            let directory = parent.inode as! BufferDirectory
            let length = lengths.randomElement(using: &generator)!
            let name = String(repeating: Bool.random(using: &generator) ? "a" : "b", count: length)
            var expected: Errno?
            var found: Errno?
            func attempt(_ body: () throws(Errno) -> Void) {
                do throws(Errno) { try body() } catch { found = error }
            }
            switch Int.random(in: 0..<10, using: &generator) {
            case 0..<5:
                let isDirectory = Int.random(in: 0..<4, using: &generator) > 0
                expected = parent.children[name] != nil ? .fileExists : parent.fits(name) ? nil : .fileNameTooLong
                attempt { () throws(Errno) in
                    let inode =
                        isDirectory
                        ? try directory.makeDirectory(FileName(name), permissions: 0o755, caller: Scene.alice)
                        : try directory.makeFile(FileName(name), permissions: 0o600, caller: Scene.alice)
                    let model = Model(inode, isDirectory: isDirectory)
                    parent.put(model, name)
                    all.append(model)
                }
            case 5:
                guard let (name, child) = randomChild(of: parent, &generator) else { continue }
                expected = child.children.isEmpty ? nil : .directoryNotEmpty
                attempt { () throws(Errno) in
                    try directory.remove(FileName(name), isDirectory: child.isDirectory)
                    parent.put(nil, name)
                    all.removeAll { $0 === child }
                }
            default:
                let source = directories.randomElement(using: &generator)!
                guard let (old, child) = randomChild(of: source, &generator), !child.contains(parent)
                else {
                    continue
                }
                let target = parent.children[name]
                let from = source.inode as! BufferDirectory
                if Bool.random(using: &generator) {
                    guard let target, !target.contains(source), target !== child else { continue }
                    expected = parent.fits(name, child) && source.fits(old, target) ? nil : .fileNameTooLong
                    attempt { () throws(Errno) in
                        try from.rename(
                            FileName(old), to: FileName(name), in: directory, flags: UInt32(RENAME_EXCHANGE))
                        source.put(target, old)
                        parent.put(child, name)
                    }
                } else {
                    guard target !== child, target.map({ !$0.contains(source) }) ?? true else { continue }
                    if let target, target.isDirectory != child.isDirectory {
                        expected = child.isDirectory ? .notDirectory : .isDirectory
                    } else if !parent.fits(name, child) {
                        expected = .fileNameTooLong
                    } else if target?.children.isEmpty == false {
                        expected = .directoryNotEmpty
                    }
                    attempt { () throws(Errno) in
                        try from.rename(FileName(old), to: FileName(name), in: directory, flags: 0)
                        source.put(nil, old)
                        parent.put(child, name)
                        all.removeAll { $0 === target }
                    }
                }
            }
            #expect(found == expected, "step \(step)")
            if found == .fileNameTooLong { refused += 1 }
        }
        #expect(refused > 20 && all.count > 100)
        for model in all where model !== root {
            let path = scene.services.namespace.withLock { _ -> BufferPath? in
                let place = (model.inode as? BufferDirectory)?.place ?? (model.inode as? BufferFile)?.place
                return place.flatMap { $0.directory?.path(of: model.inode, under: $0.name) }
            }
            #expect(path?.length == model.length && path?.text.utf8.count == model.length)
        }
    }

    @Test("An event tells a path to those who could list it when it happened, and others a number")
    func closedDoors() throws {
        let scene = try Scene()
        let readers = [Scene.alice, Scene.bob, Scene.root].map {
            scene.services.uevents.open(by: Uevent.Viewer(Credentials($0)))
        }
        let open = try scene.makeDirectory("open")
        let closed = try scene.makeDirectory("closed", in: open, mode: 0o700)
        let secret = try scene.makeFile("secret", in: closed)
        let below = try scene.makeDirectory("below", in: closed, mode: 0o777)
        try scene.makeFile("x", in: below, mode: 0o666)
        try closed.rename("secret", to: "found", in: open, flags: 0)
        try open.remove("found", isDirectory: false)
        try below.remove("x", isDirectory: false)
        try closed.remove("below", isDirectory: true)
        // To search it is not to see its names.
        let searched = try scene.makeDirectory("searched", mode: 0o711)
        let unseen = try scene.makeFile("unseen", in: searched, mode: 0o666)
        var mode = stat()
        mode.st_mode = 0o755
        try searched.change(
            AttributeChanges(mode, AttributeChanges.Fields.mode.rawValue), caller: Scene.alice, isOpen: false)
        try searched.remove("unseen", isDirectory: false)
        let odd = try scene.makeFile("inode:7")
        #expect(odd.number.rawValue != 7)

        let seen = readers.map { scene.events($0) }
        let root = "/kernel/cdm/buffers/"
        let paths = [
            "open", "open/closed", "open/closed/secret", "open/closed/below", "open/closed/below/x", "open/found",
            "open/found", "open/closed/below/x", "open/closed/below", "searched", "searched/unseen", "searched/unseen",
            "\\151node:7",
        ].map { root + $0 }
        #expect(seen[2].map { $0["DEVPATH"] } == paths && seen[0].map { $0["DEVPATH"] } == paths)
        func hidden(_ inode: Inode) -> String { "\(root)inode:\(inode.number.rawValue)" }
        let x = seen[1][4]["DEVPATH"]
        #expect(x?.hasPrefix(root + "inode:") == true)
        #expect(
            seen[1].map { $0["DEVPATH"] } == [
                paths[0], paths[1], hidden(secret), hidden(below), x, paths[5], paths[6], x, hidden(below), paths[9],
                hidden(unseen), paths[11], paths[12],
            ])
        #expect(seen[0][5]["DEVPATH_OLD"] == root + "open/closed/secret")
        #expect(seen[1][5]["DEVPATH_OLD"] == hidden(secret))
        #expect(seen.allSatisfy { $0.compactMap { $0["SEQNUM"] } == (1...13).map(String.init) })
    }

    @Test("Who does not read makes nobody keep more than a megabyte of events")
    func slowReader() throws {
        let scene = try Scene()
        var directory = scene.buffers
        for _ in 0..<15 { directory = try scene.makeDirectory(String(repeating: "x", count: 250), in: directory) }
        let reader = scene.services.uevents.open(by: Uevent.Viewer(Credentials(Scene.alice)))
        let name = String(repeating: "n", count: 200)
        for _ in 0..<500 {
            try scene.makeFile(name, in: directory)
            try directory.remove(FileName(name), isDirectory: false)
        }
        var text = 0
        var events: [[String: String]] = []
        while let part = scene.services.uevents.take(reader, size: 1 << 17) {
            #expect(part.count <= 1 << 17)
            text += part.count
            let pieces = String(decoding: part, as: UTF8.self).split(separator: "\n\n")
            events += pieces.map { piece in
                piece.split(separator: "\n").reduce(into: [:]) { fields, line in
                    let pair = line.split(separator: "=", maxSplits: 1)
                    fields[String(pair[0])] = String(pair[1])
                }
            }
        }
        #expect(text <= UeventLog.byteCapacity + 100)
        let lost = try #require(events.first?["COUNT"].flatMap { Int($0) })
        #expect(lost > 700 && events.first?["ACTION"] == "lost")
        #expect(events.dropFirst().compactMap { $0["SEQNUM"] } == (lost + 16...1015).map(String.init))
    }

    @Test("Controls belong to whom the data belongs to, and are no more open, at once")
    func ownership() throws {
        let scene = try Scene()
        let directory = try scene.makeDirectory("d", mode: 0o2750)
        try scene.makeFile("f", in: directory, mode: 0o640)
        func shown(_ path: String) throws -> (mode: UInt32, uid: UInt32, gid: UInt32, isTrusted: Bool) {
            let inode = try scene.inode("sys/kernel/cdm/buffers/" + path)
            let attributes = inode.attributes
            return (attributes.permissions, attributes.uid, attributes.gid, inode.attributeTimeout > 0)
        }
        #expect(try shown("") == (0o1777, owner.uid, owner.gid, false))
        #expect(try shown("d") == (0o2750, 1000, 1000, false))
        #expect(try shown("d/f") == (0o750, 1000, 1000, false))
        #expect(try shown("d/f/policy") == (0o644, 1000, 1000, false))
        #expect(try shown("d/f/pages") == (0o444, 1000, 1000, false))
        // What it takes away, it takes from all.
        #expect(try shown("d/f/poison") == (0o200, owner.uid, owner.gid, false))
        var values = stat()
        (values.st_mode, values.st_uid, values.st_gid) = (0o604, 2000, 3000)
        let changes = AttributeChanges(values, 0b111)
        try scene.inode("buffers/d/f").change(changes, caller: Scene.root, isOpen: false)
        #expect(try shown("d/f") == (0o705, 2000, 3000, false))
        #expect(try shown("d/f/policy") == (0o644, 2000, 3000, false))
        try directory.change(changes, caller: Scene.root, isOpen: false)
        #expect(try shown("d") == (0o604, 2000, 3000, false))
        #expect(try scene.inode("sys/kernel/cdm/vmstat").attributeTimeout > 0)
        let device = try scene.inode("dev/cdm0")
        #expect(device.attributes.permissions == 0o660)
        try device.change(changes, caller: Scene.root, isOpen: false)
        let control = try scene.inode("sys/class/cdm/cdm0/buffer/migrate").attributes
        #expect(control.uid == 2000 && control.permissions == 0o644)
        #expect(try scene.inode("sys/class/cdm/cdm0/buffer").attributes.permissions == 0o755)
    }

    @Test("Extended attributes that are controls are for owners and root, whoever may write")
    func extendedAttributes() throws {
        let scene = try Scene()
        let file = try scene.makeFile("f", mode: 0o666)
        for (name, value) in [("policy", "bind:1"), ("pinned", "1"), ("huge", "always"), ("mapping", "tracked")] {
            func store(_ caller: Caller) throws(Errno) {
                _ = try file.storeExtendedAttribute("user.cdm." + name, Array(value.utf8), flags: 0, caller: caller)
            }
            #expect(throws: Errno.notPermitted, "\(name)") { try store(Scene.bob) }
            try store(Scene.alice)
            try store(Scene.root)
        }
        #expect(file.buffer.isPinned && "\(file.buffer.policy)" == "bind:1")
    }

    @Test("Blockers name a buffer to those who can list its path")
    func blockers() throws {
        let scene = try Scene()
        let closed = try scene.makeDirectory("closed", mode: 0o700)
        let file = try scene.makeFile("a b", in: closed)
        try scene.machine.resize(file.buffer, to: 8192, origin: Origin(pid: 0, node: 0))
        try scene.machine.allocate(
            file.buffer, bytes: 0..<8192, keepsSize: true, origin: Origin(pid: 0, node: 0), isCancelled: { false })
        try scene.machine.setPinned(true, of: file.buffer)
        let node = try #require(scene.machine.node(0))
        func listed(_ caller: Caller) throws -> String {
            let opener = Opener(task: 0, uid: caller.uid, gid: caller.gid)
            return try BlockerListing.attribute.bound(to: BlockerListing(scene.services.base, node, opener)).show()
        }
        #expect(try listed(Scene.alice) == "0x0 0x2000 pinned closed/a\\040b -\n")
        #expect(try listed(Scene.root) == "0x0 0x2000 pinned closed/a\\040b -\n")
        #expect(try listed(Scene.bob) == "0x0 0x2000 pinned inode:\(file.number.rawValue) -\n")
        try closed.remove("a b", isDirectory: false)
    }

    @Test("A task's groups and capabilities are those of Linux")
    func credentials() throws {
        // This task, whoever that is.
        let own = Credentials(task: gettid(), uid: geteuid(), gid: getegid())
        #expect(own.areOwners(of: geteuid()))
        #expect(own.areOwners(of: geteuid() + 1) == (geteuid() == 0))
        let stranger = Credentials(Scene.bob)
        #expect(stranger.areOwners(of: 2000) && !stranger.areOwners(of: 1000))
        func may(_ credentials: Credentials, _ mode: UInt32, _ uid: UInt32, _ gid: UInt32) -> Bool {
            credentials.mayLookInto(
                Directory.Ownership(permissions: FilePermissions(rawValue: mode), uid: uid, gid: gid))
        }
        #expect(may(stranger, 0o005, 1, 1) && may(stranger, 0o050, 1, 2000) && may(stranger, 0o500, 2000, 1))
        // The first that fits counts, and it takes both to read and to search.
        #expect(!may(stranger, 0o077, 2000, 2000) && !may(stranger, 0o707, 1, 2000) && !may(stranger, 0o001, 1, 1))
        #expect(!may(stranger, 0o774, 1, 1))
    }
}

/// Numbers that are the same in each run (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
