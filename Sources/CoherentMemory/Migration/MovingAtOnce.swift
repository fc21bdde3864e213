import SystemPackage

extension Machine {
    /// The most pages that move at once: about as long as a long read takes.
    private static let atOnce: UInt64 = 16

    /// Moves pages of a buffer to a node as ``migrate(_:bytes:to:account:isCancelled:)`` does, where that takes but a moment
    /// and waits for nobody: few pages, none of which the page cache may have, and nobody else at work on them.
    ///
    /// Threads that the page cache waits for may call it.
    ///
    /// - Returns: false where it is otherwise; then nothing was done.
    /// - Throws: ENODEV for a node that does not exist or has no memory online, EINVAL for a bad range, ENOMEM where the
    ///   target is full. What was moved stays moved.
    public func migrateAtOnce(
        _ buffer: Buffer, bytes: Range<UInt64>? = nil, to target: Int,
        account: MigrationAccount = MigrationAccount(.buffer)
    ) throws(Errno) -> Bool {
        let node = try migrationTarget(target)
        let pages = try pageRange(bytes, of: buffer)
        let filter = PageFilter.notOn(node: node.index)
        // Whoever takes pages out of the page cache holds one of these: what was noted as gone from there is gone.
        guard buffer.migrationTurn.tryWait() else { return false }
        defer { buffer.migrationTurn.signal() }
        guard buffer.unmapTurn.tryWait() else { return false }
        defer { buffer.unmapTurn.signal() }
        let wanted = buffer.state.withLock { state in selectAtOnce(pages, filter: filter, in: &state) }
        guard let wanted else { return false }
        let part = MigrationAccount(partOf: account)
        let outcome = copyAtOnce(from: wanted.sources, to: node, reason: account.reason) {
            guard wanted.count > 0 else { return MigrationResult() }
            return move(
                wanted, in: wanted.first..<wanted.last + 1, of: buffer, filter: filter, targets: [node], prepaid: nil)
        }
        guard let outcome else {
            leave(pages, of: buffer, filter: filter)
            return false
        }
        let failure = failure(of: outcome, targets: [node])
        part.expect(wanted.count)
        part.add(outcome)
        part.end(failure)
        buffer.state.withLock { $0.migrations.note(part) }
        announce(.migration(buffer: buffer.id))
        if let failure { throw failure }
        return true
    }

    /// Whether a migration of a range of a buffer, in bytes, or of all of it is of so few pages that it is soon over.
    public func isShortMigration(of buffer: Buffer, bytes: Range<UInt64>?) -> Bool {
        if let bytes, Page.count(of: UInt64(bytes.count)) <= Self.atOnce { return true }
        return buffer.residentPages <= Self.atOnce
    }

    /// Finds the pages to move, and marks them; nil where they are many, or somebody would have to be asked for one of them.
    private func selectAtOnce(
        _ pages: Range<UInt64>, filter: PageFilter, in state: inout Buffer.State
    ) -> Selection? {
        guard state.huge == .never, state.backing == nil, state.contiguous == nil, !state.isPinned,
            state.contexts.isEmpty, state.markers == 0,
            UInt64(pages.count) <= Self.atOnce || state.pagesByNode.reduce(0, +) <= Self.atOnce
        else { return nil }
        var isPlain = true
        unsafe forEachMatch(pages, filter: filter, in: state) { _, slot in
            let entry = PageTableEntry(rawValue: unsafe slot.pointee)
            if entry.isCached || entry.isUnmapping || entry.isMigrating || entry.isHuge { isPlain = false }
        }
        return isPlain ? select(pages, filter: filter, in: &state) : nil
    }
}
