import CListener
import Glibc
import SystemPackage

extension CallContext {
    /// Does a call.
    ///
    /// - Returns: nil for one that is about something else.
    func perform(_ call: clistener_call) -> CallOutcome? {
        let (a, b, c, d, e, f) = call.arguments
        do throws(Errno) {
            switch Int(call.number) {
            case CLISTENER_SET_MEMPOLICY: return try setPolicy(mode: a, nodes: b, limit: c)
            case CLISTENER_GET_MEMPOLICY:
                return try getPolicy(mode: a, nodes: b, limit: c, address: d, flags: e)
            case CLISTENER_MBIND:
                return try bind(start: a, length: b, mode: c, nodes: d, limit: e, flags: f)
            case CLISTENER_SET_MEMPOLICY_HOME_NODE:
                return try setHomeNode(start: a, length: b, home: c, flags: d)
            case CLISTENER_MOVE_PAGES:
                return try movePages(process: a, count: b, pages: c, nodes: d, status: e, flags: f)
            case CLISTENER_MIGRATE_PAGES:
                return try migratePages(process: a, limit: b, old: c, new: d)
            case Int(CLISTENER_MADVISE): return try failMemory(start: a, length: b, advice: c)
            case CLISTENER_SCHED_SETAFFINITY: return try setAffinity(process: a, length: b, mask: c)
            case CLISTENER_SCHED_GETAFFINITY: return try getAffinity(process: a, length: b, mask: c)
            case CLISTENER_GETCPU: return try getCPU(cpu: a, node: b)
            default: return nil
            }
        } catch {
            return .failure(error)
        }
    }
}

extension CallingTask {
    /// What becomes of a call that a listener has reported.
    func outcome(of call: clistener_call) -> CallOutcome {
        // A thread of another PID namespace, which cannot be seen from here.
        guard task > 0 else { return .pass }
        if let outcome = memoryOutcome(of: call) { return outcome }
        switch Int(call.number) {
        case Int(CLISTENER_IOCTL): return handOver(registration: call.arguments.2)
        case Int(CLISTENER_SECCOMP), Int(CLISTENER_PRCTL): return look(atFilter: call)
        default: break
        }
        if let outcome = perform(call) { return isHidden ? .pass : outcome }
        switch call.number {
        case Int32(truncatingIfNeeded: CLISTENER_OPENAT):
            return open(
                call.arguments.1, from: Int32(truncatingIfNeeded: call.arguments.0))
        case Int32(truncatingIfNeeded: CLISTENER_OPEN) where call.number >= 0:
            return open(call.arguments.0, from: AT_FDCWD)
        default: return .pass
        }
    }
}
