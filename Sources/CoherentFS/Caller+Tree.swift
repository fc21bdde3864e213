import CoherentMemory
import CoherentTree
import Fuse

extension Credentials {
    /// What the task that makes a request may do; it waits for the answer, and so does not end meanwhile.
    init(_ caller: Caller) { self.init(task: caller.pid, uid: caller.uid, gid: caller.gid) }
}

extension TaskLocator {
    /// Who made a request and where.
    func origin(of caller: Caller) -> Origin { origin(ofTask: caller.pid) }
}
