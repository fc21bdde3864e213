import LinuxSupport
import Testing

/// Slots that users share.
@Suite("User slots") struct UserSlotsTests {
    @Test("Nobody has more than a share, all together leave root's reserve, and what is given back can be had again")
    func shares() {
        var slots = UserSlots(total: 8, share: 3, reserve: 2)
        // The macro cannot change what it looks at.
        func take(_ user: UInt32) -> Bool { slots.take(for: user) }
        #expect(slots.isUnused)
        let taken = (1...4).map { user in (0..<5).count { _ in take(UInt32(user)) } }
        #expect(taken == [3, 3, 0, 0])
        #expect((0..<5).count { _ in take(0) } == 2)
        slots.giveBack(by: 1)
        #expect(take(0))
        slots.giveBack(by: 0)
        #expect(take(3) && slots.areTaken(for: 3))
        slots.giveBack(by: 9)
        #expect(slots.areTaken(for: 0))
        for (user, count) in [(UInt32(0), 2), (1, 2), (2, 3), (3, 1)] {
            for _ in 0..<count { slots.giveBack(by: user) }
        }
        #expect(slots.isUnused)
    }
}
