extension DeviceContext {
    /// Looks at a page for the scanner: an active one stays, and one that was used since the last look; both are that much
    /// older afterwards (shrink_active_list() and shrink_inactive_list() of mm/vmscan.c).
    ///
    /// - Returns: whether the page is to stay.
    func age(_ page: UInt64) -> Bool {
        guard let leaf = table.leaf(of: page) else { return false }
        let slot = unsafe table.entries(of: leaf) + (Int(page) & (TablePool.entries - 1))
        let old = DeviceTableEntry(rawValue: unsafe slot.pointee)
        guard old.isPresent, old.isActive || old.isReferenced else { return false }
        var new = old
        if old.isReferenced { new.isReferenced = false } else { new.isActive = false }
        var tally = DeviceTally()
        tally.change(old, to: new)
        device.mmu.add(tally)
        unsafe slot.pointee = new.rawValue
        return true
    }
}

extension Buffer.State {
    /// Whether a device uses a page, which is then looked at for each. The caller holds the buffer's lock.
    func ageDevices(_ page: UInt64) -> Bool {
        var isInUse = isInFlight(page..<page + 1)
        for context in contexts where context.age(page) { isInUse = true }
        return isInUse
    }
}
