import Synchronization

/// Frames of pages that went while devices mapped them: they are nobody's until the devices have let go, as Linux frees
/// pages only when the TLBs are flushed (mmu_gather).
final class DroppedPages: Sendable {
    private let runs: [FrameRun]
    private let left: Atomic<Int>

    init(_ runs: [FrameRun], devices: Int) {
        self.runs = runs
        left = Atomic(devices)
    }

    /// A device has let go; the last one frees the frames.
    func letGo(in machine: Machine) {
        guard left.subtract(1, ordering: .acquiringAndReleasing).newValue == 0 else { return }
        for run in runs { machine.node(of: run.start).release(run) }
    }
}

extension Machine {
    /// Takes pages that have left the buffer's page table out of those of the devices, and sees to it that their frames are
    /// freed when the invalidations have had their turns. The caller holds the buffer's lock.
    func drop(_ pages: [UInt64], frames: consuming FreedFrames, of state: inout Buffer.State) {
        var concerned: [Device] = []
        for context in state.contexts {
            var isConcerned = false
            for page in pages where context[page].isPresent {
                context.unmap(page)
                isConcerned = true
            }
            if isConcerned { concerned.append(context.device) }
            state.dropContext(context)
        }
        assert(!concerned.isEmpty, "pages are marked as mapped by devices, and no device maps them")
        let dropped = DroppedPages(frames.runs, devices: concerned.count)
        for device in concerned { device.queue.invalidate(in: self) { dropped.letGo(in: self) } }
    }

    /// Forgets the page tables of a device that is gone.
    func forgetContexts(of device: Device) {
        for buffer in buffers { unmap(0..<UInt64.max >> Page.shift, of: buffer, from: device) }
    }
}
