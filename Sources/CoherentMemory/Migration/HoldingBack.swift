import Dispatch
import LinuxSupport
import SystemPackage

extension Mover {
    /// How often pages that programs bring back into the page cache are taken out again.
    private static let attempts = 8

    /// Takes pages that are about to move out of the page cache, and holds touches of them back until ``releaseHold(of:)``.
    ///
    /// Called with the buffer's migration turn, by a thread that the page cache does not wait for. Reads are held back only
    /// once no invalidation of theirs is under way: that waits for the lock of a page, which the kernel holds for a read. What has
    /// left the page cache is held back while the rest still leaves it, or a program that touches all pages again and again would
    /// always have some of them back. No touch of a direct buffer is held back.
    func holdBack(_ pages: Range<UInt64>, of buffer: Buffer, filter: PageFilter) {
        guard !buffer.isDirect else { return }
        buffer.unmapTurn.withLock { _ in
            for attempt in 0...Self.attempts {
                let cached = buffer.state.withLock { state in
                    state.pages.isolate(pages, filter: filter)
                    let cached =
                        attempt < Self.attempts ? state.pages.uncache(pages, filter: filter) : PageRuns()
                    if state.hold == nil { state.hold = PageHold(pages) }
                    state.hold?.isComplete = cached.runs.isEmpty
                    return cached
                }
                if cached.runs.isEmpty { return }
                memory.unmap(cached, of: buffer)
            }
        }
    }

    /// Lets those who wait for pages that were on their way have them.
    func releaseHold(of buffer: Buffer) {
        let waiters = buffer.state.withLock { state -> [@Sendable () -> Void] in
            guard let hold = state.hold else { return [] }
            state.pages.putBack(hold.pages, filter: .migrating)
            state.hold = nil
            return hold.waiters
        }
        for waiter in waiters { waiter() }
    }

    /// How long, in milliseconds, a wait for devices may last after the move was cancelled.
    private static let pollInterval = 10

    /// Takes pages that are about to move away from devices, and waits until these have let go; but for pages of a command
    /// that is just under way. For a thread that neither a request nor a device waits for.
    ///
    /// - Throws: EINTR when cancelled; the devices let go all the same.
    func recall(
        _ pages: Range<UInt64>, of buffer: Buffer, moving filter: PageFilter, isCancelled: () -> Bool
    ) throws(Errno) {
        let over = DispatchSemaphore(value: 0)
        let isNeeded = buffer.state.withLock { state in
            guard !state.pages.contexts.isEmpty else { return false }
            let busy = state.pages.contexts.flatMap(\.pinned)
            var isMapped = false
            unsafe state.pages.forEachMatch(pages, filter: filter) { page, slot in
                let isBusy = busy.contains { $0.contains(page) }
                if !isBusy, PageTableEntry(rawValue: unsafe slot.pointee).isDeviceMapped { isMapped = true }
            }
            guard isMapped else { return false }
            let concerned = state.pages.contexts.filter { $0.maps(pages) }.map(\.mmu)
            let countdown = Countdown(concerned.count) { over.signal() }
            for mmu in concerned {
                mmu.invalidateInTurn {
                    buffer.state.withLock { state in
                        state.pages.unmap(pages, from: mmu) { page, entry, _ in
                            entry.matches(filter) && !busy.contains { $0.contains(page) }
                        }
                    }
                    countdown.step()
                }
            }
            return true
        }
        guard isNeeded else { return }
        while over.wait(timeout: .now() + .milliseconds(Self.pollInterval)) == .timedOut {
            if isCancelled() { throw .interrupted }
        }
    }
}
