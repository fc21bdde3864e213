/// A number of slots that users share: none has more than so many, and some are kept for root.
public struct UserSlots: Sendable {
    /// How many there are.
    public let total: Int
    /// How many a user other than root may have.
    public let share: Int
    /// How many only root may have.
    public let reserve: Int

    private var taken: [UInt32: Int] = [:]
    private var count = 0

    /// All are free.
    public init(total: Int, share: Int, reserve: Int) {
        self.total = total
        self.share = share
        self.reserve = reserve
    }

    /// Whether none is taken.
    public var isUnused: Bool { count == 0 }

    /// Whether a user gets no slot.
    public func areTaken(for user: UInt32) -> Bool {
        count >= total
            || user != 0
                && (taken[user, default: 0] >= share || count - taken[0, default: 0] >= total - reserve)
    }

    /// Takes a slot; false where the user gets none.
    public mutating func take(for user: UInt32) -> Bool {
        guard !areTaken(for: user) else { return false }
        add(user)
        return true
    }

    /// Counts a slot that a user has, whether there was one or not.
    public mutating func add(_ user: UInt32) {
        taken[user, default: 0] += 1
        count += 1
    }

    /// Gives a slot back.
    public mutating func giveBack(by user: UInt32) {
        guard let own = taken[user] else { return }
        taken[user] = own > 1 ? own - 1 : nil
        count -= 1
    }
}
