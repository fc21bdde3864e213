/// What a device knows of one owner of pages: its page table, and the pages that the command under way is about.
///
/// The lock of the owner guards it.
final class DeviceContext: @unchecked Sendable {
    // Unchecked: see above.
    let mmu: DeviceMMU
    var table: PageTable
    /// Pages that stay where they are until the command is done.
    var pinned: [Range<UInt64>] = []
    /// Pages that are to move to the device when the command is done.
    var misplaced: [UInt64] = []

    init(_ mmu: DeviceMMU, _ pool: TablePool, owner: UInt64) {
        self.mmu = mmu
        table = PageTable(pool: pool, owner: owner, hasStorage: false)
    }

    subscript(page: UInt64) -> DeviceTableEntry { DeviceTableEntry(rawValue: table[page].rawValue) }

    /// Takes the entry of a page away at once, without a turn in the device's queue.
    func unmap(_ page: UInt64) {
        guard let leaf = table.leaf(of: page) else { return }
        var tally = DeviceTally()
        table.remove(page..<page + 1, leaf: leaf) { _, entry in
            tally.change(DeviceTableEntry(rawValue: entry.rawValue), to: DeviceTableEntry(rawValue: 0))
            tally.invalidations += 1
            return true
        }
        mmu.add(tally)
    }

    /// Whether any page of a range is mapped.
    func maps(_ pages: Range<UInt64>) -> Bool { table.firstEntry(in: pages) != nil }

    /// Looks at a page for the scanner: an active one stays, and one that was used since the last look; both are that much
    /// older afterwards (shrink_active_list() and shrink_inactive_list() of mm/vmscan.c).
    ///
    /// - Returns: whether the page is to stay.
    func age(_ page: UInt64) -> Bool {
        guard let leaf = table.leaf(of: page) else { return false }
        let slot = unsafe table.entries(of: leaf) + TablePool.slot(of: page)
        let old = DeviceTableEntry(rawValue: unsafe slot.pointee)
        guard old.isPresent, old.isActive || old.isReferenced else { return false }
        var new = old
        if old.isReferenced { new.isReferenced = false } else { new.isActive = false }
        var tally = DeviceTally()
        tally.change(old, to: new)
        mmu.add(tally)
        unsafe slot.pointee = new.rawValue
        return true
    }
}
