import SystemPackage

/// The page table of a buffer: from page number to frame, as deep as its highest page needs (lib/xarray.c).
///
/// The owner's lock guards it.
@safe
struct PageTable: ~Copyable {
    /// What the tables are of.
    let pool: TablePool
    /// The id of its buffer.
    let owner: UInt64
    /// Whether its pages have bytes in the storage, as those of a device's table have not.
    private let hasStorage: Bool
    private var root: UInt32 = 0
    private var levels = 0

    private static let shift = UInt64(TablePool.entriesShift)
    private static let mask = UInt64(TablePool.entries - 1)
    /// Enough levels for a page number of 52 bits, the last page of a file of 2⁶³ bytes.
    private static let maximumLevels = 9

    init(pool: TablePool, owner: UInt64, hasStorage: Bool = true) {
        self.pool = pool
        self.owner = owner
        self.hasStorage = hasStorage
    }

    deinit { assert(root == 0, "a page table must be emptied, or its frames are lost") }

    var isEmpty: Bool { root == 0 }

    /// Forgets every entry, for when the frames go with their machine.
    mutating func abandon() {
        root = 0
        levels = 0
    }

    /// The leaf that has an entry for `page`, if there is one.
    func leaf(of page: UInt64) -> UInt32? {
        guard root != 0, page >> (Self.shift * UInt64(levels)) == 0 else { return nil }
        var table = root
        var level = levels - 1
        while level > 0 {
            let slot = page >> (Self.shift * UInt64(level)) & Self.mask
            table = UInt32(truncatingIfNeeded: unsafe pool.entries(of: table)[Int(slot)])
            if table == 0 { return nil }
            level -= 1
        }
        return table
    }

    subscript(page: UInt64) -> PageTableEntry {
        guard let leaf = leaf(of: page) else { return .none }
        return PageTableEntry(rawValue: unsafe pool.entries(of: leaf)[Int(page & Self.mask)])
    }

    /// The first leaf that may hold an entry for `page` or a later one.
    func nextLeaf(from page: UInt64) -> (table: UInt32, base: UInt64)? {
        guard root != 0, page >> (Self.shift * UInt64(levels)) == 0 else { return nil }
        return search(root, level: levels - 1, from: page).map { ($0, pool.location(of: $0).base) }
    }

    private func search(_ table: UInt32, level: Int, from page: UInt64) -> UInt32? {
        if level == 0 { return table }
        let first = Int(page >> (Self.shift * UInt64(level)) & Self.mask)
        for slot in first..<TablePool.entries {
            let child = UInt32(truncatingIfNeeded: unsafe pool.entries(of: table)[slot])
            guard child != 0 else { continue }
            if let leaf = search(child, level: level - 1, from: slot == first ? page : 0) { return leaf }
        }
        return nil
    }

    /// Calls `body` with every entry of a range that is something, until it returns false.
    @inline(__always)
    func forEachEntry(_ pages: Range<UInt64>, _ body: (UInt64, UnsafeMutablePointer<UInt64>) -> Bool) {
        var page = pages.lowerBound
        while page < pages.upperBound, let (leaf, base) = nextLeaf(from: page), base < pages.upperBound {
            let entries = unsafe pool.entries(of: leaf)
            for candidate in max(page, base)..<min(pages.upperBound, base + UInt64(TablePool.entries)) {
                let slot = unsafe entries + TablePool.slot(of: candidate)
                if unsafe slot.pointee != 0, unsafe !body(candidate, slot) { return }
            }
            page = base + UInt64(TablePool.entries)
        }
    }

    /// The first page of a range whose entry is something.
    func firstEntry(in pages: Range<UInt64>) -> UInt64? {
        var first: UInt64?
        unsafe forEachEntry(pages) { page, _ in
            first = page
            return false
        }
        return first
    }

    /// The entries of a leaf, for in-place changes that leave its count as it is.
    func entries(of leaf: UInt32) -> UnsafeMutablePointer<UInt64> { unsafe pool.entries(of: leaf) }

    /// The leaf for `page`, made with the tables above it where missing. ENOMEM when tables run out.
    mutating func makeLeaf(of page: UInt64) throws(Errno) -> UInt32 {
        if let leaf = leaf(of: page) { return leaf }
        if root == 0 { levels = 0 }
        while levels == 0 || page >> (Self.shift * UInt64(levels)) != 0 {
            guard levels < Self.maximumLevels else { throw .fileTooLarge }
            let top = try pool.allocate(owner: owner, base: 0)
            if root != 0 {
                unsafe pool.entries(of: top)[0] = UInt64(root)
                pool.addCount(1, to: top)
            } else {
                // The new root is itself on the way to the page: give it all the levels it needs at once.
                while levels < Self.maximumLevels - 1, page >> (Self.shift * UInt64(levels + 1)) != 0 { levels += 1 }
            }
            root = top
            levels += 1
        }
        var table = root
        var level = levels - 1
        while level > 0 {
            let slot = Int(page >> (Self.shift * UInt64(level)) & Self.mask)
            var child = UInt32(truncatingIfNeeded: unsafe pool.entries(of: table)[slot])
            if child == 0 {
                let span = Self.shift * UInt64(level)
                do throws(Errno) {
                    child = try pool.allocate(owner: owner, base: (page >> span) << span)
                } catch {
                    prune(page, hasBytes: false)
                    throw error
                }
                unsafe pool.entries(of: table)[slot] = UInt64(child)
                pool.addCount(1, to: table)
            }
            table = child
            level -= 1
        }
        return table
    }

    /// Puts an entry where there was none.
    mutating func insert(_ entry: PageTableEntry, at page: UInt64, leaf: UInt32) {
        let slot = Int(page & Self.mask)
        assert(unsafe pool.entries(of: leaf)[slot] == 0)
        unsafe pool.entries(of: leaf)[slot] = entry.rawValue
        pool.addCount(1, to: leaf)
    }

    /// Puts entries for frames that follow each other where there were none, all in one leaf.
    mutating func insert(_ count: Int, from first: PageTableEntry, at page: UInt64, leaf: UInt32) {
        let slots = unsafe pool.entries(of: leaf) + Int(page & Self.mask)
        var entry = first
        for index in 0..<count {
            assert(unsafe slots[index] == 0)
            unsafe slots[index] = entry.rawValue
            entry.pfn += 1
        }
        pool.addCount(count, to: leaf)
    }

    /// The entry of a page, nil where there is no leaf for it.
    func entry(of page: UInt64) -> UnsafeMutablePointer<UInt64>? {
        guard let leaf = leaf(of: page) else { return nil }
        return unsafe pool.entries(of: leaf) + Int(page & Self.mask)
    }

    /// Takes entries of one leaf out, with what their pages held, and frees the tables that this leaves empty. `body` gets
    /// each one and says whether it goes. The caller calls ``TablePool/punchEmptied()`` when the lock is free.
    mutating func remove(_ pages: Range<UInt64>, leaf: UInt32, _ body: (UInt64, PageTableEntry) -> Bool) {
        let entries = unsafe pool.entries(of: leaf)
        var written: UInt64 = 0
        for page in pages {
            let slot = Int(page & Self.mask)
            let entry = PageTableEntry(rawValue: unsafe entries[slot])
            guard !entry.isNone else { continue }
            guard body(page, entry) else { continue }
            if hasStorage, entry.isWritten { written |= 1 << UInt64(slot) }
            unsafe entries[slot] = 0
            pool.addCount(-1, to: leaf)
        }
        // All of a table's pages are punched when it has no owner; those of a table in use at once.
        if written != 0, pool.count(of: leaf) > 0 { pool.punch(written, of: leaf) }
        prune(pages.lowerBound, hasBytes: written != 0)
    }

    /// Frees the tables on the way to `page` that hold nothing.
    ///
    /// - Parameter hasBytes: whether the leaf, if it is one of them, has pages that are no holes.
    private mutating func prune(_ page: UInt64, hasBytes: Bool) {
        guard root != 0 else { return }
        if prune(root, level: levels - 1, page: page, hasBytes) {
            root = 0
            levels = 0
        }
    }

    private func prune(_ table: UInt32, level: Int, page: UInt64, _ hasBytes: Bool) -> Bool {
        if level > 0 {
            let slot = Int(page >> (Self.shift * UInt64(level)) & Self.mask)
            let child = UInt32(truncatingIfNeeded: unsafe pool.entries(of: table)[slot])
            if child != 0, prune(child, level: level - 1, page: page, hasBytes) {
                unsafe pool.entries(of: table)[slot] = 0
                pool.addCount(-1, to: table)
            }
        }
        guard pool.count(of: table) == 0 else { return false }
        pool.release(table, hasBytes: level == 0 && hasBytes)
        return true
    }
}
