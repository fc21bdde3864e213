import SystemPackage

extension Machine {
    /// Gives the missing pages of a range huge pages, as far as the buffer's mode has it: whole units of 512 pages that
    /// have no page yet. The caller holds the buffer's lock.
    ///
    /// - Returns: the end of what is there under ``HugeMode/pool``, whose buffers have no other pages; nil under the
    ///   other modes, where base pages serve the rest.
    /// - Throws: ENOMEM where the pools did not suffice under `shortage`.
    func populateHuge(
        _ pages: Range<UInt64>, of state: inout Buffer.State, for context: borrowing AllocationContext,
        policy shortage: Shortage
    ) throws(Errno) -> UInt64? {
        let units = HugePage.pages(around: pages.lowerBound).lowerBound..<pages.upperBound
        if state.huge == .pool { return try populatePooled(units, pages, of: &state, for: context, policy: shortage) }
        for first in stride(from: units.lowerBound, to: units.upperBound, by: HugePage.frames) {
            let unit = HugePage.pages(around: first)
            let end = max(Page.count(of: state.size), pages.upperBound)
            guard state.huge == .always || unit.upperBound <= end, isEmpty(unit, in: state),
                let choice = intendedNode(for: unit, context), context.hasRoom(HugePage.frames, on: choice.node),
                system.hostBudget.take(HugePage.frames, of: nodes),
                let run = choice.node.allocateHuge()
            else { continue }
            try insert(run, at: unit, of: &state)
            choice.node.counters.huge.add(1)
            // One event an allocation, whatever its order, as zone_statistics() counts.
            account(1, on: choice.node, intended: choice.node, isLocal: choice.node.index == context.local)
            if choice.isInterleaved { choice.node.counters.interleaveHit.add(1) }
            state.counters.count(HugePage.frames, byDevice: context.isDeviceTouch)
        }
        return nil
    }

    private func populatePooled(
        _ units: Range<UInt64>, _ pages: Range<UInt64>, of state: inout Buffer.State,
        for context: borrowing AllocationContext, policy shortage: Shortage
    ) throws(Errno) -> UInt64 {
        var taken: [(run: FrameRun, unit: Range<UInt64>)] = []
        var refused = NodeMask()
        var isOverShare = false
        var end = pages.upperBound
        for first in stride(from: units.lowerBound, to: units.upperBound, by: HugePage.frames) {
            let unit = HugePage.pages(around: first)
            guard isEmpty(unit, in: state) else { continue }
            guard let run = takePooled(for: unit, context, refused: &refused, &isOverShare) else {
                end = max(pages.lowerBound, first)
                break
            }
            taken.append((run, unit))
        }
        let isComplete = end == pages.upperBound
        // The kernel asks for each page of a failed read-ahead again: only that is counted.
        if isComplete || pages.count == 1 || shortage == .prefix {
            refused.forEach { nodes[$0].counters.refusedHugePages.add(1) }
            if !isComplete { state.counters.refused += 1 }
        }
        guard isComplete || shortage == .prefix && end > pages.lowerBound else {
            for (run, _) in taken { node(of: run.start).release(run) }
            throw isOverShare ? .diskQuotaExceeded : .noMemory
        }
        for index in taken.indices {
            do throws(Errno) {
                try insert(taken[index].run, at: taken[index].unit, of: &state)
            } catch {
                for later in taken[(index + 1)...] { node(of: later.run.start).release(later.run) }
                throw error
            }
            state.counters.count(HugePage.frames, byDevice: context.isDeviceTouch)
        }
        return end
    }

    /// Whether none of 512 pages has a frame.
    func isEmpty(_ unit: Range<UInt64>, in state: borrowing Buffer.State) -> Bool {
        guard let next = state.table.nextLeaf(from: unit.lowerBound) else { return true }
        return next.base >= unit.upperBound
    }

    /// The first node that a policy would ask. A huge page is not looked for farther away, where base pages may be had
    /// nearby.
    private func intendedNode(
        for unit: Range<UInt64>, _ context: borrowing AllocationContext
    ) -> (node: Node, isInterleaved: Bool)? {
        let preferred = turn(at: unit.lowerBound / UInt64(HugePage.frames), for: context).node
        // Under `prefer (many)` the nodes named come first, then all the others.
        for pass in context.policy.mode.traits.passes {
            let within = pass == PolicyTraits.listedPass
            for place in 0..<nodes.count {
                let node = nodes[Int(nodes[preferred].fallback[place])]
                guard admission(to: node, within: within, for: context) == .admitted, node.hasMemory else { continue }
                return (node, context.policy.mode.traits.isInterleaving && node.index == preferred)
            }
        }
        return nil
    }

    /// A reserved huge page of the nearest node that a policy allows (dequeue_hugetlb_folio_nodemask()).
    private func takePooled(
        for unit: Range<UInt64>, _ context: borrowing AllocationContext, refused: inout NodeMask,
        _ isOverShare: inout Bool
    ) -> FrameRun? {
        let preferred = turn(at: unit.lowerBound / UInt64(HugePage.frames), for: context).node
        for pass in context.policy.mode.traits.passes {
            let within = pass == PolicyTraits.listedPass
            for place in 0..<nodes.count {
                let node = nodes[Int(nodes[preferred].fallback[place])]
                switch admission(to: node, within: within, for: context) {
                case .admitted:
                    guard context.hasRoom(HugePage.frames, on: node) else {
                        isOverShare = true
                        continue
                    }
                    if let run = node.takePooled() { return run }
                case .passedOver, .notAllowed: break
                case .isolated: if node.hasPooled { refused.insert(node.index) }
                }
            }
        }
        return nil
    }

    /// Puts a huge page into the page table where there is nothing. ENOMEM frees it when tables run out.
    private func insert(_ run: FrameRun, at unit: Range<UInt64>, of state: inout Buffer.State) throws(Errno) {
        let node = node(of: run.start)
        for base in stride(from: unit.lowerBound, to: unit.upperBound, by: TablePool.entries) {
            do throws(Errno) {
                _ = try state.table.makeLeaf(of: base)
            } catch {
                for made in stride(from: unit.lowerBound, to: base, by: TablePool.entries) {
                    guard let leaf = state.table.leaf(of: made) else { continue }
                    state.table.remove(made..<made + UInt64(TablePool.entries), leaf: leaf) { _, _ in true }
                }
                node.release(run)
                throw error
            }
        }
        var entry = PageTableEntry(pfn: run.start)
        entry.isHuge = true
        for page in unit {
            guard let leaf = state.table.leaf(of: page) else { preconditionFailure("a table made is missing") }
            state.table.insert(entry, at: page, leaf: leaf)
            node.frames.setOwner(of: node.index(of: entry.pfn), to: leaf)
            entry.pfn += 1
        }
        state.addPages(HugePage.frames, node: node.index)
        settleFresh(unit, in: state)
    }

    /// Makes base pages of a huge page (split_huge_page()); never of a reserved one.
    func split(_ unit: Range<UInt64>, of state: inout Buffer.State) {
        assert(state.huge != .pool)
        var node: Node?
        for base in stride(from: unit.lowerBound, to: unit.upperBound, by: TablePool.entries) {
            guard let leaf = state.table.leaf(of: base) else { continue }
            let entries = unsafe state.table.entries(of: leaf)
            for slot in 0..<TablePool.entries {
                var entry = PageTableEntry(rawValue: unsafe entries[slot])
                guard entry.isHuge else { continue }
                node = node ?? self.node(of: entry.pfn)
                entry.isHuge = false
                unsafe entries[slot] = entry.rawValue
            }
        }
        node?.counters.huge.add(-1)
    }
}

extension AllocationContext {
    /// Whether the user's share of a node has room for so many frames.
    fileprivate func hasRoom(_ count: Int, on node: Node) -> Bool { share.map { $0.room(on: node) >= count } ?? true }
}

extension PageTable {
    /// Whether the pages of a leaf are parts of a huge page: all of them or none.
    func isHuge(_ leaf: UInt32) -> Bool { PageTableEntry(rawValue: unsafe entries(of: leaf)[0]).isHuge }
}
