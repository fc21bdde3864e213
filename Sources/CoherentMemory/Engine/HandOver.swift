import LinuxSupport
import Synchronization
import SystemPackage

extension Engine {
    /// Takes pages that the page cache may have out of it, which brings what was stored to them, and maps for the device
    /// those that no program was faster to read.
    ///
    /// Called without locks by the device's own thread. What this waits for no request waits for that is held back: those
    /// are for pages that a device maps, and the page cache does not have these.
    ///
    /// - Throws: ENOMEM where there is no room for the device's page table.
    func takeFromPageCache(_ buffer: Buffer, pages: Range<UInt64>, for actor: DeviceActor) throws(Errno) {
        try buffer.unmapTurn.withLock { _ throws(Errno) in
            let runs = buffer.state.withLock { $0.pages.uncache(pages) }
            for run in runs.runs { memory.invalidate(buffer, pages: run) }
            try buffer.state.withLock { state throws(Errno) in
                state.pages.endUnmapping(pages)
                try state.map(pages, for: actor)
            }
        }
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
        final class HandedOver: Sendable {
            let isOver = Atomic(false)
        }
        let handedOver = HandedOver()
        let queue = actor.device.queue
        let isNeeded = buffer.state.withLock { state in
            guard let context = state.pages.context(of: actor.device.mmu) else { return false }
            let mmus = state.pages.contexts.filter { other in
                guard other !== context else { return false }
                return pages.contains { page in
                    let mapping = other[page]
                    return mapping.isPresent && (actor.touch == .exclusive || mapping.isExclusive)
                }
            }.map(\.mmu)
            let holders = devices.filter { device in mmus.contains { $0 === device.mmu } }
            guard !holders.isEmpty else { return false }
            let countdown = Countdown(holders.count) {
                // Here rather than when the device has woken: or one that is at work on them all the time might have them
                // back by then, again and again.
                buffer.state.withLock { state in try? state.map(pages, for: actor) }
                handedOver.isOver.store(true, ordering: .releasing)
                queue.ring()
            }
            for holder in holders {
                holder.queue.handOver {
                    buffer.state.withLock { state in
                        state.pages.unmap(pages, from: holder.mmu) { _, _, mapping in
                            actor.touch == .exclusive || mapping.isExclusive
                        }
                    }
                    countdown.step()
                }
            }
            return true
        }
        guard isNeeded else { return false }
        queue.serve {
            handedOver.isOver.load(ordering: .acquiring) || !actor.isPresent || queue.isClosed
        }
        try check(actor)
        return true
    }
}
