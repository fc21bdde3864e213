import AttributeTree
import Synchronization
import SystemPackage
import Testing

@Suite struct DirectoryTests {
    @Test func fixedChildrenAreListedInOrderAndFound() throws {
        let directory = Directory([
            .attributes(Lamp.attributes, of: Lamp()),
            .link("subsystem", target: "../../class/lamp"),
            .directory("power", [.link("x", target: "y")]),
        ])
        #expect(directory.names == Lamp.attributes.map(\.name) + ["subsystem", "power"])
        #expect(directory.permissions.rawValue == 0o755)
        #expect(directory.lookup("nothing") == nil)
        guard case .attribute(let level)? = directory.lookup("level"),
            case .link(let target)? = directory.lookup("subsystem"),
            case .directory(let power)? = directory.lookup("power")
        else {
            Issue.record("a child is missing or of another kind")
            return
        }
        #expect(try level.show() == "3\n")
        #expect(target == "../../class/lamp")
        #expect(power.names == ["x"])
    }

    @Test func dynamicChildrenComeAndGo() {
        let ids = Mutex([2, 1])
        let directory = Directory([
            .link("fixed", target: "a"),
            .dynamic(
                list: { ids.withLock { $0.map { "lamp\($0)" } } + ["fixed"] },
                lookup: { name in
                    let id = ids.withLock { $0.first { name == "lamp\($0)" } }
                    return id.map { .directory(Directory(identity: .init($0))) }
                }),
        ])
        #expect(directory.names == ["fixed", "lamp2", "lamp1"])
        #expect(directory.lookup("lamp1") != nil)
        ids.withLock { $0 = [2] }
        #expect(directory.lookup("lamp1") == nil)
        #expect(directory.children.map(\.name) == ["fixed", "lamp2"])
    }

    @Test func placesAreListedBitByBit() {
        let places = Directory.Places(last: { 9 }) { range in
            range.filter { $0.isMultiple(of: 3) }.prefix(2).map { ($0, "lamp\($0)", .directory) }
        }
        let lamps = Child.dynamic(places: places) { name in
            name == "lamp3" ? .directory(Directory(identity: .init(name))) : nil
        }
        let directory = Directory([lamps])
        #expect(directory.directoryCount == 4 && directory.hasChangingDirectories)
        #expect(directory.places?.list(4...9).map(\.name) == ["lamp6", "lamp9"])
        #expect(directory.entries.map(\.name) == ["lamp0", "lamp3", "lamp6", "lamp9"])
        #expect(directory.names == directory.entries.map(\.name) && directory.find("lamp3")?.isLasting == false)
        #expect(directory.lookup("lamp6") == nil)
        // Beside other children there is but the whole.
        let mixed = Directory([.link("fixed", target: "a"), lamps])
        #expect(mixed.directoryCount == 4)
        #expect(mixed.places == nil && mixed.names == ["fixed", "lamp0", "lamp3", "lamp6", "lamp9"])
    }

    @Test func onlyDirectoriesAreCounted() {
        let directory = Directory([
            .attributes(Lamp.attributes, of: Lamp()), .link("link", target: "a"), .directory("a", []),
            .lasting(.link, list: { ["b"] }, lookup: { _ in .link("a") }),
            .mortal(.directory, list: { ["c", "d"] }, lookup: { _ in (.directory(Directory([])), nil) }),
            .dynamic(list: { ["e", "f"] }, lookup: { $0 == "e" ? .link("a") : .directory(Directory([])) }),
        ])
        #expect(directory.directoryCount == 4 && directory.hasChangingDirectories)
        #expect(directory.directoryCount == directory.entries.count { $0.kind == .directory })
        let fixed = Directory([.directory("a", []), .lasting(.file, list: { ["b"] }, lookup: { _ in nil })])
        #expect(fixed.directoryCount == 1 && !fixed.hasChangingDirectories)
    }

    @Test func anOpenFileHasASubjectOfItsOwn() throws {
        let level = try #require(Lamp.attributes.first { $0.name == "on" })
        let directory = Directory([.attribute(level, perOpenFile: { _ in Lamp() })])
        guard case .attribute(let attribute)? = directory.lookup("on") else {
            Issue.record("no attribute")
            return
        }
        let (first, second) = (attribute.opened(), attribute.opened())
        _ = try first.store(Array("1".utf8))
        #expect(try first.show() == "1\n")
        #expect(try second.show() == "0\n")
        #expect(!attribute.showsInJob && level.shownInJob().bound(to: Lamp()).showsInJob)
    }

    @Test func directoriesAreMadeWhereThereIsAMaker() throws {
        let names = Mutex<Set<String>>([])
        let directory = Directory(
            maker: Directory.Maker(
                make: { name throws(Errno) in
                    guard names.withLock({ $0.insert(name).inserted }) else { throw .fileExists }
                },
                remove: { name throws(Errno) in
                    guard names.withLock({ $0.remove(name) }) != nil else { throw .noSuchFileOrDirectory }
                }),
            [
                .dynamic(
                    list: { names.withLock { $0.sorted() } },
                    lookup: { name in names.withLock { $0.contains(name) } ? .directory(Directory()) : nil })
            ])
        let maker = try #require(directory.maker)
        try maker.make("a")
        #expect(directory.names == ["a"] && directory.lookup("a") != nil)
        #expect(throws: Errno.fileExists) { try maker.make("a") }
        try maker.remove("a")
        #expect(directory.names.isEmpty && Directory().maker == nil)
    }

    @Test func identityTellsSubjectsApart() {
        #expect(Directory.Identity(1) == Directory.Identity(1))
        #expect(Directory.Identity(1) != Directory.Identity(2))
        #expect(Directory.Identity(1) != Directory.Identity("1"))
        #expect(Set([Directory.Identity("a"), Directory.Identity("a")]).count == 1)
        let lamp = Lamp()
        #expect(Directory.Identity(ObjectIdentifier(lamp)) == Directory.Identity(ObjectIdentifier(lamp)))
    }
}
