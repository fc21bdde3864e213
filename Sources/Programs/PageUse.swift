import CListener
import CoherentMemory
import Dispatch
import Glibc
import LinuxSupport
import SystemPackage

/// The pages that a program stores to, which reclaim and balancing of the machine ask for.
///
/// Pages that are asked for are write-protected: what is not so the next time has been stored to since. The first store to one of
/// them is reported, and goes on. With the second one of a window of `fault_around` all of the window goes on, and counts as stored
/// to. Loads leave no trace that could be read page by page, where the kernel has no idle page tracking.
final class PageUse: Sendable {
    private struct State {
        /// Whether there is no answer to be had: the kernel cannot tell, or the process kept its address space locked.
        var isSilent = false
        var isAsked = false
    }

    private let state = Mutex(State())
    /// A process that keeps its address space locked for so long is not asked again.
    private static let patience = DispatchTimeInterval.milliseconds(150)
    /// So many ranges of one question are listed.
    private static let capacity = 512

    /// The pages of some ranges that were stored to since they were asked for last, by their addresses; all that are there of those that
    /// were not asked for before. Nil where that is not known.
    ///
    /// - Parameter areas: what of a range is meant, of what is registered there.
    func stored(
        _ ranges: [Range<UInt64>], of space: AddressSpace,
        areas: @escaping @Sendable (Range<UInt64>) -> RangeSet<UInt64>
    ) -> RangeSet<UInt64>? {
        let mayAsk = state.withLock { state in
            guard !state.isSilent, !state.isAsked else { return false }
            state.isAsked = true
            return true
        }
        guard mayAsk else { return nil }
        let answer = Mutex<RangeSet<UInt64>?>(nil)
        let finished = DispatchGroup()
        finished.enter()
        // Reading a page map waits for the lock of the address space, which its owner may keep.
        DispatchQueue.global().async { [self] in
            let found = ask(ranges.flatMap { areas($0).ranges }, of: space)
            answer.withLock { $0 = found }
            state.withLock { $0.isAsked = false }
            finished.leave()
        }
        guard finished.wait(timeout: .now() + Self.patience) == .success else {
            state.withLock { $0.isSilent = true }
            return nil
        }
        return answer.withLock { $0 }
    }

    private func ask(_ areas: [Range<UInt64>], of space: AddressSpace) -> RangeSet<UInt64>? {
        guard let pageMap = space.pageMap() else { return nil }
        space.state.withLock { $0.storedWindows = TouchedWindows() }
        var stored = RangeSet<UInt64>()
        var bounds = [UInt64](repeating: 0, count: 2 * Self.capacity)
        for area in areas {
            let count = unsafe clistener_stored(
                pageMap.file.rawValue, area.lowerBound, area.upperBound, &bounds, Int32(Self.capacity))
            // More than are listed: all of it counts as used.
            if count == -ENOSPC {
                stored.insert(contentsOf: area)
            } else if count < 0 {
                return count == -ESRCH ? nil : silent()
            } else {
                for index in 0..<Int(count) { stored.insert(contentsOf: bounds[2 * index]..<bounds[2 * index + 1]) }
            }
        }
        // What is stored to until it is protected is among them.
        for range in stored.ranges { watch(range, of: space) }
        return stored
    }

    private func silent() -> RangeSet<UInt64>? {
        state.withLock { $0.isSilent = true }
        return nil
    }

    private func watch(_ range: Range<UInt64>, of space: AddressSpace) {
        // Shared memory is registered without that, all of a mapping at once.
        for area in space.state.withLock({ $0.shared.areas }) where area.addresses.overlaps(range) {
            clistener_register(space.faults.rawValue, area.addresses.lowerBound, UInt64(area.addresses.count), 1)
        }
        space.setWatched(true, range)
    }
}
