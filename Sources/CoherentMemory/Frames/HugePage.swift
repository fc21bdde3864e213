/// The larger unit of placement: 2 MiB, the PMD-sized page of x86-64 Linux (`HPAGE_PMD_SIZE`).
public enum HugePage {
    /// The base-2 logarithm of ``frames`` (`HPAGE_PMD_ORDER`).
    static let order = 9

    /// Base pages in a huge page (`HPAGE_PMD_NR`).
    public static let frames = 1 << order

    /// Bytes in a huge page.
    public static let size = UInt64(frames) << Page.shift

    /// The pages of a buffer that would share a huge page with `page`.
    static func pages(around page: UInt64) -> Range<UInt64> {
        let first = page & ~UInt64(frames - 1)
        return first..<first + UInt64(frames)
    }
}

/// Which buffers get huge pages, in the words of tmpfs's `huge=` mount option, and `pool` for hugetlbfs.
public enum HugeMode: String, Sendable, Hashable, CaseIterable {
    /// Base pages only.
    case never
    /// A huge page if it lies within the buffer's size and the node has one, else base pages.
    case withinSize = "within_size"
    /// A huge page if the node has one, else base pages.
    case always
    /// Only huge pages reserved in the nodes' pools (hugetlbfs).
    case pool
}

/// A node's reserved huge pages, in huge pages: nodeN/hugepages (the part of struct hstate that belongs to one node).
public struct HugePoolUsage: Sendable, Hashable {
    /// Huge pages in the pool, free or in use (nr_hugepages).
    public var total = 0
    /// Huge pages that are free (free_hugepages).
    public var free = 0
    /// Huge pages above the target, until their buffers free them (surplus_hugepages).
    public var surplus = 0

    /// Huge pages in use by buffers.
    public var used: Int { total - free }
    /// Huge pages that stay when they are given up (persistent_huge_pages()).
    var persistent: Int { total - surplus }
}
