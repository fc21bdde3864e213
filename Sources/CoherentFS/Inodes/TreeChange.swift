import AttributeTree
import CoherentTree
import Fuse

/// What root changed of a file's or directory's mode and owner below sys/.
struct TreeChange: Sendable {
    private let lifetime: Lifetime?
    private var mode: UInt32?
    private var uid: UInt32?
    private var gid: UInt32?
    private var ctime = Timestamp.now

    init(lifetime: Lifetime?) { self.lifetime = lifetime }

    /// Whether what it is a change of has gone.
    var isGone: Bool { lifetime?.isOver ?? false }

    mutating func add(_ changes: AttributeChanges) {
        mode = changes.mode ?? mode
        uid = changes.uid ?? uid
        gid = changes.gid ?? gid
        ctime = .now
    }

    func apply(to attributes: inout FileAttributes) {
        if let mode { attributes.permissions = mode }
        if let uid { attributes.uid = uid }
        if let gid { attributes.gid = gid }
        attributes.ctime = ctime
    }
}
