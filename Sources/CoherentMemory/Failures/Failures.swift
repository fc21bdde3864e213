import Synchronization

/// Memory that fails: pages that are poisoned or taken out of use, and links that err or are cut (mm/memory-failure.c).
final class Failures: MoverUser {
    let mover: Mover
    /// Held while a page fails, before every other lock (mf_mutex).
    let turn = FairSemaphore()
    /// Whether any page was ever poisoned.
    let hasPoison = Atomic(false)

    init(_ mover: Mover) { self.mover = mover }
}
