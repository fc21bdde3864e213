import LinuxSupport
import MachineTopology
import SystemPackage

extension Machine {
    /// The most pages that move at once: some milliseconds' work.
    private static let atOnce = 16384
    /// The most pages that move about as fast as a long read is answered.
    private static let few = 16

    /// Moves pages of a buffer to a node as ``migrate(_:bytes:to:account:isCancelled:)`` does, if that is short and
    /// needs no waiting: no device maps any of the pages, no link is paced, and no other operation moves pages of the
    /// buffer.
    ///
    /// Threads that the page cache waits for may call it.
    ///
    /// - Returns: false if that is not the case; then nothing is done.
    /// - Throws: ENODEV for a node that does not exist or has no memory online, EINVAL for a bad range, ENOMEM if the
    ///   target is full. Pages that have moved stay moved.
    public func migrateAtOnce(
        _ buffer: Buffer, bytes: Range<UInt64>? = nil, to target: Int,
        account: MigrationAccount = MigrationAccount(.buffer)
    ) throws(Errno) -> Bool {
        let node = try memory.nodes.migrationTarget(target)
        let pages = try buffer.pageRange(bytes)
        let filter = PageFilter.notOn(node.span)
        guard buffer.migrationTurn.tryWait() else { return false }
        defer { buffer.migrationTurn.signal() }
        let sources = buffer.state.withLock { state -> NodeMask? in
            guard state.huge != .pool, state.contiguous == nil, !state.isPinned, state.pages.contexts.isEmpty,
                state.pages.markers == 0, state.backing == nil || !memory.nodes.hasHostNodes,
                pages.count <= Self.atOnce || state.pages.count <= Self.atOnce
            else { return nil }
            var sources = NodeMask()
            for (index, pages) in state.pages.byNode.enumerated() where pages > 0 {
                guard nodes[index].allows(.userMigrate) else { return nil }
                sources.insert(index)
            }
            return sources
        }
        guard let sources else { return false }
        let part = MigrationAccount(partOf: account)
        var result = MigrationResult()
        let isDone = mover.moveAtOnce(buffer, from: sources, to: node, reason: account.reason) { note in
            trace.note(.migrate, of: buffer, pages: bytes == nil ? 0..<0 : pages, to: node)
            part.expect(buffer.count(pages, filter))
            var page = pages.lowerBound
            while let next = buffer.nextPage(from: page), next < pages.upperBound {
                let batch = next..<min(pages.upperBound, (next / Mover.batch + 1) * Mover.batch)
                page = batch.upperBound
                var outcome = MigrationResult()
                if let wanted = mover.select(batch, of: buffer, filter: filter, &outcome) {
                    outcome = mover.move(wanted, in: batch, of: buffer, filter: filter, targets: [node], prepaid: nil)
                    if outcome.moved > 0 { memory.placeOnHost(batch, of: buffer, moving: true) }
                    note(outcome)
                }
                part.add(outcome)
                result.add(outcome)
            }
        }
        guard isDone else { return false }
        let failure = mover.failure(of: result, targets: [node])
        part.end(failure)
        buffer.state.withLock { $0.migrations.note(part) }
        events.announce(.migration(buffer: buffer.id))
        if let failure { throw failure }
        return true
    }

    /// Whether a migration of a range of a buffer, in bytes, or of all of it, has so few pages that it is short.
    public func isShortMigration(of buffer: Buffer, bytes: Range<UInt64>?) -> Bool {
        if let bytes, Page.count(of: UInt64(bytes.count)) <= Self.few { return true }
        return buffer.residentPages <= Self.few
    }
}
