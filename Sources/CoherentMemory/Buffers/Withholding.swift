import CLinux
import Glibc
import LinuxSupport
import SystemPackage

extension BackingFile {
    /// How often what others undo by touching a page is done again.
    private static let attempts = 64

    /// Takes pages away from all programs: what they held is gone, and touching one is SIGBUS in every mapping, although
    /// the daemon does not see the touch.
    ///
    /// The file gets all its other blocks, loses these, and its tmpfs gets a limit that leaves none for them.
    ///
    /// - Throws: ENOSPC where the host has not the memory for all of the file; EBUSY where the host cannot give a page up, as a part of a huge page that is pinned: what the
    ///   pages held may be gone all the same.
    func withhold(_ pages: Range<UInt64>) throws(Errno) {
        let new = RangeSet(pages.clamped(to: 0..<Page.count(of: size))).subtracting(withheld)
        guard !new.isEmpty else { return }
        try keepingTime { () throws(Errno) in
            if !isFull { try fill() }
            withheld.formUnion(new)
            punch(new)
            for _ in 0..<Self.attempts {
                if try applyLimit() { return }
                // A program touched one, and had it back as zeros.
                punch(withheld)
            }
            withheld.subtract(new)
            throw .resourceBusy
        }
    }

    /// Gives pages back that were withheld, as zeros. Others stay as they are.
    ///
    /// - Throws: ENOSPC where the host has no memory for them.
    func restore(_ pages: Range<UInt64>) throws(Errno) {
        let old = withheld
        withheld.remove(contentsOf: pages)
        guard withheld != old else { return }
        do throws(Errno) {
            if withheld.isEmpty { _ = try applyLimit() } else { try fill() }
        } catch {
            withheld = old
            throw error
        }
    }

    /// Sees to it that bytes of pages that are not withheld can be touched by this process.
    ///
    /// A program that maps the file may punch holes into it (MADV_REMOVE), so that pages that are withheld take the blocks.
    ///
    /// - Throws: ENOSPC where the host has no memory for them.
    func claim(_ bytes: Range<UInt64>) throws(Errno) {
        guard !withheld.isEmpty, !bytes.isEmpty else { return }
        let pages = bytes.lowerBound >> Page.shift..<Page.count(of: bytes.upperBound)
        if try !allocate(RangeSet(pages)) { try fill() }
    }

    /// Whether any byte of a range lies in a page that is withheld.
    func isWithheld(_ bytes: Range<UInt64>) -> Bool {
        !withheld.isEmpty && withheld.intersects(bytes.lowerBound >> Page.shift..<Page.count(of: bytes.upperBound))
    }

    /// The first byte from `offset` on that lies in a page that is withheld, or nil.
    func firstWithheld(from offset: UInt64) -> UInt64? {
        guard !withheld.isEmpty else { return nil }
        let page = offset >> Page.shift
        return withheld.ranges.first { $0.upperBound > page }.map { max(offset, $0.lowerBound << Page.shift) }
    }

    /// Gives every page that is not withheld its block, so that none is left for the others.
    func fill() throws(Errno) {
        let all = RangeSet(0..<Page.count(of: size)).subtracting(withheld)
        for _ in 0..<Self.attempts {
            guard try applyLimit() else {
                punch(withheld)
                continue
            }
            if try allocate(all) {
                isFull = true
                return
            }
            // A withheld page took a block.
            punch(withheld)
        }
        throw .noSpace
    }

    private func allocate(_ pages: RangeSet<UInt64>) throws(Errno) -> Bool {
        for range in pages.ranges {
            do throws(Errno) {
                try SystemCall.retry {
                    fallocate(
                        descriptor.rawValue, FALLOC_FL_KEEP_SIZE, off_t(range.lowerBound << Page.shift),
                        off_t(range.count << Int(Page.shift)))
                }
            } catch .noSpace {
                return false
            }
        }
        return true
    }

    private func punch(_ pages: RangeSet<UInt64>) {
        for range in pages.ranges {
            _ = punch(range.lowerBound << Page.shift..<range.upperBound << Page.shift)
        }
    }

    /// Sets the limit; false where more is in use.
    private func applyLimit() throws(Errno) -> Bool {
        do throws(Errno) {
            try setLimit(limit)
            return true
        } catch .invalidArgument {
            return false
        }
    }
}

extension RangeSet {
    /// Whether any value of a range is in the set.
    fileprivate func intersects(_ range: Range<Bound>) -> Bool {
        // Ascending, so that the first that ends behind the start decides.
        let ranges = ranges
        var (low, high) = (0, ranges.count)
        while low < high {
            let middle = (low + high) / 2
            if ranges[middle].upperBound <= range.lowerBound { low = middle + 1 } else { high = middle }
        }
        return low < ranges.count && ranges[low].lowerBound < range.upperBound
    }
}
