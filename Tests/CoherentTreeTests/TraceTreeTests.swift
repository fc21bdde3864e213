import AttributeTree
import LinuxSupport
import SystemPackage
import Testing
import TraceFormat

@testable import CoherentMemory
@testable import CoherentTree

private let trace = "kernel/cdm/trace"

/// sys/kernel/cdm/trace without a mount.
@Suite("Trace of the tree", .timeLimit(.minutes(1))) struct TraceTreeTests {
    private let root = Uevent.Viewer(Credentials(task: 0, uid: 0, gid: 0))

    private func text(_ reader: any EventReader, _ size: Int = 1 << 16) -> String? {
        reader.take(size: size).map { String(decoding: $0, as: UTF8.self) }
    }

    private func touch(_ scene: Scene, _ buffer: Buffer, page: UInt64, pid: Int32 = 7) throws {
        try unsafe scene.machine.read(buffer, at: page << 12, length: 4096, origin: Origin(pid: pid, node: 0)) { _ in }
    }

    private func buffer(_ scene: Scene, _ name: String, pages: UInt64 = 4) throws -> Buffer {
        let buffer = scene.machine.makeBuffer()
        try scene.machine.resize(buffer, to: pages << 12)
        scene.files.add(buffer, name)
        return buffer
    }

    @Test("events and enable: names, marks, and what is refused changes nothing")
    func switches() throws {
        let scene = try Scene()
        let names = TraceEvent.Kind.allCases.map(\.name)
        #expect(try scene.text("\(trace)/events") == names.joined(separator: "\n") + "\n")
        #expect(try scene.word("\(trace)/enable") == "0")
        try scene.store("touch_placed pages_lost", in: "\(trace)/events")
        #expect(
            try scene.text("\(trace)/events").split(separator: "\n").filter { $0.hasPrefix("[") }
                == ["[touch_placed]", "[pages_lost]"])
        #expect(try scene.word("\(trace)/enable") == "X")
        for text in ["", "touch", "!", "touch_placed nothing", "[touch_placed]"] {
            #expect(throws: Errno.invalidArgument, "\(text)") { try scene.store(text, in: "\(trace)/events") }
        }
        try scene.store("!pages_lost\tlink_state", in: "\(trace)/events")
        #expect(scene.machine.trace.main.enabledKinds == [TraceKinds(.touchPlaced), TraceKinds(.linkState)])
        try scene.store("1", in: "\(trace)/enable")
        #expect(try scene.word("\(trace)/enable") == "1" && scene.machine.trace.main.enabledKinds == .all)
        for text in ["2", "X", "", "yes", "-1"] {
            #expect(throws: Errno.invalidArgument, "\(text)") { try scene.store(text, in: "\(trace)/enable") }
        }
        try scene.store("0", in: "\(trace)/enable")
        #expect(scene.machine.trace.main.enabledKinds == [])
    }

    @Test("buffer_size_kb and clock")
    func settings() throws {
        let scene = try Scene()
        #expect(try scene.word("\(trace)/buffer_size_kb") == "1408")
        try scene.store("100", in: "\(trace)/buffer_size_kb")
        #expect(try scene.word("\(trace)/buffer_size_kb") == "100")
        try scene.store("1", in: "\(trace)/buffer_size_kb")
        #expect(try scene.word("\(trace)/buffer_size_kb") == "4")
        for (text, error) in [
            ("0", Errno.invalidArgument), ("x", .invalidArgument), ("", .invalidArgument), ("262145", .noMemory),
            ("18446744073709551615", .noMemory), ("18446744073709551616", .outOfRange),
        ] {
            #expect(throws: error, "\(text)") { try scene.store(text, in: "\(trace)/buffer_size_kb") }
        }
        #expect(try scene.word("\(trace)/clock") == "[mono] mono_raw boot tai")
        try scene.store("tai", in: "\(trace)/clock")
        #expect(try scene.word("\(trace)/clock") == "mono mono_raw boot [tai]")
        #expect(throws: Errno.invalidArgument) { try scene.store("local", in: "\(trace)/clock") }
        #expect(try scene.word("\(trace)/buffer_size_kb") == "4")
    }

    @Test("The text of a filter, and what it lets through")
    func filter() throws {
        let scene = try Scene()
        let (a, b) = (try buffer(scene, "a"), try buffer(scene, "b \"c\""))
        #expect(try scene.word("\(trace)/filter") == "none")
        try scene.store("touch_placed", in: "\(trace)/events")
        let reader = try scene.services.trace.openReader(by: root)
        try scene.store("buffer==a&&node!=1||buffer == \"b \\\"c\\\"\"", in: "\(trace)/filter")
        #expect(
            try scene.word("\(trace)/filter") == "buffer == \"a\" && node != 1 || buffer == \"b \\\"c\\\"\"")
        try touch(scene, a, page: 0)
        try touch(scene, b, page: 0)
        try scene.store("node == 2", in: "\(trace)/filter")
        try touch(scene, a, page: 1)
        let lines = (text(reader) ?? "").split(separator: "\n")
        #expect(lines.count == 2 && lines[0].contains(" buffer=a ") && lines[1].contains(" buffer=b\\040\"c\" "))
        for (text, error) in [
            ("buffer", Errno.invalidArgument), ("buffer = a", .invalidArgument), ("what == 1", .invalidArgument),
            ("node == 1 &&", .invalidArgument), ("node == 1 || || node == 2", .invalidArgument),
            ("buffer == \"a", .invalidArgument), ("node == x", .invalidArgument),
            ("buffer == z", .noSuchFileOrDirectory),
            ("buffer == inode:77", .noSuchFileOrDirectory), ("buffer == inode:x", .invalidArgument),
            ("pid == 2147483647", .noSuchProcess), ("pid == 4294967296", .outOfRange), ("", .invalidArgument),
            ("none", .invalidArgument), ("node == 1 node == 2", .invalidArgument),
            (Array(repeating: "node == 1", count: 65).joined(separator: "&&"), .argListTooLong),
        ] {
            #expect(throws: error, "\(text)") { try scene.store(text, in: "\(trace)/filter") }
        }
        #expect(try scene.word("\(trace)/filter") == "node == 2")
        try scene.store("pid == \(1)", in: "\(trace)/filter")
        #expect(try scene.word("\(trace)/filter") == "pid == 1")
        try scene.store("0", in: "\(trace)/filter")
        #expect(try scene.word("\(trace)/filter") == "none")
    }

    @Test("Lines as those of tracefs, whole in a read; one too long in pieces")
    func lines() throws {
        let scene = try Scene()
        let a = try buffer(scene, "a b")
        try scene.store("touch_placed", in: "\(trace)/events")
        let reader = try scene.services.trace.openReader(by: root)
        #expect(text(reader) == nil && !reader.isReadable)
        try touch(scene, a, page: 0)
        try touch(scene, a, page: 1, pid: 1_234_567)
        #expect(reader.isReadable)
        let line = try #require(text(reader, 20))
        let rest = try #require(text(reader, 4096))
        let first = line + rest
        let form = /\ {11}<\.\.\.>-7      \ \[\d{3}\] \.{5} +\d+\.\d{6}: touch_placed: (.*)\n/
        let match = try #require(first.wholeMatch(of: form), "\(first)")
        #expect(match.1 == "buffer=a\\040b offset=0x0 length=0x1000 node=0 policy=default intended=0 by=cpu local=0")
        #expect(text(reader)?.contains("<...>-1234567 [") == true)
        #expect(text(reader) == nil)
        scene.machine.remove(a)
        try touch(scene, try buffer(scene, "c"), page: 2)
        #expect(text(reader)?.contains(" buffer=c ") == true)
    }

    /// What a reader has now: names, events and losses.
    private func records(_ reader: any EventReader) throws -> [TraceRecord] {
        var decoder = RawTrace.Decoder()
        var records: [TraceRecord] = []
        while let bytes = reader.take(size: 1 << 16) {
            decoder.add(bytes)
            while let record = try decoder.next() { records.append(record) }
        }
        return records
    }

    @Test("Files with events of their own: all of them while the file is open, and the trace notices nothing")
    func instances() throws {
        let scene = try Scene()
        let a = try buffer(scene, "a")
        let others = try scene.services.trace.openReader(by: root)
        try scene.store("node == 7", in: "\(trace)/filter")
        try touch(scene, a, page: 0)
        let watch = try scene.services.trace.openReader(by: root, .watch)
        let record = try scene.services.trace.openReader(by: root, .record)
        #expect(!watch.isReadable && watch.take(size: 4096) == nil && record.isReadable)
        try scene.store("0", in: "\(trace)/filter")
        try touch(scene, a, page: 1)
        let seen = try records(watch)
        #expect(seen.first == .name(buffer: a.id, "a") && seen.count == 2)
        guard case .event(let event) = seen.last else {
            Issue.record("no event")
            return
        }
        #expect(event.kind == .touchPlaced && event.start == 1 && event.pid == 7)
        #expect(!watch.isReadable)
        // The record began with the filter, and keeps it; what was so before is in it all the same.
        let recorded = try records(record)
        let initial = recorded.filter {
            if case .event(let event) = $0 { event.flags.contains(.initial) } else { false }
        }
        #expect(recorded.count > 1 && recorded.last == initial.last)
        #expect(!others.isReadable && text(others) == nil)
        #expect(try scene.word("\(trace)/enable") == "0")
        watch.close()
        watch.close()
        // A second record has its own settings, and all kinds.
        let second = try scene.services.trace.openReader(by: root, .record)
        _ = try records(second)
        try touch(scene, a, page: 2)
        let later = try records(second)
        #expect(later.contains { if case .event(let event) = $0 { event.kind == .touchPlaced } else { false } })
        record.close()
        second.close()
        #expect(try scene.word("\(trace)/enable") == "0" && text(others) == nil)
        for kind in TraceEvent.Kind.allCases { #expect(!scene.machine.trace.isEnabled(kind)) }
    }

    @Test("A flood that a slow view misses is in the trace, and what the view lost is counted")
    func slowView() throws {
        let scene = try Scene()
        let others = try scene.services.trace.openReader(by: root)
        try scene.store("touch_placed", in: "\(trace)/events")
        let watch = try scene.services.trace.openReader(by: root, .watch)
        let large = try buffer(scene, "large", pages: 3000)
        for page in 0..<UInt64(3000) { try touch(scene, large, page: page) }
        var (seen, lost) = (0, 0 as UInt64)
        while let part = text(others) {
            for line in part.split(separator: "\n") {
                if line.contains(": touch_placed:") { seen += 1 } else { lost += 1 }
            }
        }
        #expect(seen == 3000 && lost == 0)
        (seen, lost) = (0, 0)
        for record in try records(watch) {
            switch record {
            case .event: seen += 1
            case .lost(let count): lost += count
            case .name: break
            }
        }
        // One event is of the size of the buffer.
        #expect(seen > 0 && UInt64(seen) + lost == 3001)
        watch.close()
        #expect(scene.machine.trace.main.enabledKinds == TraceKinds(.touchPlaced))
    }

    @Test("Opening more files than there are instances fails, and works again when one is closed")
    func busy() throws {
        let scene = try Scene()
        var readers: [any EventReader] = []
        for number in 0..<Tracer.instanceLimit {
            readers.append(try scene.services.trace.openReader(by: root, number % 2 == 0 ? .watch : .record))
        }
        #expect(throws: Errno.resourceBusy) { try scene.services.trace.openReader(by: root, .record) }
        #expect(throws: Errno.resourceBusy) { try scene.services.trace.openReader(by: root, .watch) }
        _ = try scene.services.trace.openReader(by: root)
        readers.removeLast().close()
        try scene.services.trace.openReader(by: root, .watch).close()
        for reader in readers { reader.close() }
    }

    @Test("Losses are told exactly, to each reader its own")
    func losses() throws {
        let scene = try Scene()
        let a = try buffer(scene, "a", pages: 1000)
        try scene.store("4", in: "\(trace)/buffer_size_kb")
        try scene.store("touch_placed", in: "\(trace)/events")
        let (quick, slow) = (
            try scene.services.trace.openReader(by: root), try scene.services.trace.openReader(by: root)
        )
        var quickly = 0
        for page in 0..<1000 as Range<UInt64> {
            try touch(scene, a, page: page)
            if page % 8 == 0 { quickly += (text(quick) ?? "").split(separator: "\n").count }
        }
        quickly += (text(quick) ?? "").split(separator: "\n").count
        #expect(quickly == 1000)
        var (lost, had) = (0, 0)
        while let part = text(slow) {
            for line in part.split(separator: "\n") {
                if let match = line.wholeMatch(of: /CPU:\d+ \[LOST (\d+) EVENTS\]/) {
                    lost += Int(match.1) ?? 0
                } else {
                    had += 1
                }
            }
        }
        #expect(lost > 0 && had > 0 && lost + had == 1000)
    }

    @Test("A read waits for an event through a switch-off, or is given up; a poll wakes")
    func waiting() throws {
        final class Poll: Waker {
            let isAwake = Monitor(false)
            func wake() { isAwake.update { $0 = true } }
        }
        let scene = try Scene()
        scene.services.startBackgroundWork()
        let a = try buffer(scene, "a")
        try scene.store("touch_placed", in: "\(trace)/events")
        let (reader, polled) = (
            try scene.services.trace.openReader(by: root), try scene.services.trace.openReader(by: root)
        )
        let answers = Monitor<[String?]>([])
        func wait() -> @Sendable () -> Void {
            let giveUp = reader.waiting.wait(size: 4096) { bytes in
                answers.update { $0.append(bytes.map { String(decoding: $0, as: UTF8.self) }) }
            }
            reader.deliver()
            return giveUp
        }
        let poll = Poll()
        polled.waiting.watch(poll)
        polled.deliver()
        let giveUp = wait()
        giveUp()
        giveUp()
        #expect(answers.withLock { $0 } == [nil])
        _ = wait()
        _ = wait()
        try scene.store("0", in: "\(trace)/enable")
        try touch(scene, a, page: 0)
        try scene.store("1", in: "\(trace)/enable")
        #expect(!poll.isAwake.withLock { $0 })
        try touch(scene, a, page: 1)
        #expect(answers.wait(milliseconds: 10_000) { $0.count == 2 })
        #expect(poll.isAwake.wait(milliseconds: 10_000) { $0 })
        #expect(answers.withLock { $0[1] }?.contains("offset=0x1000") == true)
        try touch(scene, a, page: 2)
        #expect(answers.wait(milliseconds: 10_000) { $0.count == 3 })
        #expect(text(polled)?.split(separator: "\n").count == 2)
        reader.close()
        polled.close()
    }
}
