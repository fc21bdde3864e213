import AttributeTree
import CoherentMemory
import Dispatch
import Fuse
import SystemPackage

/// Runs what a control file asks for on threads of its own, for it may wait for requests that the workers serve.
final class JobRunner: Sendable {
    private struct State {
        var isClosed = false
        var next = 0
        var running: [Int: Cancellation] = [:]
    }

    /// More would use up the threads that Dispatch has for everybody.
    private static let limit = 128

    private let state = Mutex(State())
    private let group = DispatchGroup()

    /// Starts a job; `done` gets its error, on the thread that did the work. False when too many run,
    /// or the mount is closing.
    @discardableResult
    func start(_ job: Job, _ cancellation: Cancellation, done: @escaping @Sendable (Errno?) -> Void) -> Bool {
        let id = state.withLock { state -> Int? in
            guard !state.isClosed, state.running.count < Self.limit else { return nil }
            state.next += 1
            state.running[state.next] = cancellation
            return state.next
        }
        guard let id else { return false }
        // A serial queue for each job has a thread of its own at once; a shared one would wait for idle CPUs.
        DispatchQueue(label: "cdmfs.job.\(job.name)").async(group: group) {
            do throws(Errno) {
                try job.run(cancellation)
                done(nil)
            } catch {
                done(error)
            }
            self.state.withLock { _ = $0.running.removeValue(forKey: id) }
        }
        return true
    }

    /// Cancels what runs and takes nothing more.
    func close() {
        let running = state.withLock { state in
            state.isClosed = true
            return Array(state.running.values)
        }
        for cancellation in running { cancellation.cancel() }
    }

    /// Waits until no job runs; false when one still does after `seconds`.
    func wait(seconds: Int) -> Bool { group.wait(timeout: .now() + .seconds(seconds)) == .success }
}
