import LinuxSupport
import SystemPackage

extension Machine {
    /// The resident pages of a range of a buffer, in bytes, widened to whole pages.
    public func residentPages(of buffer: Buffer, bytes: Range<UInt64>) -> ResidentPages {
        buffer.resident(in: bytes.lowerBound >> Page.shift..<Page.count(of: bytes.upperBound), of: memory.nodes)
    }

    /// The number of pages of a buffer on each node, ascending by node id; nodes without pages are left out.
    public func placement(of buffer: Buffer) -> [(node: Int, pages: Int)] {
        let counts = buffer.state.withLock { $0.pages.byNode }
        return zip(nodes, counts).filter { $1 > 0 }.map { ($0.id, $1) }
    }

    /// The runs of pages of a buffer that have frames, or had one until it failed, in order of their offsets.
    public func runs(of buffer: Buffer) -> [PageRun] { runs(of: buffer, from: 0, limit: .max) }

    /// The first runs at or behind an offset, at most `limit`; empty if there are no more.
    public func runs(of buffer: Buffer, from offset: UInt64, limit: Int) -> [PageRun] {
        buffer.runs(from: Page.count(of: offset), limit: limit, in: memory.nodes)
    }

    /// The first byte at or behind `offset` whose page has a frame (SEEK_DATA). ENXIO if there is none.
    public func nextData(in buffer: Buffer, from offset: UInt64) throws(Errno) -> UInt64 {
        let found = buffer.state.withLock { state -> UInt64? in
            guard offset < state.size else { return nil }
            if let backing = state.backing { return backing.nextData(from: offset) }
            return state.pages.table.firstEntry(in: offset >> Page.shift..<Page.count(of: state.size)).map {
                max(offset, $0 << Page.shift)
            }
        }
        guard let found else { throw .noSuchAddressOrDevice }
        return found
    }

    /// The first byte at or behind `offset` whose page has no frame, or the end (SEEK_HOLE). ENXIO behind the end.
    public func nextHole(in buffer: Buffer, from offset: UInt64) throws(Errno) -> UInt64 {
        let found = buffer.state.withLock { state -> UInt64? in
            guard offset < state.size else { return nil }
            if let backing = state.backing { return backing.nextHole(from: offset) }
            let page = state.pages.firstMissing(of: offset >> Page.shift..<Page.count(of: state.size))
            return min(max(offset, page << Page.shift), state.size)
        }
        guard let found else { throw .noSuchAddressOrDevice }
        return found
    }
}
