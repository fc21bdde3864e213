import MachineTopology
import SystemPackage

@testable import CoherentMemory

extension Model {
    /// Moves pages in order as long as the target has room.
    private mutating func move(_ pages: [UInt64], of id: UInt64, to target: Int) -> (moved: Int, failed: Int) {
        var moved = 0
        for page in pages where free(target) > 0 {
            // A page on its way has both frames for a moment; the old one is free for whoever comes next.
            nodes[buffers[id]!.pages[page]!.node].used -= 1
            nodes[target].used += 1
            buffers[id]!.pages[page]!.node = target
            moved += 1
        }
        count(moved, on: target, intended: target, running: 0)
        return (moved, pages.count - moved)
    }

    mutating func migrate(
        _ id: UInt64, _ bytes: Range<UInt64>?, to target: Int
    ) -> (result: Result<Void, Errno>, moved: Int, failed: Int) {
        guard nodes.indices.contains(target), present(target) > 0 else {
            return (.failure(.operationNotSupportedByDevice), 0, 0)
        }
        let end = (buffers[id]!.size + 4095) / 4096 * 4096
        if let bytes {
            guard !bytes.isEmpty, bytes.lowerBound % 4096 == 0, bytes.upperBound % 4096 == 0, bytes.upperBound <= end
            else { return (.failure(.invalidArgument), 0, 0) }
        }
        // All means all: pages behind the end go along.
        let range = bytes.map(Self.pages) ?? 0..<UInt64.max
        let concerned = buffers[id]!.pages.filter { range.contains($0.key) && $0.value.node != target }
        let pages = concerned.filter { $0.value.failedAt == nil }.keys.sorted()
        let (moved, failed) = move(pages, of: id, to: target)
        return (failed > 0 ? .failure(.noMemory) : .success(()), moved, failed + concerned.count - pages.count)
    }

    /// Moves every page of a node, buffer by buffer in the order they were made.
    mutating func migrate(node source: Int, to target: Int) -> (result: Result<Void, Errno>, moved: Int) {
        guard nodes.indices.contains(target), present(target) > 0 else {
            return (.failure(.operationNotSupportedByDevice), 0)
        }
        guard source != target else { return (.failure(.invalidArgument), 0) }
        var total = 0
        for id in buffers.keys.sorted() {
            let pages = buffers[id]!.pages.filter { $0.value.node == source && $0.value.failedAt == nil }.keys.sorted()
            let (moved, failed) = move(pages, of: id, to: target)
            total += moved
            if failed > 0 { return (.failure(.noMemory), total) }
        }
        return (.success(()), total)
    }

    /// Where pages of a block may go: the block's node, then ordinary nodes by distance.
    func refuges(from node: Int) -> [Int] { [node] + zonelist(of: node).dropFirst().filter { nodes[$0].kind == .ram } }

    /// Takes a block offline of which `used` pages have frames. How many pages land on each node follows from the
    /// rules; which ones does not.
    ///
    /// - Returns: the errno, and the pages that each node has afterwards.
    mutating func offline(block: Int, of node: Int, used: Int) -> Result<Void, Errno> {
        guard nodes[node].blocks[block] else { return .failure(.invalidArgument) }
        // What is free in the block is out of reach from now on.
        nodes[node].blocks[block] = false
        nodes[node].used -= used
        var left = used
        for refuge in refuges(from: node) {
            let moved = min(left, free(refuge))
            left -= moved
            nodes[refuge].used += moved
            count(moved, on: refuge, intended: node, running: 0)
        }
        guard left > 0 else { return .success(()) }
        nodes[node].blocks[block] = true
        nodes[node].used += left
        return .failure(.resourceBusy)
    }

    mutating func online(block: Int, of node: Int) -> Result<Void, Errno> {
        guard !nodes[node].blocks[block] else { return .failure(.invalidArgument) }
        let number = nodes[node].numbers[block]
        if failed.keys.contains(where: { self.block(of: $0) == number }) { return .failure(.hardwarePoisoned) }
        nodes[node].blocks[block] = true
        return .success(())
    }
}
