import CoherentMemory
import MachineTopology
import SystemPackage

/// The calls that tell where pages are, and move them (mm/migrate.c and mm/mempolicy.c).
extension CallContext {
    /// Pages that are looked at between two looks at whether the caller still waits.
    private static var chunk: UInt64 { 512 }

    /// move_pages(2).
    func movePages(
        process number: UInt64, count: UInt64, pages: UInt64, nodes: UInt64, status: UInt64, flags: UInt64
    ) throws(Errno) -> CallOutcome {
        let flags = MoveFlags(argument: flags)
        guard flags.isSubset(of: [.move, .moveAll]) else { throw .invalidArgument }
        guard !flags.contains(.moveAll) || isPrivileged else { throw .notPermitted }
        let process = try process(named: Int32(truncatingIfNeeded: number))
        let allowed = nodes == 0 ? IDSet() : try usableNodes(of: process ?? task)
        // An array that no address space has room for is found to end where that does.
        guard count <= UInt64(Int64.max) / 8 else { throw .badAddress }
        guard count > 0 else { return .value(0) }
        let known = try areas(of: process, at: 0..<UInt64.max)
        guard try names(pages, count, in: known) else { return .pass }
        var failed: Int64 = 0
        var position: UInt64 = 0
        while position < count {
            if isOver { throw .interrupted }
            let part = min(Self.chunk, count - position)
            let addresses = try read(pages &+ position &* 8, count: Int(part), as: UInt64.self)
            let wanted = nodes == 0 ? nil : try read(nodes &+ position &* 4, count: Int(part), as: Int32.self)
            var places = addresses.map { place(of: $0, in: known, of: process) }
            var error: Errno?
            if let wanted {
                // What comes before a node that there is not is moved all the same.
                let good = wanted.prefix { isUsable($0, allowed) == nil }.count
                if good < wanted.count { error = isUsable(wanted[good], allowed) }
                failed += try move(
                    Array(addresses[..<good]), to: wanted, in: known, of: process, movesAll: flags.contains(.moveAll),
                    &places)
                places.removeLast(places.count - good)
            }
            if !places.isEmpty { try write(places, at: status &+ position &* 4) }
            if let error { throw error }
            position += part
        }
        return .value(failed)
    }

    /// Whether any of some addresses is of a buffer, or none is of anything. A call about memory of the host alone is the kernel's.
    private func names(_ pages: UInt64, _ count: UInt64, in areas: [MemoryArea]) throws(Errno) -> Bool {
        guard areas.contains(where: \.isSimulated) else { return false }
        var position: UInt64 = 0
        var namesHost = false
        while position < count {
            if isOver { throw .interrupted }
            let part = min(Self.chunk, count - position)
            let addresses = try read(pages &+ position &* 8, count: Int(part), as: UInt64.self)
            for address in addresses {
                guard let area = areas.area(at: address) else { continue }
                if area.isSimulated { return true }
                namesHost = true
            }
            position += part
        }
        return !namesHost
    }

    /// Why a page may not go to a node; nil where it may.
    private func isUsable(_ node: Int32, _ allowed: IDSet) -> Errno? {
        guard node >= 0, machine.node(Int(node))?.hasMemory ?? false else { return .operationNotSupportedByDevice }
        return allowed.contains(Int(node)) ? nil : .permissionDenied
    }

    /// The node of a page, or the negative error that its status is (do_pages_stat_array()).
    private func place(of address: UInt64, in areas: [MemoryArea], of process: Int32?) -> Int32 {
        guard let area = areas.area(at: address) else { return -Errno.badAddress.rawValue }
        guard let part = area.part(at: address..<address + 1) else { return -Errno.noSuchFileOrDirectory.rawValue }
        if let node = machine.nodeID(of: part.buffer, at: part.bytes.lowerBound) { return Int32(node) }
        // A page of zeros has no place.
        let isZeros = area.isOwn && isPresent(address & ~(Page.size - 1), of: process)
        return -(isZeros ? Errno.badAddress : Errno.noSuchFileOrDirectory).rawValue
    }

    /// Moves pages that have a place, each to its node, in runs of those that follow each other; notes where they are then.
    ///
    /// - Returns: how many stayed where they were.
    private func move(
        _ addresses: [UInt64], to wanted: [Int32], in areas: [MemoryArea], of process: Int32?, movesAll: Bool,
        _ places: inout [Int32]
    ) throws(Errno) -> Int64 {
        // What others map, too, only MPOL_MF_MOVE_ALL moves (add_folio_for_migration()).
        for index in addresses.indices where !movesAll && places[index] >= 0 {
            guard areas.area(at: addresses[index])?.isMappedTwice ?? false else { continue }
            places[index] = -Errno.permissionDenied.rawValue
        }
        var index = 0
        var failed: Int64 = 0
        var hasMoved = false
        while index < addresses.count {
            let start = index
            index += 1
            let target = wanted[start]
            // A page that is named again may be elsewhere by now.
            if hasMoved, places[start] >= 0 { places[start] = place(of: addresses[start], in: areas, of: process) }
            guard places[start] >= 0, places[start] != target, let part = page(addresses[start], in: areas) else {
                continue
            }
            if let node = machine.node(Int(target)) { try machine.checkAccess(to: node, by: task) }
            hasMoved = true
            var bytes = part.bytes
            while index < addresses.count, wanted[index] == target, places[index] >= 0,
                let next = page(addresses[index], in: areas), next.buffer === part.buffer,
                next.bytes.lowerBound == bytes.upperBound
            {
                bytes = bytes.lowerBound..<next.bytes.upperBound
                index += 1
            }
            do throws(Errno) {
                try machine.migrate(part.buffer, ranges: [bytes], to: Int(target)) { isOver }
            } catch .interrupted {
                throw .interrupted
            } catch {
                // Which ones stayed is looked up.
            }
            for moved in start..<index {
                places[moved] = place(of: addresses[moved], in: areas, of: process)
                guard places[moved] != target else { continue }
                failed += 1
                places[moved] = -(part.buffer.isPinned ? Errno.resourceBusy : Errno.noMemory).rawValue
            }
        }
        return failed
    }

    /// The page of a buffer that an address lies in.
    private func page(_ address: UInt64, in areas: [MemoryArea]) -> BufferPart? {
        let start = address & ~(Page.size - 1)
        return areas.area(at: address)?.part(at: start..<start + Page.size)
    }

    /// migrate_pages(2).
    func migratePages(
        process number: UInt64, limit: UInt64, old: UInt64, new: UInt64
    ) throws(Errno) -> CallOutcome {
        let old = try nodes(at: old, limit: limit)
        var new = try nodes(at: new, limit: limit)
        let process = try process(named: Int32(truncatingIfNeeded: number))
        let reachable = try usableNodes(of: process ?? task)
        guard isPrivileged || new.isSubset(of: reachable) else { throw .notPermitted }
        new.formIntersection(usableNodes())
        guard !new.isEmpty else { throw .invalidArgument }
        try machine.checkAccess(to: new, by: task)
        let steps = old.migrationSteps(to: new)
        guard !steps.isEmpty else { return .value(0) }
        var ranges: [Buffer.ID: (buffer: Buffer, ranges: [Range<UInt64>])] = [:]
        // What others map, too, moves with CAP_SYS_NICE alone.
        let areas = try areas(of: process, at: 0..<UInt64.max).filter { isPrivileged || !$0.isMappedTwice }
        for part in areas.parts(at: 0..<UInt64.max) where part.buffer.fixedSize == nil {
            ranges[part.buffer.id, default: (part.buffer, [])].ranges.append(part.bytes)
        }
        let account = MigrationAccount(.task)
        for (buffer, ranges) in ranges.values.sorted(by: { $0.buffer.id < $1.buffer.id }) {
            do throws(Errno) {
                try machine.migrate(buffer, ranges: ranges, steps: steps, account: account) { isOver }
            } catch .interrupted {
                throw .interrupted
            } catch {
                // As in Linux, what cannot move does not keep the rest; it is counted.
            }
        }
        return .value(Int64(account.result.failed))
    }
}
