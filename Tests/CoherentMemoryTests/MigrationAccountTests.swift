import MachineTopology
import Synchronization
import SystemPackage
import Testing

@testable import CoherentMemory

/// Stands in the way of a migration: calls `body` whenever pages are to leave the page cache.
private final class Hook: MappingInvalidator {
    private let body: @Sendable (Buffer, Range<UInt64>) -> Void

    init(_ machine: Machine, _ body: @escaping @Sendable (Buffer, Range<UInt64>) -> Void) {
        self.body = body
        machine.setInvalidator(self)
    }

    func invalidate(_ buffer: Buffer, pages: Range<UInt64>) { body(buffer, pages) }
}

@Suite("Accounts of migrations", .timeLimit(.minutes(2)))
struct MigrationAccountTests {
    private static let batch = 512

    /// A buffer of batches of pages on node 0, all of which were handed out.
    private func makeBuffer(_ machine: Machine, batches: Int) throws -> Buffer {
        let buffer = try machine.makeBuffer("bind:0")
        try machine.store([UInt8](repeating: 7, count: batches * Self.batch * 4096), to: buffer, at: 0)
        return buffer
    }

    @Test("Two migrations of one buffer have an account each, and the buffer shows the one started last")
    func accounts() throws {
        let machine = try Machine(ram: 16, coherent: [16])
        // Else the page cache is not asked for anything.
        machine.devices[0].pace = .real
        let buffer = try makeBuffer(machine, batches: 4)
        let (atFirstBatch, goOn) = (Gate(), Gate())
        let isFirst = Atomic(true)
        let hook = Hook(machine) { _, _ in
            guard isFirst.exchange(false, ordering: .relaxed) else { return }
            atFirstBatch.open()
            goOn.wait()
        }
        let (long, short) = (MigrationAccount(.buffer), MigrationAccount(.buffer))
        runThreads([
            { try? machine.migrate(buffer, to: 1, account: long) },
            {
                atFirstBatch.wait()
                #expect(buffer.migration.state == .running && long.total == 4 * Self.batch)
                #expect(long.result.duration > .zero)
                // Its range is none that the other holds, but it is the other's turn.
                let other: @Sendable () -> Void = {
                    try? machine.migrate(buffer, bytes: 3 * 512 * 4096..<3 * 512 * 4096 + 4096, to: 1, account: short)
                    #expect(buffer.migration.moved == 1 && buffer.migration.state == .done)
                    // The long one has had its first batch, and at most the one that it queued for.
                    #expect(long.result.state == .running || long.result.moved == 4 * Self.batch - 1)
                }
                runThreads([
                    other,
                    {
                        while buffer.migrationTurn.usage.waiting == 0 {}
                        goOn.open()
                    },
                ])
            },
        ])
        withExtendedLifetime(hook) {}
        #expect(long.result.moved == 4 * Self.batch - 1)
        #expect(short.result.moved == 1 && short.total == 1)
        #expect(machine.transfers == [Transfer(from: 0, to: 1, reason: .buffer, pages: UInt64(4 * Self.batch))])
        try machine.checkInvariants()
    }

    @Test("A one-page job waits for one batch of a huge one, on the same buffer and for a device's only channel")
    func fairness() throws {
        for isSame in [true, false] {
            let machine = try Machine(ram: 32, coherent: [32])
            let huge = try makeBuffer(machine, batches: 8)
            let other = isSame ? huge : try makeBuffer(machine, batches: 1)
            let copies = machine.devices[0].copies
            try copies.setChannels(1)
            // The channel is held for as long as the move is to take, at least 20 ms.
            try machine.devices[0].updateLink { $0.writeLatency = 20_000_000 }
            machine.devices[0].pace = .real
            let batches = Atomic(0)
            let atFirst = Gate()
            let afterShort = Atomic(-1)
            let hook = Hook(machine) { buffer, pages in
                guard buffer === huge, pages.count > 1 else { return }
                let number = batches.add(1, ordering: .relaxed).newValue
                if number == 1, isSame {
                    atFirst.open()
                    while huge.migrationTurn.usage.waiting == 0 {}
                } else if number == 1 {
                    #expect(copies.busy == 1)
                    atFirst.open()
                }
            }
            runThreads([
                { try? machine.migrate(huge, to: 1) },
                {
                    atFirst.wait()
                    let before = batches.load(ordering: .relaxed)
                    try? machine.migrate(
                        other, bytes: 7 * 512 * 4096 * (isSame ? 1 : 0)..<7 * 512 * 4096 * (isSame ? 1 : 0) + 4096,
                        to: 1)
                    afterShort.store(batches.load(ordering: .relaxed) - before, ordering: .relaxed)
                },
            ])
            withExtendedLifetime(hook) {}
            // The batch that held it up, and the next, which may have begun when it looked.
            #expect((0...2).contains(afterShort.load(ordering: .relaxed)), "same buffer: \(isSame)")
            #expect(machine.pages(of: huge) == [1: 8 * Self.batch])
            try machine.checkInvariants()
        }
    }

    @Test("Who waits for the model of a link, or for a channel, can be cancelled there")
    func cancelledWaits() throws {
        let machine = try Machine(ram: 16, coherent: [16])
        let device = machine.devices[0]
        let (slow, queued) = (try makeBuffer(machine, batches: 2), try makeBuffer(machine, batches: 1))
        try device.copies.setChannels(1)
        // A batch takes three seconds.
        try device.updateLink {
            $0 = Link(readLatency: 1, writeLatency: 1_000_000_000, readBandwidth: 1, writeBandwidth: 1)
        }
        device.pace = .real
        let start = ContinuousClock.now
        runThreads([
            {
                let error = failure { () throws(Errno) in try machine.migrate(slow, to: 1) }
                #expect(error == .interrupted && slow.migration.moved == Self.batch)
            },
            {
                while device.copies.busy == 0 {}
                let error = failure { () throws(Errno) in try machine.migrate(queued, to: 1) }
                #expect(error == .interrupted && queued.migration.moved == 0 && device.copies.busy == 1)
                slow.cancelMigrations()
            },
            {
                while device.copies.queued == 0 {}
                queued.cancelMigrations()
            },
        ])
        #expect(ContinuousClock.now - start < .milliseconds(2500))
        #expect(machine.pages(of: queued) == [0: Self.batch] && device.copies.busy == 0 && device.copies.queued == 0)
        try machine.checkInvariants()
    }

    @Test("What faults fetch over a link is counted in its modelled time")
    func modelledFaults() throws {
        let machine = try Machine(ram: 16, coherent: [16])
        let device = machine.devices[0]
        try device.updateLink {
            $0 = Link(readLatency: 10, writeLatency: 20, readBandwidth: 1000, writeBandwidth: 2000)
        }
        let (near, far) = (try machine.makeBuffer("bind:0", size: 65536), try machine.makeBuffer("bind:1", size: 65536))
        _ = try machine.bytes(of: near, at: 0, count: 65536)
        #expect(device.modelledNanoseconds == 0)
        _ = try machine.bytes(of: far, at: 0, count: 65536)
        #expect(device.modelledNanoseconds == 10 + 65536 && device.copies.modelledNanoseconds == 0)
        try machine.migrate(far, to: 0)
        #expect(device.modelledNanoseconds == 2 * (10 + 65536) && device.copies.errors == 0)
    }

    @Test("Cancelled between two batches, what was moved stays moved")
    func cancellation() throws {
        let machine = try Machine(ram: 16, coherent: [16])
        machine.devices[0].pace = .real
        let buffer = try makeBuffer(machine, batches: 4)
        let hook = Hook(machine) { buffer, _ in buffer.cancelMigrations() }
        let account = MigrationAccount(.buffer)
        #expect(failure { () throws(Errno) in try machine.migrate(buffer, to: 1, account: account) } == .interrupted)
        withExtendedLifetime(hook) {}
        #expect(buffer.migration.state == .cancelled && buffer.migration.moved == Self.batch)
        #expect(machine.pages(of: buffer) == [0: 3 * Self.batch, 1: Self.batch])
        // It was the part that was cancelled, and whoever has the whole closes it.
        account.end(.interrupted)
        #expect(account.result.state == .cancelled && account.total == 4 * Self.batch)
        // Nothing runs: nothing to cancel, and the next is a new one.
        buffer.cancelMigrations()
        machine.setInvalidator(Hook(machine) { _, _ in })
        try machine.migrate(buffer, to: 1)
        #expect(buffer.migration.state == .done && buffer.migration.moved == 3 * Self.batch)
        try machine.checkInvariants()
    }

    @Test("Pinned pages stay, the rest moves, and their block stays online")
    func pinned() throws {
        let machine = try Machine(ram: 16, coherent: [16])
        let (pinned, free) = (try machine.makeBuffer("bind:1"), try machine.makeBuffer("bind:1"))
        try machine.store([UInt8](repeating: 1, count: 8 * 4096), to: pinned, at: 0)
        try machine.store([UInt8](repeating: 2, count: 8 * 4096), to: free, at: 0)
        try machine.setPinned(true, of: pinned)
        #expect(machine.runs(of: pinned).allSatisfy(\.isPinned) && !machine.runs(of: free)[0].isPinned)
        #expect(failure { () throws(Errno) in try machine.migrate(pinned, to: 0) } == .resourceBusy)
        #expect(pinned.migration.state == .failed && pinned.migration.failed == 8)
        let node = machine.node(1)!
        #expect(failure { () throws(Errno) in try machine.migrate(node: node, to: 0) } == .resourceBusy)
        #expect(node.migration.state == .partial && node.migration.moved == 8 && node.migration.failed == 8)
        #expect(machine.pages(of: free) == [0: 8] && machine.pages(of: pinned) == [1: 8])
        let device = machine.devices[0]
        #expect(failure { () throws(Errno) in try machine.offline(device) } == .resourceBusy)
        #expect(device.state == .offlineFailed)
        let run = machine.runs(of: pinned)[0]
        let blocker = try #require(machine.blockers(of: node).first)
        #expect(machine.blockers(of: node).count == 1 && machine.blockers(of: machine.node(0)!).isEmpty)
        #expect(blocker.buffer === pinned && blocker.bytes == 0..<8 * 4096 && blocker.reason == .pinned)
        #expect(blocker.physicalAddress == run.physicalAddress)
        _ = try machine.reclaim(64, of: node, demotingTo: [machine.node(0)!])
        try machine.compact(node)
        #expect(machine.runs(of: pinned) == [run])
        try machine.checkInvariants()

        // For a device that goes whatever it costs.
        #expect(
            failure { () throws(Errno) in try machine.remove(device, isForced: true) } == .resourceBusy)
        machine.giveUpBlockers(of: node)
        try machine.remove(device, isForced: true)
        #expect(pinned.residentPages == 0 && machine.pages(of: free) == [0: 8])
        #expect(machine.runs(of: pinned).map(\.isLost) == [true])
        try machine.checkInvariants()
    }

    @Test("Huge pages are pinned as a whole", arguments: [HugeMode.always, .pool])
    func pinnedHuge(mode: HugeMode) throws {
        let machine = try Machine(ram: 16, coherent: [16])
        for node in machine.nodes where mode == .pool { machine.setHugePages(2, of: node) }
        let buffer = machine.makeBuffer(huge: mode)
        try machine.resize(buffer, to: 2 << 20)
        try machine.store([1], to: buffer, at: 0)
        #expect(machine.pages(of: buffer) == [0: 512])
        try machine.setPinned(true, of: buffer)
        #expect(failure { () throws(Errno) in try machine.migrate(buffer, to: 1) } == .resourceBusy)
        #expect(machine.runs(of: buffer)[0].isHuge && buffer.migration.failed == 512)
        try machine.setPinned(false, of: buffer)
        try machine.migrate(buffer, to: 1)
        #expect(machine.pages(of: buffer) == [1: 512] && machine.runs(of: buffer)[0].isHuge)
        #expect(machine.transfers == [Transfer(from: 0, to: 1, reason: .buffer, pages: 512)])
        try machine.checkInvariants()
    }

    @Test("The matrix tells moves by their reason")
    func matrix() throws {
        let machine = try Machine(ram: 16, coherent: [16, 16])
        let buffer = try machine.makeBuffer("bind:1")
        try machine.store([UInt8](repeating: 1, count: 16 * 4096), to: buffer, at: 0)
        try machine.migrate(buffer, to: 2)
        try machine.migrate(buffer, ranges: [0..<4096], to: 0)
        try machine.migrate(buffer, ranges: [0..<16 * 4096], steps: [(0, 1)], account: MigrationAccount(.cpuset))
        try machine.migrate(node: machine.node(2)!, to: 1)
        try machine.offline(machine.devices[0])
        #expect(
            machine.transfers.filter { $0.reason != .offline } == [
                Transfer(from: 0, to: 1, reason: .cpuset, pages: 1),
                Transfer(from: 1, to: 2, reason: .buffer, pages: 16),
                Transfer(from: 2, to: 0, reason: .range, pages: 1), Transfer(from: 2, to: 1, reason: .node, pages: 15),
            ])
        // What is offlined goes to the other blocks first, and from the last of those away.
        #expect(machine.transfers.first { $0.from == 1 && $0.to == 0 && $0.reason == .offline }?.pages == 16)
        try machine.checkInvariants()
    }

    @Test("Copies are counted on both sides, by the slower link between devices, and take their time where they are to")
    func copies() throws {
        let machine = try Machine(ram: 16, coherent: [16, 16])
        let (near, far) = (machine.devices[0], machine.devices[1])
        let slow: UInt64 = 100
        try near.updateLink { $0 = Link(readLatency: 10, writeLatency: 20, readBandwidth: 1000, writeBandwidth: 2000) }
        try far.updateLink { $0 = Link(readLatency: 1, writeLatency: 1, readBandwidth: slow, writeBandwidth: slow) }
        let buffer = try machine.makeBuffer("bind:0")
        let size: UInt64 = 256 * 4096
        try machine.store([UInt8](repeating: 1, count: Int(size)), to: buffer, at: 0)
        try machine.migrate(buffer, to: 1)
        #expect(near.copies.bytes == size && far.copies.bytes == 0)
        #expect(near.copies.modelledNanoseconds == 20 + size * 1000 / 2000)
        far.pace = .real
        let start = ContinuousClock.now
        try machine.migrate(buffer, to: 2)
        #expect(ContinuousClock.now - start >= .nanoseconds(1 + size * 1000 / slow))
        #expect(near.copies.bytes == 2 * size && far.copies.bytes == size)
        #expect(near.copies.modelledNanoseconds == 20 + size * 1000 / 2000 + 10 + size * 1000 / 1000)
        #expect(far.copies.modelledNanoseconds == 1 + size * 1000 / slow)
        #expect(near.copies.busy == 0 && near.copies.queued == 0 && near.copies.errors == 0)
        for count in [0, 65, -1] {
            #expect(failure { () throws(Errno) in try near.copies.setChannels(count) } == .outOfRange)
        }
        try machine.setPinned(true, of: buffer)
        _ = failure { () throws(Errno) in try machine.migrate(buffer, to: 1) }
        // Nobody asked the engine for what cannot move.
        #expect(far.copies.errors == 0 && far.copies.bytes == size)
    }

    @Test("What goes wrong half-way has its outcome")
    func failures() throws {
        // The target fills up.
        var machine = try Machine(ram: 16, coherent: [4])
        var buffer = try makeBuffer(machine, batches: 4)
        #expect(failure { () throws(Errno) in try machine.migrate(buffer, to: 1) } == .noMemory)
        #expect(buffer.migration.state == .partial && buffer.migration.moved == 1024 && buffer.migration.failed == 1024)
        #expect(machine.pages(of: buffer) == [0: 1024, 1: 1024])
        try machine.checkInvariants()

        // The target goes offline: what is there goes back, and there is no room for more.
        for what in ["offline", "truncate", "remove"] {
            machine = try Machine(ram: 32, coherent: [16])
            machine.devices[0].pace = .real
            buffer = try makeBuffer(machine, batches: 4)
            let batches = Atomic(0)
            let hook = Hook(machine) { [machine] moving, _ in
                guard batches.add(1, ordering: .relaxed).newValue == 2 else { return }
                switch what {
                case "offline":
                    // From another thread: it waits for its turn with the buffer.
                    runThreads([
                        {
                            for number in machine.blockNumbers(of: machine.node(1)!) where machine.isEmpty(number) {
                                try? machine.offline(machine.block(number)!)
                            }
                        }
                    ])
                case "truncate": try? machine.resize(moving, to: 4096)
                default: machine.remove(moving)
                }
            }
            let error = failure { () throws(Errno) in try machine.migrate(buffer, to: 1) }
            withExtendedLifetime(hook) {}
            switch what {
            case "offline":
                #expect(error == .noMemory && buffer.migration.state == .partial)
                #expect(machine.pages(of: buffer).values.reduce(0, +) == 4 * Self.batch)
            case "truncate":
                #expect(error == nil && buffer.migration.state == .done && buffer.residentPages == 1)
            default:
                #expect(error == nil && buffer.migration.state == .done && buffer.residentPages == 0)
            }
            try machine.checkInvariants()
        }
    }
}

extension Machine {
    /// Whether no page of a block is in use.
    fileprivate func isEmpty(_ number: UInt64) -> Bool {
        block(number).map { memory.owners(of: $0.frames).isEmpty } ?? false
    }
}
