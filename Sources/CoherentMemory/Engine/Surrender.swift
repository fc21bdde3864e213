import LinuxSupport
import Synchronization
import SystemPackage

extension Machine {
    /// Whether another device has to let go of a page first: what one has for itself alone no other one maps. The caller holds
    /// the buffer's lock.
    func isTaken(
        _ page: UInt64, from context: DeviceContext, _ touch: DeviceTouch, in state: borrowing Buffer.State
    ) -> Bool {
        for other in state.contexts where other !== context {
            let mapping = other[page]
            if mapping.isPresent, touch == .exclusive || mapping.isExclusive { return true }
        }
        return false
    }

    /// Asks other devices for pages that they have to let go of, and maps these for the one that asks. The invalidations wait
    /// their turn in the queues of the others.
    ///
    /// Called without locks by the device's own thread, in the midst of a command. What the others do before their turn comes
    /// waits for the page cache at most, or for devices that serve each other meanwhile.
    ///
    /// - Returns: whether any had to.
    /// - Throws: ENODEV when the device has gone meanwhile, ECANCELED when its queue was closed.
    func takeFromDevices(_ buffer: Buffer, pages: Range<UInt64>, for actor: DeviceActor) throws(Errno) -> Bool {
        final class Surrendered: Sendable {
            let isOver = Atomic(false)
        }
        let surrendered = Surrendered()
        let queue = actor.device.queue
        let isNeeded = buffer.state.withLock { state in
            guard let context = state.context(of: actor.device) else { return false }
            let holders = state.contexts.filter { other in
                guard other !== context else { return false }
                return pages.contains { page in
                    let mapping = other[page]
                    return mapping.isPresent && (actor.touch == .exclusive || mapping.isExclusive)
                }
            }.map(\.device)
            guard !holders.isEmpty else { return false }
            let countdown = Countdown(holders.count) {
                // Here rather than when the device has woken: or one that is at work on them all the time might have them
                // back by then, again and again.
                buffer.state.withLock { state in try? self.map(pages, in: &state, for: actor) }
                surrendered.isOver.store(true, ordering: .releasing)
                queue.ring()
            }
            for holder in holders {
                holder.queue.surrender(in: self) {
                    self.unmap(pages, of: buffer, from: holder) { _, _, mapping in
                        actor.touch == .exclusive || mapping.isExclusive
                    }
                    countdown.step()
                }
            }
            return true
        }
        guard isNeeded else { return false }
        queue.serve {
            surrendered.isOver.load(ordering: .acquiring) || !actor.isPresent || queue.isClosed
        }
        try check(actor)
        return true
    }
}
