import CoherentMemory
import MachineTopology
import SystemPackage

/// The calls that set and tell policies, as mm/mempolicy.c has them.
extension CallContext {
    /// set_mempolicy(2).
    func setPolicy(mode: UInt64, nodes address: UInt64, limit: UInt64) throws(Errno) -> CallOutcome {
        let mode = Int32(truncatingIfNeeded: mode)
        try MemoryPolicy.check(call: mode)
        let nodes = try nodes(at: address, limit: limit)
        let policy = try MemoryPolicy(call: mode, nodes: nodes, allowed: usableNodes())
        try machine.setPolicy(policy, ofTask: task)
        return .value(0)
    }

    /// get_mempolicy(2).
    func getPolicy(
        mode: UInt64, nodes: UInt64, limit: UInt64, address: UInt64, flags: UInt64
    ) throws(Errno) -> CallOutcome {
        guard nodes == 0 || limit >= UInt64(nodeLimit) else { throw .invalidArgument }
        let flags = QueryFlags(rawValue: flags)
        guard flags.isSubset(of: .all) else { throw .invalidArgument }
        var policy = MemoryPolicy.default
        var value: Int32
        var set: IDSet
        if flags.contains(.allowed) {
            guard flags == .allowed else { throw .invalidArgument }
            (value, set) = (0, try allowedNodes(of: task))
        } else {
            var part: BufferPart?
            if flags.contains(.address) {
                guard let area = try areas(of: nil, at: address..<max(address, address &+ 1)).area(at: address) else {
                    throw .badAddress
                }
                part = area.part(at: address..<address + 1)
                guard let part else { return .pass }
                policy = machine.policy(of: part.policies, at: part.bytes.lowerBound)
            } else {
                guard address == 0 else { throw .invalidArgument }
                policy = try machine.policy(ofTask: task)
            }
            (value, set) = (policy.callMode, policy.nodes)
            if flags.contains(.node) {
                if let part {
                    // As a touch that only reads.
                    if machine.nodeID(of: part.buffer, at: part.bytes.lowerBound) == nil { _ = try read(address, 1) }
                    let node = machine.nodeID(of: part.buffer, at: part.bytes.lowerBound)
                    // The page of zeros is on the first node, as that of Linux.
                    let isZeros = node == nil && isPresent(address & ~(Page.size - 1), of: nil)
                    guard let node = node ?? (isZeros ? machine.nodesWithMemory.min() : nil) else {
                        throw .badAddress
                    }
                    value = Int32(node)
                } else {
                    // Pages of buffers take turns by their offsets: a task begins with the first node.
                    guard policy.mode == .interleave || policy.mode == .weightedInterleave,
                        let first = policy.nodes(within: usableNodes()).min()
                    else { throw .invalidArgument }
                    value = Int32(first)
                }
            }
        }
        if mode != 0 { try write([value], at: mode) }
        if nodes != 0 { try write(set, at: nodes, limit: limit) }
        return .value(0)
    }

    /// The whole pages from an address on; nil for none.
    private func pages(from start: UInt64, length: UInt64) throws(Errno) -> Range<UInt64>? {
        guard start & (Page.size - 1) == 0 else { throw .invalidArgument }
        let length = (length &+ Page.size - 1) & ~(Page.size - 1)
        let end = start &+ length
        guard end >= start else { throw .invalidArgument }
        return end == start ? nil : start..<end
    }

    /// mbind(2).
    func bind(
        start: UInt64, length: UInt64, mode: UInt64, nodes address: UInt64, limit: UInt64, flags: UInt64
    ) throws(Errno) -> CallOutcome {
        let mode = Int32(truncatingIfNeeded: mode)
        try MemoryPolicy.check(call: mode)
        let nodes = try nodes(at: address, limit: limit)
        var flags = MoveFlags(argument: flags)
        guard flags.isSubset(of: [.strict, .move, .moveAll]) else { throw .invalidArgument }
        guard !flags.contains(.moveAll) || isPrivileged else { throw .notPermitted }
        if mode == 0 { flags.remove(.strict) }
        guard let range = try pages(from: start, length: length) else { return .value(0) }
        let policy = try MemoryPolicy(call: mode, nodes: nodes, allowed: usableNodes())
        let areas = try areas(of: nil, at: range)
        let parts = areas.parts(at: range)
        let moves = !flags.isDisjoint(with: [.move, .moveAll])
        let isStrict = flags.contains(.strict) && !moves
        guard areas.cover(range) else {
            // The pages of a mapping are looked at before what follows the next one (queue_pages_test_walk()).
            if isStrict { try check(areas.ahead(ofHolesIn: range).parts(at: range), under: policy) }
            throw .badAddress
        }
        guard !parts.isEmpty else { return .pass }
        // hugetlb_vm_op_split()
        for part in parts where part.buffer.isAnonymous && part.buffer.hugeMode == .pool {
            guard part.bytes.lowerBound % HugePage.size == 0, part.bytes.upperBound % HugePage.size == 0 else {
                throw .invalidArgument
            }
        }
        if isStrict { try check(parts, under: policy) }
        for part in parts { try machine.setPolicy(policy, of: part.policies, bytes: part.bytes, by: task) }
        guard moves else { return .value(0) }
        var left = 0
        // What others map, too, only MPOL_MF_MOVE_ALL moves (queue_folios_pte_range()).
        let isMovable = { (area: MemoryArea) in flags.contains(.moveAll) || !area.isMappedTwice }
        for part in areas.filter({ !isMovable($0) }).parts(at: range) {
            left += machine.misplacedPages(of: part.buffer, bytes: part.bytes, under: policy)
        }
        // Without a policy of its own the task's applies, and pages are wherever that would have them (do_mbind()).
        let placing = mode == 0 ? (try? machine.policy(ofTask: task)) ?? policy : policy
        for part in areas.filter(isMovable).parts(at: range) {
            left += machine.conform(part.buffer, bytes: part.bytes, to: placing, local: node, movesAll: mode == 0) {
                isOver
            }
        }
        if left > 0, flags.contains(.strict) { throw .ioError }
        return .value(0)
    }

    /// EIO where a page is on a node that a policy does not name.
    private func check(_ parts: [BufferPart], under policy: MemoryPolicy) throws(Errno) {
        for part in parts where machine.misplacedPages(of: part.buffer, bytes: part.bytes, under: policy) > 0 {
            throw .ioError
        }
    }

    /// set_mempolicy_home_node(2).
    func setHomeNode(start: UInt64, length: UInt64, home: UInt64, flags: UInt64) throws(Errno) -> CallOutcome {
        guard start & (Page.size - 1) == 0, flags == 0, home < UInt64(IDSet.maxNodes),
            machine.node(Int(home))?.isPresent ?? false
        else { throw .invalidArgument }
        guard let range = try pages(from: start, length: length) else { return .value(0) }
        let areas = try areas(of: nil, at: range)
        let parts = areas.parts(at: range)
        guard !parts.isEmpty || areas.isEmpty else { return .pass }
        var isAny = false
        for part in parts {
            for stretch in machine.policies(of: part.policies, in: part.bytes) where stretch.policy.mode != .default {
                try machine.setPolicy(
                    try stretch.policy.at(home: Int(home)), of: part.policies, bytes: stretch.bytes, by: task)
                isAny = true
            }
        }
        guard isAny else { throw .noSuchFileOrDirectory }
        return .value(0)
    }
}
