import CoherentMemory
import Fuse
import SystemPackage

/// An ioctl of the HMM test driver (`struct hmm_dmirror_cmd` of Linux's lib/test_hmm_uapi.h).
struct MirrorCommand: Sendable {
    /// What is asked for: the numbers of `_IOWR('H', …, struct hmm_dmirror_cmd)`.
    enum Action: UInt32 {
        case read, write, migrateToDevice, migrateToSystem, snapshot, exclusive, checkExclusive, release, flags

        init?(_ command: IoctlCommand) {
            // Direction both ways, 40 bytes, type 'H'.
            let base = UInt32(3) << 30 | UInt32(MirrorCommand.size) << 16 | UInt32(UInt8(ascii: "H")) << 8
            guard command.command & ~0xff == base else { return nil }
            self.init(rawValue: command.command & 0xff)
        }
    }

    static let size = 40
    /// More pages in one call are refused, as Linux refuses what it has no memory for.
    static let pageLimit: UInt64 = 1 << 18
    /// HMM_DMIRROR_FLAG_FAIL_ALLOC: the next huge page on the device is refused, and migrates as small ones.
    private static let knownFlags: UInt64 = 1

    let action: Action
    /// The mirrored addresses.
    let addresses: Range<UInt64>
    /// Where data is copied to or from in the caller's memory.
    let pointer: UInt64
    private let pageCount: UInt64

    /// Decodes the structure: five words of 64 bits, of which the first three are given.
    ///
    /// - Throws: EINVAL for an address that is no multiple of the page size or a range that is empty or ends beyond the
    ///   last address, ENOMEM for more than 1 GiB, EFAULT where the structure is incomplete.
    init(_ action: Action, _ input: RawSpan) throws(Errno) {
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
    var pages: Range<UInt64> { addresses.lowerBound >> Page.shift..<addresses.upperBound >> Page.shift }

    /// The structure as it goes back to the caller.
    func answer(_ outcome: MirrorOutcome) -> [UInt8] {
        let words = [addresses.lowerBound, pointer, pageCount, outcome.pages, outcome.faults]
        return words.flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> ($0 * 8)) } }
    }
}

/// What an ioctl came to: `cpages` and `faults`.
struct MirrorOutcome {
    var pages: UInt64 = 0
    /// How often the device had to fault.
    var faults: UInt64 = 0
}
