import LinuxSupport
import SystemPackage

/// What stands behind a file of events.
package protocol EventSource: Sendable {
    /// A new open file of it.
    ///
    /// - Throws: EBUSY for more readers than it can have, ENOMEM where the host refuses their memory.
    func openReader(by viewer: Uevent.Viewer) throws(Errno) -> any EventReader
}

/// An open file of events.
package protocol EventReader: AnyObject, Sendable {
    /// What there is, at most `size` bytes: whole events, unless not even one fits. Nil for nothing, and while others wait.
    func take(size: Int) -> [UInt8]?
    /// Whether there is something.
    var isReadable: Bool { get }
    /// The reads that wait for it.
    var waiting: WaitingReads { get }
    /// Answers who waits for what there is.
    func deliver()
    /// The file is closed.
    func close()
}

/// The reads and the poll(2) of an open file that wait for events.
package final class WaitingReads: Sendable {
    /// A read that waits.
    package struct Read: Sendable {
        fileprivate let id: Int
        let size: Int
        /// Called once, with the bytes, or nil where the read is given up.
        let answer: @Sendable ([UInt8]?) -> Void
    }

    private struct State {
        var reads: [Read] = []
        var nextID = 0
        var poll: (any Waker)?
    }

    private let state = Mutex(State())

    /// Whether nothing waits.
    var isEmpty: Bool { state.withLock { $0.reads.isEmpty && $0.poll == nil } }

    /// Whether a read waits.
    var hasReads: Bool { state.withLock { !$0.reads.isEmpty } }

    /// The read that has waited longest. Who takes it answers it.
    func takeRead() -> Read? { state.withLock { $0.reads.isEmpty ? nil : $0.reads.removeFirst() } }

    /// Puts a read back that was taken and cannot be answered yet.
    func putBack(_ read: Read) { state.withLock { $0.reads.insert(read, at: 0) } }

    /// Who polls. Who takes it wakes it.
    func takePoll() -> (any Waker)? { state.withLock { $0.poll.take() } }

    /// Has a read wait until there is something.
    ///
    /// - Parameter answer: called once, with what there is, or with nil where the read is given up.
    /// - Returns: gives the read up, unless it was answered before. Have the reader ``EventReader/deliver()`` then: something may
    ///   have come between the look and the wait.
    package func wait(size: Int, _ answer: @escaping @Sendable ([UInt8]?) -> Void) -> @Sendable () -> Void {
        let id = state.withLock { state in
            state.nextID += 1
            state.reads.append(Read(id: state.nextID, size: size, answer: answer))
            return state.nextID
        }
        return {
            // The thread that takes the read out answers it, so that no event is taken for one that has been given up.
            let read = self.state.withLock { state -> Read? in
                guard let index = state.reads.firstIndex(where: { $0.id == id }) else { return nil }
                return state.reads.remove(at: index)
            }
            read?.answer(nil)
        }
    }

    /// Wakes `poll` when there is something to read. The reader has to ``EventReader/deliver()`` then, too.
    package func watch(_ poll: any Waker) {
        // The one before is released outside the lock.
        let old = state.withLock { state in
            defer { state.poll = poll }
            return state.poll
        }
        withExtendedLifetime(old) {}
    }
}
