import LinuxSupport
import MachineTopology
import SystemPackage

/// Who moves pages from frame to frame (mm/migrate.c): batch by batch, each in its turn of the buffer, and in a channel of each
/// device concerned.
final class Mover: Sendable {
    let memory: Memory
    let devices: [Device]
    let events: Events
    let nodes: NodeMap
    /// Who moved whither how often.
    let transfers = TransferMatrix()

    init(_ memory: Memory, devices: [Device], events: Events) {
        self.memory = memory
        self.devices = devices
        self.events = events
        nodes = memory.nodes
    }

    /// Runs a migration and keeps its account among those of a buffer or a node.
    ///
    /// - Parameter edit: changes these under their lock.
    func track(
        _ account: MigrationAccount, as event: MachineEvent, in edit: ((inout Migrations) -> Void) -> Void,
        _ body: () throws(Errno) -> Void
    ) throws(Errno) {
        edit { $0.begin(account) }
        events.announce(event)
        defer {
            edit { $0.end(account) }
            events.announce(event)
        }
        do throws(Errno) {
            try body()
        } catch {
            account.end(error)
            throw error
        }
        account.end(nil)
    }

    /// Runs a migration, whose account is a part of another, for a buffer.
    func track(
        _ buffer: Buffer, _ whole: MigrationAccount, _ body: (MigrationAccount) throws(Errno) -> Void
    ) throws(Errno) {
        let account = MigrationAccount(partOf: whole)
        try track(
            account, as: .migration(buffer: buffer.id), in: { edit in buffer.state.withLock { edit(&$0.migrations) } }
        ) { () throws(Errno) in try body(account) }
    }

    /// Moves pages of ranges of a buffer, in bytes, as several filters and targets say one after the other.
    func migrate(
        _ buffer: Buffer, ranges: [Range<UInt64>], _ moves: [(PageFilter, Node)], _ account: MigrationAccount,
        isCancelled: () -> Bool
    ) throws(Errno) {
        let end = Page.count(of: buffer.size)
        // A reserved huge page moves as a whole, whichever part of it was named.
        let isPooled = buffer.hugeMode == .pool
        let ranges = ranges.map { range in
            let first = range.lowerBound >> Page.shift
            let pages = first..<max(first, min(end, Page.count(of: range.upperBound)))
            guard isPooled, !pages.isEmpty else { return pages }
            return HugePage.pages(around: first).lowerBound..<HugePage.pages(around: pages.upperBound - 1).upperBound
        }
        try track(buffer, account) { account throws(Errno) in
            var refused = 0
            for (filter, _) in moves {
                for pages in ranges {
                    account.expect(buffer.count(pages, filter))
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

    /// The pages that programs may move to a node.
    func movable(to target: Node) -> PageFilter {
        // The usual case needs no look at the node of each page.
        nodes.all.allSatisfy { $0.allows(.userMigrate) }
            ? .notOn(target.span) : .movable(to: target.span, in: nodes)
    }

    /// How many pages a migration passes by because programs may not move them away from where they are.
    func refused(_ filter: PageFilter, _ pages: Range<UInt64>, of buffer: Buffer) -> Int {
        guard case .movable(let target, _) = filter else { return 0 }
        return buffer.count(pages, .immovable(to: target, in: nodes))
    }

    /// Counts pages that lie on nodes from which programs may not move them. EBUSY where there are any.
    func refuse(_ pages: Int, _ account: MigrationAccount) throws(Errno) {
        guard pages > 0 else { return }
        account.add(MigrationResult(failed: pages))
        throw .resourceBusy
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

    /// Moves the pages of one batch when it is its turn, through a channel of each device concerned.
    ///
    /// Turns, of the buffer and then of the devices by their place, come before every other lock. Who holds one waits
    /// only for who holds a later one, for the page cache, and for the model of a link.
    ///
    /// - Throws: EINTR when cancelled before anything moved.
    func moveInTurn(
        _ buffer: Buffer, pages: Range<UInt64>, filter: PageFilter, targets: [Node], prepaid: PrepaidFrames? = nil,
        reason: MoveReason, user: UInt32, isCancelled: () -> Bool
    ) throws(Errno) -> MigrationResult {
        guard buffer.migrationTurn.wait(for: user, unless: isCancelled) else { throw .interrupted }
        defer { buffer.migrationTurn.signal() }
        return try moveHoldingTurn(
            buffer, pages: pages, filter: filter, targets: targets, prepaid: prepaid, reason: reason, user: user,
            isCancelled: isCancelled)
    }

    /// The same for who holds the buffer's turn.
    func moveHoldingTurn(
        _ buffer: Buffer, pages: Range<UInt64>, filter: PageFilter, targets: [Node], prepaid: PrepaidFrames? = nil,
        reason: MoveReason, user: UInt32 = 0, isCancelled: () -> Bool
    ) throws(Errno) -> MigrationResult {
        do throws(Errno) {
            try recall(pages, of: buffer, moving: filter, isCancelled: isCancelled)
        } catch {
            // The caller, which chose the pages, may have marked them.
            leave(pages, of: buffer, filter: filter)
            throw error
        }
        var refused = MigrationResult()
        guard let wanted = select(pages, of: buffer, filter: filter, &refused) else { return refused }
        let outcome = moveInChannels(
            buffer, from: wanted.sources, to: targets, reason: reason, user: user, isCancelled: isCancelled,
            mayGiveUp: true
        ) { isPaced in
            if isPaced { holdBack(pages, of: buffer, filter: filter) }
            var outcome = move(
                wanted, in: pages, of: buffer, filter: filter, targets: targets, prepaid: prepaid, isHeld: isPaced)
            if outcome.moved > 0 { memory.placeOnHost(pages, of: buffer, moving: true) }
            outcome.add(refused)
            return outcome
        } arrived: {
            releaseHold(of: buffer)
        }
        guard let outcome else {
            leave(pages, of: buffer, filter: filter)
            throw .interrupted
        }
        return outcome
    }
}

/// A part of the machine that has pages moved.
protocol MoverUser: Sendable {
    var mover: Mover { get }
}

extension MoverUser {
    var memory: Memory { mover.memory }
    var nodes: NodeMap { mover.nodes }
    var devices: [Device] { mover.devices }
    var events: Events { mover.events }
}

extension NodeMap {
    /// The nodes to whose shares contiguous buffers of a node may be drained, the nearest first: those that the request which named the
    /// one may name.
    func contiguousTargets(beside node: Node) -> [Node] {
        byDistance(from: node).filter {
            $0 !== node && $0.kind == .coherent && $0.allows([.mempolicy, .anyTask])
        }
    }

    /// Where pages go that have to leave their frames: the node itself, then RAM by distance.
    func refuges(from node: Node) -> [Node] {
        [node] + byDistance(from: node).filter { $0 !== node && $0.kind == .ram }
    }

    /// The node that pages are to move to. ENODEV where it does not exist, has no memory online or takes no pages of programs.
    func migrationTarget(_ id: Int) throws(Errno) -> Node {
        guard let node = node(id), node.allows(.userMigrate), node.hasMemory else {
            throw .operationNotSupportedByDevice
        }
        return node
    }
}

extension Buffer {
    /// The pages of a range of bytes. EINVAL where it is not page-aligned, or not within the buffer.
    func pageRange(_ bytes: Range<UInt64>?) throws(Errno) -> Range<UInt64> {
        let end = Page.count(of: size)
        // Pages behind the end, which fallocate(2) may have made, go along.
        guard let bytes else { return 0..<UInt64.max >> Page.shift }
        let mask = Page.size - 1
        guard !bytes.isEmpty, bytes.lowerBound & mask == 0, bytes.upperBound & mask == 0,
            bytes.upperBound >> Page.shift <= end
        else { throw .invalidArgument }
        return bytes.lowerBound >> Page.shift..<bytes.upperBound >> Page.shift
    }
}
