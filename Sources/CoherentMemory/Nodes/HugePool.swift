import SystemPackage

/// The reserved huge pages of one node, by their place in it: unit `n` is its frames from 512 × `n` on.
///
/// A unit in use may come back piece by piece, for a device may still map some of its pages; only a whole one is
/// free again. The node's lock guards it.
struct HugePool: ~Copyable {
    private enum State: UInt8 {
        case foreign
        case member
        /// In use, and leaves the pool when it is freed: its contents moved to a new page elsewhere.
        case leaving
    }

    var usage = HugePoolUsage()
    /// What the pools of all nodes have promised.
    var reserve = HugeReserve()
    private var free: IndexSet64
    private let states: FlatMemory<UInt8>
    private let returned: FlatMemory<UInt16>

    init(frameCount: Int) throws(Errno) {
        let units = frameCount / HugePage.frames
        let free = try IndexSet64(capacity: units)
        let states = try FlatMemory<UInt8>(count: units)
        let returned = try FlatMemory<UInt16>(count: units)
        self.free = free
        self.states = states
        self.returned = returned
    }

    /// Whether a unit belongs to the pool, free or in use.
    func contains(_ unit: Int) -> Bool { states[unit] != State.foreign.rawValue }

    func isFree(_ unit: Int) -> Bool { free.contains(unit) }

    /// Takes a unit in that the caller has taken from the allocator.
    mutating func add(_ unit: Int, isFree: Bool) {
        assert(!contains(unit))
        states[unit] = State.member.rawValue
        usage.total += 1
        if isFree { putBack(unit) }
    }

    private mutating func putBack(_ unit: Int) {
        free.insert(unit)
        usage.free += 1
        reserve.add()
    }

    /// Hands out a free unit, the lowest or the one named; nil where there is none. The caller has asked the reserve for it.
    mutating func take(_ unit: Int? = nil) -> Int? {
        guard let unit = unit ?? free.first() else { return nil }
        free.remove(unit)
        usage.free -= 1
        return unit
    }

    /// Gives up a free unit, the lowest or the one named; nil where there is none, or all are promised.
    ///
    /// - Parameter isLost: whether it goes even if it is promised.
    mutating func dissolve(_ unit: Int? = nil, isLost: Bool = false) -> Int? {
        guard usage.free > 0 else { return nil }
        if isLost {
            reserve.lose()
        } else if !reserve.take() {
            return nil
        }
        guard let unit = take(unit) else { return nil }
        forget(unit)
        return unit
    }

    private mutating func forget(_ unit: Int) {
        states[unit] = State.foreign.rawValue
        usage.total -= 1
    }

    /// Lets a unit that is in use go when it comes back. True when a surplus one goes with it.
    mutating func leave(_ unit: Int) -> Bool {
        assert(contains(unit) && !isFree(unit))
        states[unit] = State.leaving.rawValue
        guard usage.surplus > 0 else { return false }
        usage.surplus -= 1
        return true
    }

    /// What becomes of frames that come back.
    enum Homecoming {
        /// Other parts of the unit are still in use.
        case incomplete
        /// The unit is free in the pool.
        case pooled
        /// The unit belongs to the allocator.
        case released
    }

    /// Takes some frames of a unit in use back.
    ///
    /// - Parameter stays: whether the unit may stay in the pool: none of its frames failed.
    mutating func takeBack(_ count: Int, of unit: Int, stays: Bool = true) -> Homecoming {
        returned.add(count, at: unit)
        guard Int(returned[unit]) == HugePage.frames else { return .incomplete }
        returned[unit] = 0
        if states[unit] == State.leaving.rawValue {
            forget(unit)
            return .released
        }
        if usage.surplus > 0 || !stays {
            usage.surplus = max(0, usage.surplus - 1)
            forget(unit)
            return .released
        }
        putBack(unit)
        return .pooled
    }
}
