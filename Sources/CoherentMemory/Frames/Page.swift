/// The unit of placement: 4096 bytes, the base page of x86-64 Linux (`PAGE_SIZE`).
public enum Page {
    /// The base-2 logarithm of ``size`` (`PAGE_SHIFT`).
    public static let shift: UInt64 = 12

    /// Bytes in a page.
    public static let size: UInt64 = 1 << shift

    /// How many pages `bytes` take, the last one perhaps in part. Any value is accepted.
    static func count(of bytes: UInt64) -> UInt64 {
        (bytes >> shift) + (bytes & (size - 1) == 0 ? 0 : 1)
    }
}

/// A page frame number: a physical address divided by ``Page/size``.
public typealias PFN = UInt64

/// Frames that follow each other in physical memory, all of one node.
struct FrameRun: BitwiseCopyable {
    var start: PFN
    var count: Int

    var end: PFN { start + UInt64(count) }
}
