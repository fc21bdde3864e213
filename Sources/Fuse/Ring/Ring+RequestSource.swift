internal import CFuse3
import SystemPackage

extension Ring: RequestSource {
    func serve(_ plan: WorkerPool.Plan, for pool: WorkerPool) {
        guard pool.waitForRings() else { return }
        var failure: Errno?
        do throws(Errno) {
            try register()
            failure = unsafe serve(plan.session) { pool.ringIsUp(plan) }
        } catch {
            failure = error
        }
        if let failure {
            pool.ringHasFailed(plan, failure)
        } else if pool.usesRings {
            // The connection is gone, or the session is being stopped.
            unsafe fuse_session_exit(plan.session)
        }
    }
}
