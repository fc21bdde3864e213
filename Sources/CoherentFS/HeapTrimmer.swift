import CLinux
import CoherentMemory
import Dispatch
import Synchronization

/// Gives the host back what the C library keeps of memory that was freed, once much was.
final class HeapTrimmer: Sendable {
    /// From how many files on that are gone it is worth it.
    private static let many = 4096
    private let freed = Atomic(0)

    /// Notes that a file is gone for good. Never waits.
    func freedFile() {
        guard freed.add(1, ordering: .relaxed).newValue == Self.many else { return }
        // There may be more to come: at most once a second.
        DispatchQueue.global().start(at: .now() + .seconds(1)) {
            self.freed.store(0, ordering: .relaxed)
            clinux_trim_heap()
        }
    }
}
