internal import CFuse3
import CLinux
import Glibc
import Synchronization

/// Requests as read(2) of `/dev/fuse` returns them, into a buffer of this source.
final class DeviceSource: RequestSource {
    /// What ends the read(2) of an idle source; its handler does nothing.
    static let wakeSignal: Int32 = {
        let signal = clinux_sigrtmin() + 6
        var action = sigaction()
        unsafe action.__sigaction_handler.sa_handler = { _ in }
        unsafe sigaction(signal, &action, nil)
        return signal
    }()

    func serve(_ plan: WorkerPool.Plan, for pool: WorkerPool) {
        var wake = sigset_t()
        unsafe sigemptyset(&wake)
        unsafe sigaddset(&wake, Self.wakeSignal)
        unsafe pthread_sigmask(SIG_UNBLOCK, &wake, nil)

        let session = unsafe plan.session
        var buffer = unsafe fuse_buf()
        var isFirst = true
        while unsafe fuse_session_exited(session) == 0 {
            let result = unsafe fuse_session_receive_buf(session, &buffer)
            if result == -EINTR || result == -EAGAIN { continue }
            if result <= 0 {
                // libfuse gives 0 for ENODEV, when the kernel has ended the connection, and after fuse_session_exit().
                if result == 0 { pool.connectionHasEnded() }
                break
            }
            // The first request is INIT.
            if isFirst {
                let message = unsafe UnsafeRawBufferPointer(start: buffer.mem, count: Int(result))
                if let initialization = unsafe InitRequest(message) {
                    plan.onInit(initialization)
                    if let rings = plan.rings, initialization.offers.contains(.overIOUring) {
                        rings.isWanted.store(true, ordering: .sequentiallyConsistent)
                    }
                }
            }
            unsafe TemporaryFile.translate(UnsafeMutableRawBufferPointer(start: buffer.mem, count: Int(result)))
            unsafe fuse_session_process_buf(session, &buffer)
            if isFirst {
                isFirst = false
                pool.hasInitialized(plan)
            }
        }
        unsafe free(buffer.mem)
        // One that leaves on an error must not leave the others to a mount that never ends.
        unsafe fuse_session_exit(session)
        plan.rings?.stop()
    }
}
