import LinuxSupport
import MachineTopology
import Synchronization
import SystemPackage

extension Machine {
    /// Moves pages of a buffer to a node, from all other nodes (migrate_pages(2) for a range).
    ///
    /// Blocks until the pages have moved; never call it from a thread that the page cache may wait for.
    ///
    /// - Parameters:
    ///   - bytes: page-aligned, within the buffer; nil for all of it.
    ///   - target: the node's id.
    ///   - account: the account of the moved pages.
    ///   - isCancelled: checked between batches.
    /// - Throws: ENODEV for a node that does not exist, has no memory online or takes no pages of programs, EINVAL for
    ///   a bad range, ENOMEM if the target is full, EDQUOT if the buffer's user has used its share of the target, EBUSY
    ///   if pages are pinned or on a node that they may not leave, EINTR when cancelled. Pages that have moved stay
    ///   moved.
    public func migrate(
        _ buffer: Buffer, bytes: Range<UInt64>? = nil, to target: Int,
        account: MigrationAccount = MigrationAccount(.buffer), isCancelled: () -> Bool = { false }
    ) throws(Errno) {
        let node = try migrationTarget(target)
        var pages = try pageRange(bytes, of: buffer)
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
        try track(buffer, account) { account throws(Errno) in
            let filter = movable(to: node)
            let refused = refused(filter, pages, of: buffer)
            account.expect(count(pages, of: buffer, filter) + refused)
            try move(
                buffer, pages: pages, filter: filter, targets: [node], account: account, isCancelled: isCancelled)
            try refuse(refused, account)
        }
    }

    /// Moves the pages of ranges of a buffer that are on some nodes to others, step by step (do_migrate_pages()).
    ///
    /// Blocks as ``migrate(_:bytes:to:account:isCancelled:)`` does. Ranges behind the end of the buffer are ignored.
    ///
    /// - Parameters:
    ///   - ranges: bytes, widened to whole pages.
    ///   - steps: ids of nodes; see ``IDSet/migrationSteps(to:)``.
    /// - Throws: ENODEV for a target that does not exist or has no memory online, ENOMEM if one is full, EBUSY if pages
    ///   are pinned, EINTR when cancelled. Pages that have moved stay moved.
    public func migrate(
        _ buffer: Buffer, ranges: [Range<UInt64>], steps: [(source: Int, target: Int)],
        account: MigrationAccount = MigrationAccount(.task), isCancelled: () -> Bool = { false }
    ) throws(Errno) {
        var moves: [(PageFilter, Node)] = []
        for (source, target) in steps {
            let target = try migrationTarget(target)
            // What may not leave its node stays, as pages of a node that has gone from the mask do (migrate_pages(2)).
            if let source = node(source), source.allows(.userMigrate) { moves.append((.onNode(source.index), target)) }
        }
        try migrate(buffer, ranges: ranges, moves, account, isCancelled: isCancelled)
    }

    /// Moves the pages of ranges of a buffer to a node, from all other nodes; otherwise as
    /// ``migrate(_:ranges:steps:account:isCancelled:)``.
    public func migrate(
        _ buffer: Buffer, ranges: [Range<UInt64>], to target: Int,
        account: MigrationAccount = MigrationAccount(.range), isCancelled: () -> Bool = { false }
    ) throws(Errno) {
        let target = try migrationTarget(target)
        try migrate(buffer, ranges: ranges, [(movable(to: target), target)], account, isCancelled: isCancelled)
    }

    /// The pages that programs may move to a node.
    private func movable(to target: Node) -> PageFilter {
        // The usual case needs no look at the node of each page.
        nodes.allSatisfy { $0.allows(.userMigrate) } ? .notOn(node: target.index) : .movable(to: target.index)
    }

    /// How many pages a migration passes by because programs may not move them away from where they are.
    private func refused(_ filter: PageFilter, _ pages: Range<UInt64>, of buffer: Buffer) -> Int {
        guard case .movable(let target) = filter else { return 0 }
        return count(pages, of: buffer, .immovable(to: target))
    }

    /// Counts pages that lie on nodes from which programs may not move them. EBUSY where there are any.
    private func refuse(_ pages: Int, _ account: MigrationAccount) throws(Errno) {
        guard pages > 0 else { return }
        account.add(MigrationResult(failed: pages))
        throw .resourceBusy
    }

    private func migrate(
        _ buffer: Buffer, ranges: [Range<UInt64>], _ moves: [(PageFilter, Node)], _ account: MigrationAccount,
        isCancelled: () -> Bool
    ) throws(Errno) {
        let end = Page.count(of: buffer.size)
        let ranges = ranges.map { range in
            let first = range.lowerBound >> Page.shift
            return first..<max(first, min(end, Page.count(of: range.upperBound)))
        }
        try track(buffer, account) { account throws(Errno) in
            var refused = 0
            for (filter, _) in moves {
                for pages in ranges {
                    account.expect(count(pages, of: buffer, filter))
                    refused += self.refused(filter, pages, of: buffer)
                }
            }
            account.expect(refused)
            var failure: Errno?
            for (filter, target) in moves {
                for pages in ranges {
                    do throws(Errno) {
                        try move(
                            buffer, pages: pages, filter: filter, targets: [target], account: account,
                            isCancelled: isCancelled)
                    } catch .interrupted {
                        throw .interrupted
                    } catch {
                        // As in Linux, what cannot move does not keep the rest.
                        failure = error
                    }
                }
            }
            try refuse(refused, account)
            if let failure { throw failure }
        }
    }

    /// Checks the arguments of ``migrate(_:bytes:to:account:isCancelled:)`` without moving anything.
    public func checkMigration(of buffer: Buffer, bytes: Range<UInt64>?, to target: Int) throws(Errno) {
        _ = try migrationTarget(target)
        _ = try pageRange(bytes, of: buffer)
    }

    func migrationTarget(_ id: Int) throws(Errno) -> Node {
        guard let node = node(id), node.allows(.userMigrate), node.hasMemory else {
            throw .operationNotSupportedByDevice
        }
        return node
    }

    func pageRange(_ bytes: Range<UInt64>?, of buffer: Buffer) throws(Errno) -> Range<UInt64> {
        let end = Page.count(of: buffer.size)
        // Pages behind the end, which fallocate(2) may have made, go along.
        guard let bytes else { return 0..<UInt64.max >> Page.shift }
        let mask = Page.size - 1
        guard !bytes.isEmpty, bytes.lowerBound & mask == 0, bytes.upperBound & mask == 0,
            bytes.upperBound >> Page.shift <= end
        else { throw .invalidArgument }
        return bytes.lowerBound >> Page.shift..<bytes.upperBound >> Page.shift
    }

    /// Runs a migration, whose account is a part of another, for a buffer.
    private func track(
        _ buffer: Buffer, _ whole: MigrationAccount, _ body: (MigrationAccount) throws(Errno) -> Void
    ) throws(Errno) {
        let account = MigrationAccount(partOf: whole)
        try track(
            account, as: .migration(buffer: buffer.id), in: { edit in buffer.state.withLock { edit(&$0.migrations) } }
        ) { () throws(Errno) in try body(account) }
    }

    /// How many pages of a range a migration takes.
    func count(_ pages: Range<UInt64>, of buffer: Buffer, _ filter: PageFilter) -> Int {
        var count = 0
        forEachPage(of: buffer, in: pages) { _, entry in if matches(entry, filter) { count += 1 } }
        return count
    }

    /// Checks the arguments of ``migrate(node:to:account:isCancelled:)`` without moving anything.
    public func checkMigration(ofNode source: Node, to target: Int) throws(Errno) {
        guard try migrationTarget(target) !== source else { throw .invalidArgument }
    }

    /// Moves every page of a node to another (the `migrate` file of a coherent node). Blocks and fails as the migration
    /// of a buffer does, but pinned pages do not stop the others.
    public func migrate(
        node source: Node, to target: Int, account: MigrationAccount = MigrationAccount(.node),
        isCancelled: () -> Bool = { false }
    ) throws(Errno) {
        let node = try migrationTarget(target)
        guard node !== source else { throw .invalidArgument }
        let account = MigrationAccount(partOf: account)
        try track(
            account, as: .nodeMigration(node: source.id), in: { edit in source.migrations.withLock { edit(&$0) } }
        ) { () throws(Errno) in
            let concerned = buffers.map { ($0, $0.pages(onNode: source.index)) }.filter { $0.1 > 0 }
            for (_, pages) in concerned { account.expect(pages) }
            if !source.allows(.userMigrate) { try refuse(concerned.reduce(0) { $0 + $1.1 }, account) }
            var failure: Errno?
            for (buffer, _) in concerned {
                do throws(Errno) {
                    try move(
                        buffer, pages: 0..<UInt64.max >> Page.shift, filter: .onNode(source.index), targets: [node],
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

    /// Moves pages of a buffer batch by batch, each in its turn. EBUSY where pages are pinned, ENOMEM where the targets
    /// are full, EDQUOT where their user has had its share of them, EINTR when cancelled.
    func move(
        _ buffer: Buffer, pages: Range<UInt64>, filter: PageFilter, targets: [Node], prepaid: PrepaidFrames? = nil,
        account: MigrationAccount, isCancelled: () -> Bool, _ progress: (MigrationResult) -> Void = { _ in }
    ) throws(Errno) {
        func isOver() -> Bool { isCancelled() || account.isCancelled }
        var result = MigrationResult()
        func note(_ outcome: MigrationResult) {
            guard outcome.moved + outcome.failed > 0 else { return }
            account.add(outcome)
            progress(outcome)
            result.add(outcome)
        }
        var page = pages.lowerBound
        if try moveContiguous(
            buffer, pages: pages, filter: filter, targets: targets, account: account, isCancelled: isOver, note) != nil
        {
            page = pages.upperBound
        }
        while page < pages.upperBound, let next = buffer.nextPage(from: page), next < pages.upperBound {
            if isOver() { throw .interrupted }
            guard targets.contains(where: \.isPresent) else { throw .operationNotSupportedByDevice }
            let part = next..<min(pages.upperBound, (next / Self.batch + 1) * Self.batch)
            note(
                try moveInTurn(
                    buffer, pages: part, filter: filter, targets: targets, prepaid: prepaid, reason: account.reason,
                    user: account.user, isCancelled: isOver))
            page = part.upperBound
        }
        if let failure = failure(of: result, targets: targets) { throw failure }
    }

    /// Why pages that were to move did not, if there are any.
    func failure(of result: MigrationResult, targets: [Node]) -> Errno? {
        if result.pinned > 0 { return .resourceBusy }
        guard result.failed > result.poisoned else { return nil }
        guard targets.contains(where: \.isPresent) else { return .operationNotSupportedByDevice }
        return result.overShare > 0 ? .diskQuotaExceeded : .noMemory
    }
}

extension Buffer {
    /// The first page at or behind `page` that may have a frame: skips what was never touched.
    func nextPage(from page: UInt64) -> UInt64? {
        state.withLock { state in state.table.nextLeaf(from: page).map { max(page, $0.base) } }
    }
}
