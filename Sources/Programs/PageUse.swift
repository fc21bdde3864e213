import CListener
import CoherentMemory
import Dispatch
import Glibc
import LinuxSupport
import SystemPackage

/// The pages that a program stores to, which reclaim and balancing of the machine ask for.
///
/// The kernel write-protects pages and notes the first store to each by itself (UFFD_FEATURE_WP_ASYNC). Loads leave no trace
/// that could be read page by page, where the kernel has no idle page tracking.
final class PageUse: Sendable {
    private struct State {
        /// Whether memory is registered with write protection from now on.
        var hasBegun: Bool
        /// Whether there is no answer to be had: the kernel cannot tell, or the process kept its address space locked.
        var isSilent = false
        var isAsked = false
    }

    private let state: Mutex<State>
    /// Held while mappings are write-protected one after the other.
    private let tracking = Mutex<Void>(())
    /// A process that keeps its address space locked for so long is not asked again.
    private static let patience = DispatchTimeInterval.milliseconds(150)
    /// So many ranges of one question are listed.
    private static let capacity = 512

    /// - Parameter hasBegun: whether what is mapped is write-protected already, as a fork hands it down.
    init(hasBegun: Bool = false) { state = Mutex(State(hasBegun: hasBegun)) }

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
        begin(space)
        var stored = RangeSet<UInt64>()
        var bounds = [UInt64](repeating: 0, count: 2 * Self.capacity)
        for area in areas {
            func scan() -> Int32 {
                unsafe clistener_stored(
                    pageMap.file.rawValue, area.lowerBound, area.upperBound, &bounds, Int32(Self.capacity))
            }
            var count = scan()
            if count == -EPERM {
                // Mapped while it began.
                track(space)
                count = scan()
            }
            // More than are listed: all of it counts as used.
            if count == -ENOSPC {
                stored.insert(contentsOf: area)
            } else if count < 0 {
                return count == -ESRCH ? nil : silent()
            } else {
                for index in 0..<Int(count) { stored.insert(contentsOf: bounds[2 * index]..<bounds[2 * index + 1]) }
            }
        }
        return stored
    }

    private func silent() -> RangeSet<UInt64>? {
        state.withLock { $0.isSilent = true }
        return nil
    }

    /// Has the kernel note stores to all that is registered, and to what is mapped later.
    ///
    /// All at once: a mapping of which only a part is write-protected is two to the kernel, and mremap(2) of both is EFAULT.
    private func begin(_ space: AddressSpace) {
        let isFirst = state.withLock { state in
            defer { state.hasBegun = true }
            return !state.hasBegun
        }
        if isFirst { track(space) }
    }

    private func track(_ space: AddressSpace) {
        tracking.withLock { _ in
            for area in space.areas(in: 0..<Machine.addressLimit).ranges {
                _ = clistener_track_stores(space.faults.rawValue, area.lowerBound, UInt64(area.count))
            }
        }
    }

    /// Waits until no mapping is write-protected in part any more.
    func settle() { tracking.withLock { _ in } }

    /// Whether memory is to be registered with write protection.
    var hasBegun: Bool { state.withLock { $0.hasBegun } }
}
