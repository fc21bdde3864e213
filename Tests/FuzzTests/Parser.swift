import AttributeTree
import CURing
import CoherentMemory
import Glibc
import HMMTestDevice
import MachineTopology
import SystemPackage
import TraceFormat
import TraceReplay

@testable import CoherentFS
@testable import CoherentTree
@testable import Fuse

/// What takes bytes from others, and what must hold whatever they are. What does not hold ends the process.
enum Parser: String, CaseIterable, Codable, Sendable {
    case topology, text, attribute, command, ioctl, request, ring, trace

    /// Has it take one input.
    func callAsFunction(_ bytes: [UInt8]) {
        do {
            switch self {
            case .topology: Self.topology(bytes)
            case .text: Self.text(bytes)
            case .attribute: try Self.attribute(bytes)
            case .command: try Self.command(bytes)
            case .ioctl: Self.ioctl(bytes)
            case .request:
                var requests = try Requests(Array(bytes.dropFirst()), overRing: (bytes.first ?? 0) % 2 == 1)
                requests.run()
            case .ring: try Self.ring(bytes)
            case .trace: Self.trace(bytes)
            }
        } catch {
            fatalError("the surroundings of the input cannot be made: \(error)")
        }
    }

    /// A topology that is taken reads back the same as it is printed, and one that is not is refused in one line.
    private static func topology(_ bytes: [UInt8]) {
        do throws(TopologyError) {
            let topology = try Topology(toml: bytes, file: "input")
            let again = try Topology(toml: topology.toml)
            precondition(topology == again, "\(topology.toml)")
        } catch {
            let line = "\(error)"
            precondition(!line.isEmpty && !line.utf8.contains { $0 < 0x20 || $0 == 0x7f }, "\(line.debugDescription)")
        }
    }

    /// Numbers, lists of nodes and CPUs, policies: what is taken reads back the same as it is printed.
    private static func text(_ bytes: [UInt8]) {
        guard let text = try? AttributeText(bytes, by: Client(task: 1, user: 0)) else { return }
        if let value = try? text.unsigned() { precondition((try? AttributeText("\(value)").unsigned()) == value) }
        if let value = try? text.integer() { precondition((try? AttributeText("\(value)").integer()) == value) }
        _ = try? text.hexadecimal()
        _ = try? text.bool()
        _ = try? text.task()
        _ = (text.words.count, text.lines.count)
        for limit in [1, 2, IDSet.maxNodes, IDSet.maxCPUs] {
            guard let list = try? IDSet(list: text.text, limit: limit) else { continue }
            precondition(list.allSatisfy { (0..<limit).contains($0) })
            precondition((try? IDSet(list: list.description, limit: limit)) == list)
            _ = list.map(width: limit)
        }
        for available in [IDSet([0]), IDSet(0..<4), IDSet(0..<IDSet.maxNodes)] {
            guard let policy = try? MemoryPolicy(parsing: text.text, available: available) else { continue }
            precondition((try? MemoryPolicy(parsing: policy.description, available: available)) == policy)
        }
    }

    /// One or more writes: the number of an attribute in two bytes, its text, and a NUL before the next. All that can be read can
    /// be read still.
    private static func attribute(_ bytes: [UInt8]) throws {
        let world = try World()
        for write in bytes.split(separator: 0).prefix(8) {
            let number = write.prefix(2).reduce(0) { $0 << 8 | Int($1) }
            let path = World.writable[number % World.writable.count]
            world.store(Array(write.dropFirst(2)), in: path)
            _ = world.show(path)
        }
        world.end()
    }

    /// Commands for a device's queue, all of which end.
    private static func command(_ bytes: [UInt8]) throws {
        let world = try World()
        world.store(bytes, in: "sys/class/cdm/cdm0/queue/submit")
        for device in world.machine.devices {
            guard device.queue.waitUntilIdle(seconds: 20) else { fatalError("a command does not end") }
        }
        _ = world.show("sys/class/cdm/cdm0/queue/results")
        world.end()
    }

    /// struct hmm_dmirror_cmd behind a command of ioctl(2).
    private static func ioctl(_ bytes: [UInt8]) {
        guard bytes.count >= 4 else { return }
        guard let action = MirrorCommand.Action(ioctl: bytes.word(0)) else { return }
        let input = Array(bytes.dropFirst(4))
        guard let decoded = try? MirrorCommand(action, unsafe input.span.bytes) else { return }
        precondition(decoded.pages.count <= MirrorCommand.pageLimit || action == .release)
        precondition(decoded.answer(MirrorOutcome()).count == MirrorCommand.size)
    }

    /// A request in the entry of a ring, whose lengths are anything: it makes no sense, or lies within the entry. The answer that
    /// follows is as long as it says, or refused.
    private static func ring(_ bytes: [UInt8]) throws {
        guard bytes.count >= 16 else { return }
        let entry = UnsafeMutablePointer<RingEntry>.allocate(capacity: 1)
        unsafe entry.initialize(to: try RingEntry(ringOfNobody.rings[0], queue: 0, capacity: 65536))
        defer {
            unsafe entry.deinitialize(count: 1)
            unsafe entry.deallocate()
        }
        let payload = Array(bytes.dropFirst(8))
        unsafe entry.fill(Array(bytes.prefix(40)), payload, payload, size: bytes.word(4))
        if let message = unsafe entry.pointee.takeRequest() {
            let room = unsafe entry.pointee.vectors[1]
            let (start, end) = unsafe (message.baseAddress!, message.baseAddress! + message.count)
            unsafe precondition(start >= room.iov_base - 168 && end <= room.iov_base + room.iov_len)
            unsafe precondition(message.count == Int(message.loadUnaligned(as: UInt32.self)))
        }
        var answer = [UInt8](repeating: bytes[0], count: Int(bytes.word(8) % 131_072))
        var head = words(16, 0) + longs(1)
        unsafe head.withUnsafeMutableBytes { head in
            unsafe answer.withUnsafeMutableBytes { answer in
                let vectors = unsafe [
                    iovec(iov_base: head.baseAddress, iov_len: 16),
                    iovec(iov_base: answer.baseAddress, iov_len: answer.count),
                ]
                let fits = unsafe vectors.withUnsafeBufferPointer { unsafe entry.pointee.putAnswer($0, zeros: nil) }
                precondition(fits == (answer.count <= 65536))
            }
        }
        _ = unsafe entry.answer()
    }

    /// Records of trace_pipe_raw, replayed on a machine that is left in order.
    private static func trace(_ bytes: [UInt8]) {
        var decoder = RawTrace.Decoder()
        decoder.add(bytes)
        var events: [TraceEvent] = []
        while let record = try? decoder.next() { if case .event(let event) = record { events.append(event) } }
        do {
            let replay = try Replay(
                RecordedTrace(events: events), on: Topology(toml: World.topology), options: ReplayOptions())
            replay.run()
            try replay.machine.checkInvariants()
        } catch is ReplayError {
            // Nodes that the machine does not have.
        } catch {
            fatalError("\(error)")
        }
    }

    private static let ringOfNobody: RingSet = {
        do {
            return try unsafe RingSet(device: -1, options: RingOptions(payload: 65536), zeros: nil)
        } catch {
            fatalError("no io_uring: \(error)")
        }
    }()
}
