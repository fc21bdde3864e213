import MachineTopology
import SystemPackage

/// A read under way: the pieces to send, and the leaves whose bytes are kept from reuse until they are sent.
@safe
struct Reading {
    var pieces: Pieces
    let leaves: UnsafeMutablePointer<UInt32>
    var leafCount = 0

    mutating func keep(_ leaf: UInt32, in tables: TablePool) {
        if leafCount > 0, unsafe leaves[leafCount - 1] == leaf { return }
        tables.beginReading(leaf)
        unsafe leaves[leafCount] = leaf
        leafCount += 1
    }
}

/// Pages that are read, gathered into runs of one node: those of a coherent one take their time over its link, by its model.
private struct FetchTally: ~Copyable {
    private let nodes: NodeMap
    private var node: Node?
    private var count = 0

    init(_ nodes: NodeMap) { self.nodes = nodes }

    @inline(__always)
    mutating func add(_ pfn: PFN) {
        if node?.span.contains(pfn) != true {
            flush()
            node = nodes.node(of: pfn)
        }
        count += 1
    }

    mutating func flush() {
        if count > 0 { node?.link?.countRead(pages: count) }
        count = 0
    }
}

extension Buffer.State {
    /// Finds the bytes of a read; see ``Machine/read(_:at:length:origin:isTouch:_:)``.
    mutating func gather(
        _ reading: inout Reading, at offset: UInt64, length: Int, in memory: Memory, origin: Origin, isTouch: Bool
    ) throws(Errno) {
        guard offset < size, length > 0 else {
            counters.read += 1
            return
        }
        let end = offset + min(UInt64(length), size - offset)
        let range = offset >> Page.shift..<Page.count(of: end)
        try checkMoving(range)
        try checkDevices(range)
        counters.read += 1
        let nodes = memory.nodes
        let pool = memory.tables
        // Never fewer bytes: to the kernel that would be the end of the file. It asks again, page by page.
        if pages.firstMarker(in: range) != nil { throw .ioError }
        let placedBefore = counters.cpu
        if isTouch { try populate(range, in: memory, origin: origin, policy: .all) }
        let hasOld = counters.cpu &- placedBefore < UInt64(range.count)

        var tally = PageTally(nodes)
        var fetched = FetchTally(nodes)
        var page = range.lowerBound
        while page < range.upperBound {
            let stop = min(range.upperBound, TablePool.leafEnd(of: page))
            guard let leaf = pages.table.leaf(of: page) else {
                precondition(!isTouch, "a populated page has no leaf")
                reading.pieces.appendZeros(Int(min(end, stop << Page.shift) - max(offset, page << Page.shift)))
                page = stop
                continue
            }
            let entries = unsafe pages.table.entries(of: leaf)
            while page < stop {
                let slot = unsafe entries + TablePool.slot(of: page)
                var entry = PageTableEntry(rawValue: unsafe slot.pointee)
                let from = max(offset, page << Page.shift)
                let to = min(end, (page + 1) << Page.shift)
                page += 1
                guard entry.isPresent else {
                    reading.pieces.appendZeros(Int(to - from))
                    continue
                }
                fetched.add(entry.pfn)
                if isTouch { entry.isCached = true } else { entry.isAccessed = true }
                if entry.isHinting { memory.hinting.fault(&entry, page: page - 1, in: self, origin: origin) }
                unsafe tally.set(slot, to: entry)
                if entry.isWritten {
                    reading.keep(leaf, in: pool)
                    unsafe reading.pieces.append(
                        pool.address(of: slot) + Int(from & (Page.size - 1)), Int(to - from))
                } else {
                    reading.pieces.appendZeros(Int(to - from))
                }
            }
        }
        tally.flush(in: &pages)
        fetched.flush()
        if hasOld {
            memory.trace.noteFound(
                range, of: pages.table.owner, isTouch ? .read : .look, continues: counters.cpu != placedBefore, origin)
        }
    }
}
