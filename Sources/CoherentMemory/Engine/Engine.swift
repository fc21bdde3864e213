/// What devices do with the memory of buffers: commands, first touches, and pages that they take from each other and from the
/// page cache (mm/hmm.c).
final class Engine: MoverUser {
    let mover: Mover

    init(_ mover: Mover) { self.mover = mover }
}
