import CoherentTree
import Glibc
import LinuxSupport
import SystemPackage
import Testing

@testable import CoherentFS

/// What users may take is counted to the last one.
@Suite("Quotas") struct QuotaTests {
    /// Tasks of nobody, whom no right is known of.
    private static let nobody: Int32 = 0

    @Test("A user has a share, all have the whole")
    func shares() throws {
        let quota = Quota(limit: 10, share: 40, full: .noSpace)
        for _ in 0..<4 { try quota.charge(to: 1, by: Self.nobody) }
        #expect(throws: Errno.diskQuotaExceeded) { try quota.charge(to: 1, by: Self.nobody) }
        for _ in 0..<4 { try quota.charge(to: 2, by: Self.nobody) }
        try quota.charge(2, to: 3, by: Self.nobody)
        #expect(throws: Errno.noSpace) { try quota.charge(to: 3, by: Self.nobody) }
        #expect(quota.used == 10)
        quota.release(4, of: 2)
        try quota.charge(to: 3, by: Self.nobody)
        #expect(quota.used(by: 1) == 4 && quota.used(by: 2) == 0 && quota.used(by: 3) == 3)
        #expect(throws: Errno.noSpace) { try quota.charge(.max, to: 3, by: Self.nobody) }
    }

    @Test("The share of a little is one; 0 is no limit", arguments: [1, 99])
    func extremes(share: UInt64) throws {
        let one = Quota(limit: 1, share: share, full: .noSpace)
        try one.charge(to: 1, by: Self.nobody)
        #expect(throws: Errno.noSpace) { try one.charge(to: 2, by: Self.nobody) }
        let endless = Quota(limit: 0, share: share, full: .noSpace)
        try endless.charge(.max - 1, to: 1, by: Self.nobody)
        #expect(endless.limit == nil)
        let whole = Quota(limit: 5, share: 0, full: .noSpace)
        try whole.charge(5, to: 1, by: Self.nobody)
        let largest = Quota(limit: .max, share: share, full: .noSpace)
        try largest.charge(.max / 100 * share, to: 1, by: Self.nobody)
    }

    @Test("Attributes of an inode count as so many inodes as their bytes would make")
    func attributes() throws {
        let quota = Quota(limit: 10, share: 0, full: .noSpace)
        var charge: InodeCharge? = try InodeCharge(quota, to: 1, by: Self.nobody)
        try charge?.count(attributes: 9 * 1024, by: Self.nobody)
        #expect(quota.used(by: 1) == 10)
        #expect(throws: Errno.noSpace) { try charge?.count(attributes: 9 * 1024 + 1, by: Self.nobody) }
        #expect(quota.used(by: 1) == 10)
        try charge?.transfer(to: 2, by: Self.nobody)
        #expect(quota.used(by: 1) == 0 && quota.used(by: 2) == 10)
        try charge?.count(attributes: 1, by: Self.nobody)
        #expect(quota.used == 2)
        charge = nil
        #expect(quota.used == 0)
    }

    @Test("Root has no share, this process's own user neither")
    func exemption() throws {
        let quota = Quota(limit: 10, share: 10, full: .noSpace)
        for _ in 0..<5 { try quota.charge(to: 12345, by: getpid()) }
        #expect(quota.used(by: 12345) == 5)
        let strict = Quota(limit: 10, share: 10, full: .noSpace, hasExemptions: false)
        try strict.charge(to: 12345, by: getpid())
        #expect(throws: Errno.diskQuotaExceeded) { try strict.charge(to: 12345, by: getpid()) }
    }

    @Test("Random charges, releases and transfers agree with a table", arguments: [1, 2, 3] as [UInt64])
    func walk(seed: UInt64) {
        var random = SplitMix(state: seed)
        let (limit, share): (UInt64, UInt64) = (60, 30)
        let quota = Quota(limit: limit, share: share, full: .noSpace)
        var table = [UInt64](repeating: 0, count: 5)
        for _ in 0..<20_000 {
            let user = Int.random(in: 0..<5, using: &random)
            let amount = UInt64.random(in: 0...4, using: &random)
            let total = table.reduce(0, +)
            switch Int.random(in: 0..<3, using: &random) {
            case 0:
                let error = errno { () throws(Errno) in
                    try quota.charge(amount, to: UInt32(user + 100_000), by: Self.nobody)
                }
                if total + amount > limit {
                    #expect(error == .noSpace)
                } else if table[user] + amount > limit * share / 100 {
                    #expect(error == .diskQuotaExceeded)
                } else {
                    #expect(error == nil)
                    table[user] += amount
                }
            case 1:
                let amount = min(amount, table[user])
                quota.release(amount, of: UInt32(user + 100_000))
                table[user] -= amount
            default:
                let other = Int.random(in: 0..<5, using: &random)
                let amount = min(amount, table[user])
                let error = errno { () throws(Errno) in
                    try quota.transfer(
                        amount, from: UInt32(user + 100_000), to: UInt32(other + 100_000), by: Self.nobody)
                }
                let fits = other == user || amount == 0 || table[other] + amount <= limit * share / 100
                #expect(error == (fits ? nil : .diskQuotaExceeded))
                if fits {
                    table[user] -= amount
                    table[other] += amount
                }
            }
            #expect(quota.used == table.reduce(0, +))
        }
        for user in 0..<5 { #expect(quota.used(by: UInt32(user + 100_000)) == table[user]) }
    }

    private func errno(_ body: () throws(Errno) -> Void) -> Errno? {
        do throws(Errno) {
            try body()
            return nil
        } catch {
            return error
        }
    }

    @Test("Rights are read of a task, and of none there are none")
    func rights() throws {
        let own = try #require(Credentials(task: getpid()), "of this process")
        #expect(own.uid == geteuid() && own.gid == getegid())
        // A container may have taken it from root.
        let capabilities = try ProcStatus(task: getpid()).effectiveCapabilities
        #expect(own.has(.overrideQuota) == (capabilities >> 24 & 1 == 1))
        var limit = rlimit()
        #expect(unsafe getrlimit(__rlimit_resource_t(__RLIMIT_MEMLOCK.rawValue), &limit) == 0)
        #expect(ProcLimits.lockedMemory(of: getpid()) == UInt64(limit.rlim_cur))
        for nobody in [0, -1, .max] as [Int32] {
            #expect(Credentials(task: nobody) == nil && ProcLimits.lockedMemory(of: nobody) == 0)
        }
    }
}

/// As of the walks of the core: a seed is a sequence.
private struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var word = (state ^ state >> 30) &* 0xbf58_476d_1ce4_e5b9
        word = (word ^ word >> 27) &* 0x94d0_49bb_1331_11eb
        return word ^ word >> 31
    }
}
