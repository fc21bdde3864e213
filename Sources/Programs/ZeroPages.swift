import CListener
import CoherentMemory
import Glibc
import LinuxSupport
import SystemPackage

// Pages of zeros that programs have loaded from and not stored to. In Linux all of them are one page (ZERO_PAGE()), which no node
// counts and no policy places. Here each is a write-protected page of the host that has no frame of the machine: the first store is
// reported, and takes one.

/// Windows of pages of which one was touched lately.
///
/// A fault costs two wake-ups. One page alone is what the program asks for; with the second one of the same window the rest of it follows,
/// and the window is forgotten.
struct TouchedWindows: Sendable {
    /// Empty until the first touch: few programs load before they store.
    private var starts: [UInt64] = []
    private static let count = 4096

    /// Takes note of a touch.
    ///
    /// - Parameters:
    ///   - start: the address of the window.
    ///   - size: the length of windows in bytes, a power of two.
    /// - Returns: whether the touch is the second one, as far as the first is remembered.
    mutating func note(_ start: UInt64, size: UInt64) -> Bool {
        if starts.isEmpty { starts = Array(repeating: .max, count: Self.count) }
        let place = Int(start / size % UInt64(Self.count))
        let isKnown = starts[place] == start
        starts[place] = isKnown ? .max : start
        return isKnown
    }
}

extension AddressSpace {
    /// Has stores to pages go on that are there, and wakes who waits for them.
    ///
    /// - Returns: false where events are to be read first, or the addresses are no longer mapped.
    @discardableResult
    func letStores(to range: Range<UInt64>) -> Bool {
        clistener_protect(faults.rawValue, range.lowerBound, UInt64(range.count), 0) == 0
    }

    /// Has the next store to each page of a range that is there reported, or go on, when events are read that come first.
    ///
    /// The thread that reads events must not call this.
    ///
    /// - Returns: false where the addresses are no longer mapped, or no events are read for a second.
    @discardableResult
    func setWatched(_ isWatched: Bool, _ range: Range<UInt64>) -> Bool {
        let deadline = ContinuousClock.now + .seconds(1)
        while true {
            let result = clistener_protect(
                faults.rawValue, range.lowerBound, UInt64(range.count), isWatched ? 1 : 0)
            guard result == -EAGAIN, deadline > .now, !state.withLock({ $0.isOver }) else { return result == 0 }
            usleep(100)
        }
    }

    /// Tells pages of zeros from those that a program has stored to, of pages that have no frames and that it may store to unseen.
    ///
    /// The kernel forgets which pages are write-protected where mremap(2) moves them, and does not report first touches of memory that
    /// is not registered yet. From now on the first store to each page of zeros is reported. It may wait for as long as the address
    /// space is locked.
    ///
    /// - Parameters:
    ///   - pages: whole pages that are there.
    ///   - task: a task of the program.
    /// - Returns: those that hold something else.
    func watchZeros(_ pages: RangeSet<UInt64>, by task: Int32) -> RangeSet<UInt64> {
        var others = RangeSet<UInt64>()
        let limit = 16 * Page.size
        var bytes = [UInt8](repeating: 0, count: Int(limit))
        for range in pages.ranges {
            guard setWatched(true, range) else {
                others.insert(contentsOf: range)
                continue
            }
            // Another thread may have stored to a page until now.
            for start in stride(from: range.lowerBound, to: range.upperBound, by: Int(limit)) {
                let length = Int(min(limit, range.upperBound - start))
                let count = unsafe bytes.withUnsafeMutableBytes {
                    unsafe clistener_peek(task, start, $0.baseAddress!, length)
                }
                for page in stride(from: 0, to: length, by: Int(Page.size)) {
                    let address = start + UInt64(page)
                    guard
                        page + Int(Page.size) > count
                            || bytes[page..<page + Int(Page.size)].contains(where: { $0 != 0 })
                    else { continue }
                    others.insert(contentsOf: address..<address + Page.size)
                }
            }
        }
        return others
    }
}

extension AddressSpaces {
    /// Gives a page that a program loads from its zeros (do_anonymous_page()).
    ///
    /// - Returns: the addresses around it that hold zeros now; nil where the page has a frame, or failed.
    func fillWithZeros(_ page: UInt64, of space: AddressSpace, in window: Range<UInt64>) -> Range<UInt64>? {
        guard let range = world.machine.untouched(space.memory, around: page, in: window) else { return nil }
        let faults = space.faults.rawValue
        var isFilled = false
        func fill(_ part: Range<UInt64>) {
            // What is far away may be of another mapping.
            var (position, length) = (part.lowerBound, UInt64(part.count))
            while position < part.upperBound {
                length = min(length, part.upperBound - position)
                let count = clistener_fill(faults, position, length, 1)
                if count > 0 {
                    if position <= page, page < position + UInt64(count) { isFilled = true }
                    position += UInt64(count)
                    length *= 2
                } else if count == -Int64(ENOENT), length > Page.size {
                    length = Page.size
                } else if count == -Int64(EEXIST) || count == -Int64(ENOENT) {
                    position += Page.size
                } else {
                    return
                }
            }
        }
        for part in parts(of: range, first: page) { fill(part) }
        // Who was woken without a page touches it again.
        if !isFilled { clistener_wake(faults, page, Page.size) }
        return range
    }
}

extension Machine {
    /// The addresses of a range whose pages have frames.
    ///
    /// - Parameter range: whole pages.
    func frames(of memory: Buffer, in range: Range<UInt64>) -> RangeSet<UInt64> {
        var found = RangeSet<UInt64>()
        var position = range.lowerBound
        while position < range.upperBound, let run = runs(of: memory, from: position, limit: 1).first {
            let bytes = (run.offset..<run.offset + run.length).clamped(to: range)
            position = run.offset + run.length
            if !run.isPoisoned, !run.isLost, !bytes.isEmpty { found.insert(contentsOf: bytes) }
        }
        return found
    }
}
