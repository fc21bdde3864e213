import LinuxSupport
import SystemPackage

extension Mover {
    /// Moves the pages of a unit of 512 frames into frames taken ahead; how many moved.
    func empty(
        _ unit: Int, of node: Node, into frames: PrepaidFrames, _ account: MigrationAccount, isCancelled: () -> Bool
    ) throws(Errno) -> Int {
        let start = node.span.pfn(at: unit * HugePage.frames)
        let range = start..<start + UInt64(HugePage.frames)
        var moved = 0
        for (buffer, pages) in memory.owners(of: range) {
            do throws(Errno) {
                try move(
                    buffer, pages: pages, filter: .baseFrames(range), targets: [node], prepaid: frames,
                    account: account, isCancelled: isCancelled
                ) { moved += $0.moved }
            } catch .interrupted {
                throw .interrupted
            } catch {
                // More pages than there were, for another thread was faster; or they are pinned.
            }
        }
        return moved
    }
}

extension Node {
    /// The units of 512 frames that are in use in part, with how many of theirs are free.
    var partialUnits: [(unit: Int, free: Int)] {
        let count = span.count / HugePage.frames
        return stride(from: 0, to: count, by: 64).flatMap { first in
            zone.withLock { $0.partialUnits(first..<min(count, first + 64), table: frames) }
        }
    }
}
