import CoherentMemory
import SystemPackage

/// An ioctl of the HMM test driver (`struct hmm_dmirror_cmd` of Linux's lib/test_hmm_uapi.h).
public struct MirrorCommand: Sendable {
    /// What is asked for: the numbers of `_IOWR('H', …, struct hmm_dmirror_cmd)`.
    public enum Action: UInt32, Sendable {
        /// HMM_DMIRROR_READ
        case read
        /// HMM_DMIRROR_WRITE
        case write
        /// HMM_DMIRROR_MIGRATE_TO_DEV
        case migrateToDevice
        /// HMM_DMIRROR_MIGRATE_TO_SYS
        case migrateToSystem
        /// HMM_DMIRROR_SNAPSHOT
        case snapshot
        /// HMM_DMIRROR_EXCLUSIVE
        case exclusive
        /// HMM_DMIRROR_CHECK_EXCLUSIVE
        case checkExclusive
        /// HMM_DMIRROR_RELEASE
        case release
        /// HMM_DMIRROR_FLAGS
        case flags

        /// From the second argument of ioctl(2); nil for any other.
        public init?(ioctl command: UInt32) {
            // Direction both ways, 40 bytes, type 'H'.
            let base = UInt32(3) << 30 | UInt32(MirrorCommand.size) << 16 | UInt32(UInt8(ascii: "H")) << 8
            guard command & ~0xff == base else { return nil }
            self.init(rawValue: command & 0xff)
        }
    }

    /// The bytes of the structure.
    public static let size = 40
    /// More pages in one call are refused, as Linux refuses what it has no memory for.
    public static let pageLimit: UInt64 = 1 << 18
    /// HMM_DMIRROR_FLAG_FAIL_ALLOC: the next huge page on the device is refused, and migrates as small ones.
    private static let knownFlags: UInt64 = 1

    /// What is asked for.
    public let action: Action
    /// The mirrored addresses.
    public let addresses: Range<UInt64>
    /// Where data is copied to or from in the caller's memory.
    let pointer: UInt64
    private let pageCount: UInt64

    /// Decodes the structure: five words of 64 bits, of which the first three are given.
    ///
    /// - Throws: EINVAL for an address that is no multiple of the page size or a range that is empty or ends beyond the
    ///   last address, ENOMEM for more than 1 GiB, EFAULT where the structure is incomplete.
    public init(_ action: Action, _ input: RawSpan) throws(Errno) {
        guard input.byteCount >= Self.size else { throw .badAddress }
        func word(_ index: Int) -> UInt64 {
            unsafe input.unsafeLoadUnaligned(fromByteOffset: index * 8, as: UInt64.self)
        }
        self.action = action
        pointer = word(1)
        pageCount = word(2)
        guard action != .flags else {
            guard pageCount & ~Self.knownFlags == 0 else { throw .invalidArgument }
            addresses = 0..<0
            return
        }
        let start = word(0)
        let (bytes, isTooMany) = pageCount.multipliedReportingOverflow(by: Page.size)
        let (end, isTooFar) = start.addingReportingOverflow(bytes)
        guard start % Page.size == 0, !isTooMany, !isTooFar, bytes > 0 else { throw .invalidArgument }
        guard pageCount <= Self.pageLimit || action == .release else { throw .noMemory }
        addresses = start..<end
    }

    /// The numbers of the pages.
    public var pages: Range<UInt64> { addresses.lowerBound >> Page.shift..<addresses.upperBound >> Page.shift }

    /// The structure as it goes back to the caller.
    public func answer(_ outcome: MirrorOutcome) -> [UInt8] {
        let words = [addresses.lowerBound, pointer, pageCount, outcome.pages, outcome.faults]
        return words.flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> ($0 * 8)) } }
    }
}

/// What an ioctl came to: `cpages` and `faults`.
public struct MirrorOutcome: Sendable {
    /// How many pages it was done to.
    public var pages: UInt64 = 0
    /// How often the device had to fault.
    public var faults: UInt64 = 0

    /// Nothing was done yet.
    public init(pages: UInt64 = 0, faults: UInt64 = 0) { (self.pages, self.faults) = (pages, faults) }
}
