import LinuxSupport
import MachineTopology
import Synchronization
import Testing

@testable import CoherentMemory

/// Turns go round among users, and a long move gives its channels back to others in between.
@Suite("Turns of users", .timeLimit(.minutes(1)))
struct TurnTests {
    @Test("Turns go round among the users who wait, and in their order among those of one user")
    func round() {
        let turns = FairSemaphore()
        let order = Mutex<[String]>([])
        turns.wait()
        // One after the other, so that it is known in which order they came.
        let waiters: [(user: UInt32, name: String)] = [
            (7, "7a"), (7, "7b"), (7, "7c"), (9, "9a"), (9, "9b"), (0, "0a"),
        ]
        runThreads(
            waiters.enumerated().map { place, waiter -> @Sendable () -> Void in
                {
                    while turns.usage.waiting != place {}
                    #expect(turns.wait(for: waiter.user, unless: { false }))
                    order.withLock { $0.append(waiter.name) }
                    turns.signal()
                }
            } + [
                {
                    while turns.usage.waiting != waiters.count {}
                    #expect(turns.isWantedByOthers(than: 7) && turns.isWantedByOthers(than: 9))
                    turns.signal()
                }
            ])
        #expect(order.withLock { $0 } == ["7a", "9a", "0a", "7b", "9b", "7c"])
        #expect(turns.usage == (0, 0) && !turns.isWantedByOthers(than: 7))
    }

    /// A machine whose device takes two seconds for a batch that goes there.
    private func makeSlowMachine() throws -> Machine {
        let machine = try Machine(ram: 64, coherent: [64])
        try machine.devices[0].updateLink {
            $0 = Link(readLatency: 1, writeLatency: 1, readBandwidth: 1, writeBandwidth: 1)
        }
        machine.devices[0].pace = .real
        return machine
    }

    private func makeBuffer(_ machine: Machine, pages: Int) throws -> Buffer {
        let buffer = try machine.makeBuffer("bind:0")
        try machine.store([UInt8](repeating: 7, count: pages * 4096), to: buffer, at: 0)
        return buffer
    }

    @Test("One user's page goes between the slices of another's long moves, however many of them wait")
    func newcomer() throws {
        let machine = try makeSlowMachine()
        let copies = machine.devices[0].copies
        try copies.setChannels(2)
        let isOver = Atomic(false)
        let long = try (0..<6).map { _ in try makeBuffer(machine, pages: 1024) }
        let short = try makeBuffer(machine, pages: 4)
        runThreads(
            long.map { buffer -> @Sendable () -> Void in
                {
                    let account = MigrationAccount(.buffer)
                    account.user = 1000
                    try? machine.migrate(
                        buffer, to: 1, account: account, isCancelled: { isOver.load(ordering: .relaxed) })
                }
            } + [
                {
                    while copies.busy != 2 || copies.queued != 4 {}
                    for page in 0..<UInt64(4) {
                        let start = ContinuousClock.now
                        let account = MigrationAccount(.buffer)
                        #expect(throws: Never.self) {
                            try machine.migrate(short, bytes: page * 4096..<(page + 1) * 4096, to: 1, account: account)
                        }
                        // A slice of 10 ms, and 4 ms for the page. The other's batches take two seconds each.
                        #expect(ContinuousClock.now - start < .milliseconds(500))
                        #expect(account.result.moved == 1)
                    }
                    isOver.store(true, ordering: .relaxed)
                }
            ])
        #expect(copies.busy == 0 && copies.queued == 0)
        try machine.checkInvariants()
    }

    @Test("What shares its channel with others takes no less time of it")
    func time() throws {
        let machine = try makeSlowMachine()
        let copies = machine.devices[0].copies
        try copies.setChannels(1)
        // 16 pages take 66 ms.
        let buffers = try (0..<3).map { _ in try makeBuffer(machine, pages: 16) }
        let start = ContinuousClock.now
        runThreads(
            buffers.enumerated().map { user, buffer -> @Sendable () -> Void in
                {
                    let account = MigrationAccount(.buffer)
                    account.user = UInt32(user)
                    #expect(throws: Never.self) { try machine.migrate(buffer, to: 1, account: account) }
                }
            })
        #expect(ContinuousClock.now - start >= .milliseconds(3 * 65))
        #expect(copies.busy == 0 && copies.modelledNanoseconds == 3 * (1 + 65_536_000))
    }
}
