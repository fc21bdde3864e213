import CListener
import CoherentMemory
import LinuxSupport
import SystemPackage

/// A userfaultfd(2) of a program's own.
extension CallingTask {
    /// Leaves memory to a program that wants to be told of its first touches (UFFDIO_REGISTER): memory has one userfaultfd at most. What it
    /// fills from then on has no frames.
    ///
    /// - Parameter argument: the address of a struct uffdio_register, which begins with the start and the length of the memory.
    func handOver(registration argument: UInt64) -> CallOutcome {
        guard let space = spaces?.space(of: task), let range = try? read(argument, count: 2, as: UInt64.self),
            let addresses = pages(from: range[0], length: range[1])
        else { return .pass }
        space.calls.withLock { _ in
            for area in space.areas(in: addresses).ranges {
                space.unregister(area)
                machine.unmap(space.memory, bytes: area)
            }
        }
        return .pass
    }
}
