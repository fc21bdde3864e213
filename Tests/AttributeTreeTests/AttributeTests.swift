import AttributeTree
import Synchronization
import SystemPackage
import Testing

/// A subject with a bit of state, as a driver's device would be.
final class Lamp: Sendable {
    enum Colour: String, CaseIterable { case red, green }

    let state = Mutex((isOn: false, colour: Colour.red, level: 3))

    static let attributes: [Attribute<Lamp>] = [
        .readOnly("level", isPollable: true, summary: "how bright it is") { lamp in "\(lamp.state.withLock(\.level))" },
        .readWrite(
            "on", show: { lamp in lamp.state.withLock(\.isOn) ? "1" : "0" },
            store: { lamp, text throws(Errno) in
                let isOn = try text.bool()
                lamp.state.withLock { $0.isOn = isOn }
            }),
        .readWrite(
            "colour", show: { lamp in choices(selected: lamp.state.withLock(\.colour)) },
            store: { lamp, text throws(Errno) in
                let colour = try text.keyword(as: Colour.self)
                lamp.state.withLock { $0.colour = colour }
            }),
        .writeOnly("dim") { lamp, text throws(Errno) in
            let level = try text.integer(in: 0...9)
            return Job("dim") { cancellation throws(Errno) in
                try cancellation.check()
                lamp.state.withLock { $0.level = level }
            }
        },
        .writeOnly("break", store: { _, _ throws(Errno) in throw .ioError }),
        .readOnly("secret", permissions: .ownerRead) { _ in "a\nb\n" },
        .readOnly("broken") { _ throws(Errno) in throw .operationNotSupportedByDevice },
        .readOnly("empty") { _ in "" },
    ]
}

@Suite struct AttributeTests {
    let lamp = Lamp()

    func attribute(_ name: String) throws -> BoundAttribute {
        try #require(Lamp.attributes.first { $0.name == name }).bound(to: lamp)
    }

    @Test(
        "The mode follows from show and store",
        arguments: [
            ("level", 0o444), ("on", 0o644), ("dim", 0o200), ("secret", 0o400),
        ])
    func modes(name: String, mode: CInt) throws {
        #expect(try attribute(name).permissions.rawValue == UInt32(mode))
        #expect(try attribute(name).size == 4096)
    }

    @Test func showEndsInOneNewline() throws {
        #expect(try attribute("level").show() == "3\n")
        #expect(try attribute("empty").show() == "\n")
        #expect(try attribute("secret").show() == "a\nb\n")
        #expect(try attribute("secret").value() == "a\nb")
        #expect(throws: Errno.operationNotSupportedByDevice) { try attribute("broken").show() }
    }

    @Test func storeActsOrChangesNothing() throws {
        _ = try attribute("on").store(Array("1\n".utf8))
        #expect(try attribute("on").show() == "1\n")
        #expect(throws: Errno.invalidArgument) { _ = try attribute("on").store(Array("garbage".utf8)) }
        #expect(try attribute("on").show() == "1\n")
        #expect(throws: Errno.ioError) { _ = try attribute("break").store(Array("1".utf8)) }
        _ = try attribute("colour").store(Array("green".utf8))
        #expect(try attribute("colour").show() == "red [green]\n")
    }

    @Test func wrongDirectionIsAccess() throws {
        #expect(throws: Errno.permissionDenied) { _ = try attribute("level").store(Array("1".utf8)) }
        #expect(throws: Errno.permissionDenied) { try attribute("dim").show() }
        #expect(try attribute("level").isWritable == false)
        #expect(try attribute("dim").isReadable == false)
        #expect(try attribute("level").isPollable)
    }

    @Test func aLongStoreIsValidatedAtOnceAndDoneByItsJob() throws {
        #expect(throws: Errno.outOfRange) { _ = try attribute("dim").store(Array("12".utf8)) }
        guard case .job(let job) = try attribute("dim").store(Array("7".utf8)) else {
            Issue.record("no job")
            return
        }
        #expect(try attribute("level").show() == "3\n")
        let cancelled = Cancellation()
        cancelled.cancel()
        #expect(throws: Errno.interrupted) { try job.run(cancelled) }
        #expect(try attribute("level").show() == "3\n")
        try job.run(Cancellation())
        #expect(try attribute("level").show() == "7\n")
        #expect(job.name == "dim")
    }

    @Test func aStoreKnowsWhoWrites() throws {
        let seen = Mutex<[Int32]>([])
        let attribute = Attribute<Lamp>.writeOnly(
            "who",
            store: { _, text throws(Errno) in
                let writers = ([text] + text.words + text.lines).map(\.writer)
                seen.withLock { $0 += writers }
            })
        _ = try attribute.bound(to: lamp).store(Array("a b\n".utf8), by: Client(task: 7, user: 0))
        #expect(seen.withLock { $0 } == [7, 7, 7, 7])
        seen.withLock { $0 = [] }
        _ = try attribute.bound(to: lamp).store(Array("a".utf8))
        #expect(seen.withLock { $0 } == [0, 0, 0])
    }

    @Test func helpersOfText() {
        #expect(nameValueLines([("hit", 1), ("miss", 20)]) == "hit 1\nmiss 20")
        #expect(choices(of: ["a", "b"], selected: "b") == "a [b]")
    }
}

@Suite struct CancellationTests {
    @Test func handlersRunOnceAndOnlyMeanwhile() throws {
        let cancellation = Cancellation()
        let calls = Mutex(0)
        try cancellation.withHandler({ calls.withLock { $0 += 100 } }) { () throws(Errno) in }
        try cancellation.withHandler({ calls.withLock { $0 += 1 } }) { () throws(Errno) in
            cancellation.cancel()
            cancellation.cancel()
        }
        #expect(calls.withLock { $0 } == 1)
        try cancellation.withHandler({ calls.withLock { $0 += 10 } }) { () throws(Errno) in }
        #expect(calls.withLock { $0 } == 11)
        #expect(cancellation.isCancelled)
    }
}
