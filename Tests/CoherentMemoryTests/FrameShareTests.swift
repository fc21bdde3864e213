import MachineTopology
import SystemPackage
import Testing

@testable import CoherentMemory

/// One user's buffers have no more of a coherent node than the user's share, whichever way their pages come there.
@Suite("Shares of nodes") struct FrameShareTests {
    /// Node 1 has 4 MiB, of which a quarter is 256 pages.
    private struct Scene {
        let machine: Machine
        let share = FrameShare(percent: 25)
        var node: Node { machine.node(1)! }

        init(contiguous: UInt64 = 0) throws {
            machine = try Machine(ram: 16, coherent: [4], contiguous: contiguous, isolation: .none)
        }

        func buffer(_ policy: String, share: FrameShare?, pages: Int = 0) throws -> Buffer {
            let buffer = try machine.makeBuffer(policy)
            buffer.setShare(share)
            if pages > 0 { try machine.store([UInt8](repeating: 1, count: pages * 4096), to: buffer, at: 0) }
            return buffer
        }
    }

    private func errno(_ body: () throws -> Void) -> Errno? {
        do {
            try body()
            return nil
        } catch {
            return error as? Errno
        }
    }

    @Test("Allocation ends at the share, others have the rest, and what is freed may be had again")
    func allocation() throws {
        let scene = try Scene()
        #expect(scene.share.limit(on: scene.node) == 256 && scene.share.limit(on: scene.machine.node(0)!) == nil)
        let first = try scene.buffer("bind:1", share: scene.share, pages: 200)
        let second = try scene.buffer("bind:1", share: scene.share, pages: 56)
        // In one request and page by page.
        for pages in [1, 8] {
            #expect(
                errno { try scene.machine.store([UInt8](repeating: 1, count: pages * 4096), to: second, at: 56 * 4096) }
                    == .diskQuotaExceeded)
        }
        #expect(scene.share.used(on: scene.node) == 256 && first.residentPages + second.residentPages == 256)
        let other = try scene.buffer("bind:1", share: FrameShare(percent: 25), pages: 256)
        let root = try scene.buffer("bind:1", share: nil, pages: 300)
        try scene.machine.checkInvariants()
        scene.machine.remove(first)
        #expect(scene.share.used(on: scene.node) == 56)
        try scene.machine.store([UInt8](repeating: 1, count: 200 * 4096), to: second, at: 56 * 4096)
        #expect(scene.share.used(on: scene.node) == 256 && other.residentPages == 256 && root.residentPages == 300)
        try scene.machine.checkInvariants()
    }

    @Test("A policy that allows other nodes falls back to them")
    func fallback() throws {
        let scene = try Scene()
        let buffer = try scene.buffer("prefer:1", share: scene.share, pages: 400)
        #expect(scene.machine.pages(of: buffer) == [0: 144, 1: 256])
        try scene.machine.checkInvariants()
    }

    @Test("Migration to the node ends at the share, with EDQUOT, and within the node nothing is refused")
    func migration() throws {
        let scene = try Scene()
        let buffer = try scene.buffer("bind:0", share: scene.share, pages: 700)
        #expect(errno { try scene.machine.migrate(buffer, to: 1) } == .diskQuotaExceeded)
        #expect(scene.machine.pages(of: buffer) == [0: 444, 1: 256])
        #expect(buffer.migration.moved == 256 && buffer.migration.failed == 444)
        try scene.machine.checkInvariants()
        // Every page of it goes to another block of the node.
        let block = try #require(scene.machine.blockNumbers(of: scene.node).first)
        try scene.machine.offline(try #require(scene.machine.block(block)))
        #expect(scene.machine.pages(of: buffer) == [0: 444, 1: 256])
        try scene.machine.migrate(buffer, to: 0)
        #expect(scene.share.used(on: scene.node) == 0)
        try scene.machine.checkInvariants()
    }

    @Test("A buffer takes its pages along into the share of another user, even beyond that")
    func transfer() throws {
        let scene = try Scene()
        let (buffer, other) = (try scene.buffer("bind:1", share: nil, pages: 300), FrameShare(percent: 1))
        buffer.setShare(scene.share)
        #expect(scene.share.used(on: scene.node) == 300)
        buffer.setShare(other)
        #expect(scene.share.used(on: scene.node) == 0 && other.used(on: scene.node) == 300)
        #expect(
            errno { try scene.machine.store([1], to: buffer, at: 300 * 4096) } == .diskQuotaExceeded)
        try scene.machine.checkInvariants()
    }

    @Test("Huge pages and contiguous buffers count, too")
    func large() throws {
        let scene = try Scene(contiguous: 2)
        let huge = try scene.buffer("prefer:1", share: FrameShare(percent: 50))
        try scene.machine.setHugeMode(.always, of: huge)
        try scene.machine.store([UInt8](repeating: 1, count: 4 << 20), to: huge, at: 0)
        #expect(scene.machine.pages(of: huge)[1] ?? 0 <= 512)
        try scene.machine.checkInvariants()
        scene.machine.remove(huge)
        let row = try scene.buffer("default", share: scene.share)
        try scene.machine.resize(row, to: 257 * 4096)
        #expect(errno { try scene.machine.makeContiguous(row, on: 1) } == .diskQuotaExceeded)
        try scene.machine.resize(row, to: 256 * 4096)
        try scene.machine.makeContiguous(row, on: 1)
        #expect(scene.share.used(on: scene.node) == 256)
        try scene.machine.releaseContiguous(row)
        #expect(scene.share.used(on: scene.node) == 0)
        try scene.machine.checkInvariants()
    }
}
