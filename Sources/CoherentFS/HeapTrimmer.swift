import CLinux
import CoherentMemory
import Dispatch
import LinuxSupport
import Synchronization

/// Gives the host back what the C library keeps of memory that was freed, once much was.
final class HeapTrimmer: Sendable {
    /// From how many files on that are gone it is worth it.
    private let many: Int
    private let pause: DispatchTimeInterval
    private let trim: @Sendable () -> Void
    private let freed = Atomic(0)

    /// - Parameters:
    ///   - many: how many files must be gone.
    ///   - pause: how often at most memory is given back.
    ///   - trim: gives it back.
    init(
        many: Int = 4096, pause: DispatchTimeInterval = .seconds(1),
        trim: @escaping @Sendable () -> Void = { clinux_trim_heap() }
    ) {
        self.many = many
        self.pause = pause
        self.trim = trim
    }

    /// Notes that a file is gone for good. Never waits.
    func freedFile() {
        if freed.add(1, ordering: .relaxed).newValue == many { look(after: 0) }
    }

    /// Looks when the time has come, and again as long as more went meanwhile: what goes last is to be given back, too.
    private func look(after last: Int) {
        DispatchQueue.global().start(at: .now() + pause) { [self] in
            let now = freed.load(ordering: .relaxed)
            if now - last < max(1, many / 64) {
                freed.store(0, ordering: .relaxed)
            } else {
                trim()
                look(after: now)
            }
        }
    }
}
