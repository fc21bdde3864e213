import LinuxSupport
import MachineTopology
import SystemPackage

extension Machine {
    /// Moves pages of a buffer to a node, from all other nodes (migrate_pages(2) for a range).
    ///
    /// Blocks until the pages have moved; never call it from a thread that the page cache may wait for.
    ///
    /// - Parameters:
    ///   - buffer: the buffer.
    ///   - bytes: page-aligned, within the buffer; nil for all of it.
    ///   - target: the node's id.
    ///   - account: what moves is added to.
    ///   - isCancelled: asked between batches.
    /// - Throws: ENODEV for a node that does not exist, has no memory online or takes no pages of programs, EINVAL for a bad
    ///   range, ENOMEM where the target is full, EDQUOT if the buffer's user has used its share of the target, EBUSY where pages
    ///   are pinned or on a node that they may not leave, EINTR when cancelled. What was moved stays moved.
    public func migrate(
        _ buffer: Buffer, bytes: Range<UInt64>? = nil, to target: Int,
        account: MigrationAccount = MigrationAccount(.buffer), isCancelled: () -> Bool = { false }
    ) throws(Errno) {
        let node = try nodeMap.migrationTarget(target)
        var pages = try buffer.pageRange(bytes)
        trace.note(.migrate, of: buffer, pages: bytes == nil ? 0..<0 : pages, to: node)
        if buffer.isContiguous {
            // As a whole, whichever part of it was named.
            pages = 0..<UInt64.max >> Page.shift
        } else if buffer.hugeMode == .pool {
            // A reserved huge page moves as a whole, whichever part of it was named.
            pages =
                HugePage.pages(
                    around: pages.lowerBound
                ).lowerBound..<HugePage.pages(around: pages.upperBound - 1).upperBound
        }
        try mover.track(buffer, account) { account throws(Errno) in
            let filter = mover.movable(to: node)
            let refused = mover.refused(filter, pages, of: buffer)
            account.expect(buffer.count(pages, filter) + refused)
            try mover.move(
                buffer, pages: pages, filter: filter, targets: [node], account: account, isCancelled: isCancelled)
            try mover.refuse(refused, account)
        }
    }

    /// Moves the pages of ranges of a buffer that are on some nodes to others, step by step (do_migrate_pages()).
    ///
    /// Blocks as ``migrate(_:bytes:to:account:isCancelled:)`` does. Ranges behind the end of the buffer are ignored.
    ///
    /// - Parameters:
    ///   - buffer: the buffer.
    ///   - ranges: bytes, widened to whole pages.
    ///   - steps: ids of nodes; see `IDSet.migrationSteps(to:)`.
    ///   - account: what the moved pages are added to.
    ///   - isCancelled: checked repeatedly.
    /// - Throws: ENODEV for a target that does not exist or has no memory online, ENOMEM if one is full, EBUSY if pages
    ///   are pinned, EINTR when cancelled. Pages that have moved stay moved.
    public func migrate(
        _ buffer: Buffer, ranges: [Range<UInt64>], steps: [(source: Int, target: Int)],
        account: MigrationAccount = MigrationAccount(.task), isCancelled: () -> Bool = { false }
    ) throws(Errno) {
        var moves: [(PageFilter, Node)] = []
        for (source, target) in steps {
            let target = try nodeMap.migrationTarget(target)
            // What may not leave its node stays, as pages of a node that has gone from the mask do (migrate_pages(2)).
            if let source = node(source), source.allows(.userMigrate) { moves.append((.onNode(source.span), target)) }
            trace.noteMoves(of: buffer, ranges, from: self.node(source), to: target, account.reason)
        }
        try mover.migrate(buffer, ranges: ranges, moves, account, isCancelled: isCancelled)
    }

    /// Moves the pages of ranges of a buffer to a node, from all other nodes; otherwise as
    /// ``migrate(_:ranges:steps:account:isCancelled:)``.
    public func migrate(
        _ buffer: Buffer, ranges: [Range<UInt64>], to target: Int,
        account: MigrationAccount = MigrationAccount(.range), isCancelled: () -> Bool = { false }
    ) throws(Errno) {
        let target = try nodeMap.migrationTarget(target)
        trace.noteMoves(of: buffer, ranges, from: nil, to: target, account.reason)
        try mover.migrate(
            buffer, ranges: ranges, [(mover.movable(to: target), target)], account, isCancelled: isCancelled)
    }

    /// Checks the arguments of ``migrate(_:bytes:to:account:isCancelled:)`` without moving anything.
    public func checkMigration(of buffer: Buffer, bytes: Range<UInt64>?, to target: Int) throws(Errno) {
        _ = try nodeMap.migrationTarget(target)
        _ = try buffer.pageRange(bytes)
    }

    /// Checks the arguments of ``migrate(node:to:account:isCancelled:)`` without moving anything.
    public func checkMigration(ofNode source: Node, to target: Int) throws(Errno) {
        guard try nodeMap.migrationTarget(target) !== source else { throw .invalidArgument }
    }

    /// Moves every page of a node to another (the `migrate` file of a coherent node). Blocks and fails as the migration
    /// of a buffer does, but pinned pages do not stop the others.
    public func migrate(
        node source: Node, to target: Int, account: MigrationAccount = MigrationAccount(.node),
        isCancelled: () -> Bool = { false }
    ) throws(Errno) {
        let node = try nodeMap.migrationTarget(target)
        guard node !== source else { throw .invalidArgument }
        trace.note(.migrateNode, from: source, to: node)
        let account = MigrationAccount(partOf: account)
        try mover.track(
            account, as: .nodeMigration(node: source.id), in: { edit in source.migrations.withLock { edit(&$0) } }
        ) { () throws(Errno) in
            let concerned = memory.buffers.map { ($0, $0.pages(onNode: source.index)) }.filter { $0.1 > 0 }
            for (_, pages) in concerned { account.expect(pages) }
            if !source.allows(.userMigrate) { try mover.refuse(concerned.reduce(0) { $0 + $1.1 }, account) }
            var failure: Errno?
            for (buffer, _) in concerned {
                do throws(Errno) {
                    try mover.move(
                        buffer, pages: 0..<UInt64.max >> Page.shift, filter: .onNode(source.span), targets: [node],
                        account: account, isCancelled: isCancelled)
                } catch .resourceBusy {
                    failure = .resourceBusy
                } catch .diskQuotaExceeded {
                    // Its user has had its share; others have not.
                    failure = .diskQuotaExceeded
                } catch .noMemory where buffer.isContiguous {
                    // No run for this one; the pages of others may have room.
                    failure = .noMemory
                }
            }
            if let failure { throw failure }
        }
    }
}
