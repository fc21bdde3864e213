import CoherentMemory
import DequeModule
import LinuxSupport
import SystemPackage

/// Frames that pages of processes have on a device of the HMM test driver (`struct dmirror_chunk`). What the pages hold stays in
/// the processes; the frames are what makes the memory of the device's node scarce.
struct MirrorFrames: Sendable {
    /// Of the device, when they were taken.
    let generation: UInt64
    /// One for each page.
    var slots: [UInt64]
}

/// The memory of a device of the HMM test driver: that of a coherent device's node, of which it takes as much as it needs.
final class MirrorMemory: Sendable {
    private struct State {
        var buffer: Buffer?
        var generation: UInt64 = 0
        /// Pages of the buffer that were given back, below `end`.
        var free: Deque<UInt64> = []
        /// Behind the last page that was ever in use since everything was given back.
        var end: UInt64 = 0

        var used: Int { Int(end) - free.count }
    }

    private let machine: Machine
    /// nil where the machine has no coherent device.
    private let device: Device?
    private let state = Mutex(State())

    /// - Parameter number: of the device; devices of the driver take turns at the coherent ones.
    init(machine: Machine, number: Int) {
        self.machine = machine
        device = machine.devices.isEmpty ? nil : machine.devices[number % machine.devices.count]
    }

    /// What pages that are on the device now have noted; another number later says that they have all come back.
    var generation: UInt64 { state.withLock { $0.generation } }

    /// Takes a frame for each of some pages, all or none.
    ///
    /// - Throws: ENOMEM where the node has not so many, or is not there.
    func take(_ count: Int) throws(Errno) -> MirrorFrames {
        guard count > 0 else { return MirrorFrames(generation: generation, slots: []) }
        guard let device else { throw .noMemory }
        return try state.withLock { state throws(Errno) in
            let buffer = state.buffer ?? machine.makeMemory(of: device)
            state.buffer = buffer
            let reused = min(count, state.free.count)
            var slots = Array(state.free.prefix(reused))
            slots += state.end..<state.end + UInt64(count - reused)
            let origin = Origin(pid: 0, node: device.node.id, isDevice: true)
            for (place, run) in TouchDetector.groups(of: slots).enumerated() {
                do throws(Errno) {
                    try machine.allocate(buffer, bytes: Self.bytes(of: run), keepsSize: true, origin: origin)
                } catch {
                    for run in TouchDetector.groups(of: slots).prefix(place) {
                        machine.punch(buffer, bytes: Self.bytes(of: run))
                    }
                    throw .noMemory
                }
            }
            state.free.removeFirst(reused)
            state.end += UInt64(count - reused)
            return MirrorFrames(generation: state.generation, slots: slots)
        }
    }

    /// Gives frames back; those of an earlier generation were given back with it.
    func give(back slots: [UInt64], generation: UInt64) {
        state.withLock { state in
            guard generation == state.generation, let buffer = state.buffer else { return }
            let slots = slots.sorted()
            for run in TouchDetector.groups(of: slots) { machine.punch(buffer, bytes: Self.bytes(of: run)) }
            state.free.append(contentsOf: slots)
            if state.used == 0 { (state.free, state.end) = ([], 0) }
        }
    }

    /// Gives everything back, of every process.
    func release() { state.withLock { release(&$0) } }

    /// Gives everything back if some of it has left the node, which was emptied, or failed, or lost its link: as the driver of
    /// Linux does when its memory is taken away.
    func check() {
        state.withLock { state in
            guard let device, let buffer = state.buffer, state.used > 0 else { return }
            let placement = machine.placement(of: buffer)
            if placement.count != 1 || placement[0].node != device.node.id || placement[0].pages != state.used {
                release(&state)
            }
        }
    }

    private func release(_ state: inout State) {
        state.generation += 1
        (state.free, state.end) = ([], 0)
        if let buffer = state.buffer { machine.punch(buffer, bytes: 0..<UInt64(Int64.max) & ~(Page.size - 1)) }
    }

    private static func bytes(of pages: Range<UInt64>) -> Range<UInt64> {
        pages.lowerBound << Page.shift..<pages.upperBound << Page.shift
    }
}
