import Synchronization
import SystemPackage

extension Machine {
    /// Moves pages of a buffer to a node, wherever they are now (migrate_pages(2) for a range).
    ///
    /// Blocks until the pages have moved; never call it from a thread that the page cache may wait for.
    ///
    /// - Parameters:
    ///   - bytes: page-aligned, within the buffer; nil for all of it.
    ///   - target: the node's id.
    ///   - isCancelled: asked between batches.
    /// - Throws: ENODEV for a node that does not exist or has no memory online, EINVAL for a bad range, ENOMEM where
    ///   the target is full, EBUSY where pages cannot be moved, as those of a contiguous buffer, EINTR when cancelled. What
    ///   was moved stays moved.
    public func migrate(
        _ buffer: Buffer, bytes: Range<UInt64>? = nil, to target: Int, isCancelled: () -> Bool = { false }
    ) throws(Errno) {
        let node = try migrationTarget(target)
        var pages = try pageRange(bytes, of: buffer)
        if buffer.hugeMode == .pool {
            // A reserved huge page moves as a whole, whichever part of it was named.
            pages =
                HugePage.pages(
                    around: pages.lowerBound
                ).lowerBound..<HugePage.pages(around: pages.upperBound - 1).upperBound
        }
        try track(buffer) { () throws(Errno) in
            try move(buffer, pages: pages, filter: .notOn(node: node.index), targets: [node], isCancelled: isCancelled)
            {
                progress in buffer.state.withLock { $0.migration.add(progress) }
            }
        }
    }

    /// Moves the pages of ranges of a buffer that are on some nodes to others, step by step (do_migrate_pages()).
    ///
    /// Blocks as ``migrate(_:bytes:to:isCancelled:)`` does. What lies behind the end of the buffer is left out.
    ///
    /// - Parameters:
    ///   - ranges: bytes, widened to whole pages.
    ///   - steps: ids of nodes; see ``IDSet/migrationSteps(to:)``.
    /// - Throws: ENODEV for a target that does not exist or has no memory online, ENOMEM where one is full, EBUSY where
    ///   pages cannot be moved, EINTR when cancelled. What was moved stays moved.
    public func migrate(
        _ buffer: Buffer, ranges: [Range<UInt64>], steps: [(source: Int, target: Int)],
        isCancelled: () -> Bool = { false }
    ) throws(Errno) {
        var moves: [(PageFilter, Node)] = []
        for (source, target) in steps {
            let target = try migrationTarget(target)
            if let source = node(source) { moves.append((.onNode(source.index), target)) }
        }
        try migrate(buffer, ranges: ranges, moves, isCancelled: isCancelled)
    }

    /// Moves the pages of ranges of a buffer to a node, wherever they are; as
    /// ``migrate(_:ranges:steps:isCancelled:)`` otherwise.
    public func migrate(
        _ buffer: Buffer, ranges: [Range<UInt64>], to target: Int, isCancelled: () -> Bool = { false }
    ) throws(Errno) {
        let target = try migrationTarget(target)
        try migrate(buffer, ranges: ranges, [(.notOn(node: target.index), target)], isCancelled: isCancelled)
    }

    private func migrate(
        _ buffer: Buffer, ranges: [Range<UInt64>], _ moves: [(PageFilter, Node)], isCancelled: () -> Bool
    ) throws(Errno) {
        let end = Page.count(of: buffer.size)
        try track(buffer) { () throws(Errno) in
            var failure: Errno?
            for (filter, target) in moves {
                for range in ranges {
                    let pages =
                        range.lowerBound
                        >> Page.shift..<max(
                            range.lowerBound >> Page.shift, min(end, Page.count(of: range.upperBound)))
                    do throws(Errno) {
                        try move(buffer, pages: pages, filter: filter, targets: [target], isCancelled: isCancelled) {
                            progress in buffer.state.withLock { $0.migration.add(progress) }
                        }
                    } catch  where error == .noMemory || error == .resourceBusy {
                        // As in Linux, what cannot move does not keep the rest.
                        failure = error
                    }
                }
            }
            if let failure { throw failure }
        }
    }

    /// Checks what ``migrate(_:bytes:to:isCancelled:)`` is asked for, without moving anything.
    public func checkMigration(of buffer: Buffer, bytes: Range<UInt64>?, to target: Int) throws(Errno) {
        _ = try migrationTarget(target)
        _ = try pageRange(bytes, of: buffer)
    }

    private func migrationTarget(_ id: Int) throws(Errno) -> Node {
        guard let node = node(id), node.hasMemory else { throw .operationNotSupportedByDevice }
        return node
    }

    private func pageRange(_ bytes: Range<UInt64>?, of buffer: Buffer) throws(Errno) -> Range<UInt64> {
        let end = Page.count(of: buffer.size)
        // Pages behind the end, which fallocate(2) may have made, go along.
        guard let bytes else { return 0..<UInt64.max >> Page.shift }
        let mask = Page.size - 1
        guard !bytes.isEmpty, bytes.lowerBound & mask == 0, bytes.upperBound & mask == 0,
            bytes.upperBound >> Page.shift <= end
        else { throw .invalidArgument }
        return bytes.lowerBound >> Page.shift..<bytes.upperBound >> Page.shift
    }

    /// Runs a migration and keeps its account in the buffer.
    private func track(_ buffer: Buffer, _ body: () throws(Errno) -> Void) throws(Errno) {
        let start = ContinuousClock.now
        buffer.state.withLock { state in
            state.migration = MigrationResult()
            state.migration.state = .running
        }
        announce(.migration(buffer: buffer.id))
        defer { announce(.migration(buffer: buffer.id)) }
        func end(_ error: Errno?) {
            buffer.state.withLock {
                $0.migration.end(error: error != nil, cancelled: error == .interrupted, after: .now - start)
            }
        }
        do throws(Errno) {
            try body()
        } catch {
            end(error)
            throw error
        }
        end(nil)
    }

    /// Checks what ``migrate(node:to:isCancelled:)`` is asked for, without moving anything.
    public func checkMigration(ofNode source: Node, to target: Int) throws(Errno) {
        guard try migrationTarget(target) !== source else { throw .invalidArgument }
    }

    /// Moves every page of a node to another (the `migrate` file of a coherent node). Blocks and fails as the
    /// migration of a buffer does.
    public func migrate(node source: Node, to target: Int, isCancelled: () -> Bool = { false }) throws(Errno) {
        let node = try migrationTarget(target)
        guard node !== source else { throw .invalidArgument }
        let start = ContinuousClock.now
        var result = MigrationResult()
        result.state = .running
        source.migrationResult.withLock { $0 = result }
        announce(.nodeMigration(node: source.id))
        defer { announce(.nodeMigration(node: source.id)) }
        var failure: Errno?
        for buffer in buffers where buffer.pages(onNode: source.index) > 0 {
            do throws(Errno) {
                try move(
                    buffer, pages: 0..<UInt64.max >> Page.shift, filter: .onNode(source.index), targets: [node],
                    isCancelled: isCancelled
                ) { part in
                    result.add(part)
                    source.migrationResult.withLock { $0 = result }
                }
            } catch {
                failure = error
                // What cannot move does not keep the rest.
                if error != .resourceBusy { break }
            }
        }
        result.end(error: failure != nil, cancelled: failure == .interrupted, after: .now - start)
        source.migrationResult.withLock { $0 = result }
        if let failure { throw failure }
    }

    /// Moves pages of a buffer batch by batch. ENOMEM where the targets are full, EBUSY where pages cannot be moved, EINTR
    /// when cancelled.
    func move(
        _ buffer: Buffer, pages: Range<UInt64>, filter: PageFilter, targets: [Node], prepaid: PrepaidFrames? = nil,
        isCancelled: () -> Bool, _ progress: (MigrationResult) -> Void
    ) throws(Errno) {
        var (failed, pinned) = (0, 0)
        var page = pages.lowerBound
        while page < pages.upperBound, let next = buffer.nextPage(from: page), next < pages.upperBound {
            if isCancelled() { throw .interrupted }
            let part = next..<min(pages.upperBound, (next / Self.batch + 1) * Self.batch)
            let outcome = buffer.migrationTurn.withLock { _ in
                moveBatch(of: buffer, pages: part, filter: filter, targets: targets, prepaid: prepaid)
            }
            if outcome.moved + outcome.failed > 0 { progress(outcome) }
            failed += outcome.failed
            pinned += outcome.pinned
            page = part.upperBound
        }
        if failed > 0 { throw failed == pinned ? .resourceBusy : .noMemory }
    }
}

extension Buffer {
    /// The first page at or behind `page` that may have a frame: skips what was never touched.
    func nextPage(from page: UInt64) -> UInt64? {
        state.withLock { state in state.table.nextLeaf(from: page).map { max(page, $0.base) } }
    }
}
