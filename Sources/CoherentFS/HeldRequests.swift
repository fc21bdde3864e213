import CoherentMemory
import Fuse
import Glibc
import LinuxSupport
import SystemPackage

/// Counts reads and writes that wait for something else than a worker: for an event, a device, or a slow link.
///
/// Those of aio(7) and io_uring(7) that go past the page cache are among the kernel's background requests, of which it lets so
/// many through at a time (`max_background`), as are the read-ahead and the write-back of every file. What a device does may
/// need write-back, and a request that waits for the device would wait for good if there were no place left for it. So the places are
/// never all taken by requests that are held, and no user takes all that may be held.
final class HeldRequests: Sendable {
    private struct State {
        var all = 0
        var byUser: [UInt32: Int] = [:]
    }

    /// As many may be held for one user other than root.
    static let mostOfUser = 1024
    /// As many may be held.
    private let most: Int
    private let state = Mutex(State())

    init() {
        let granted = ConnectionOptions().maxBackground
        most = (geteuid() == 0 ? granted : min(granted, Self.limitForUsers)) / 2
    }

    /// What the kernel lets through at a time in a mount that is not root's (`max_user_bgreq`).
    private static var limitForUsers: Int {
        let text = (try? SmallFile.read("/sys/module/fuse/parameters/max_user_bgreq")) ?? []
        return Int(String(decoding: text, as: UTF8.self).filter(\.isNumber)) ?? 64
    }

    /// A request's place among them, for as long as it is referred to.
    final class Place: Sendable {
        private let held: HeldRequests
        private let user: UInt32

        fileprivate init(_ held: HeldRequests, _ user: UInt32) {
            self.held = held
            self.user = user
        }

        deinit { held.leave(user) }
    }

    /// Takes a place for a request of `caller`.
    ///
    /// - Throws: ENOBUFS where there is none. Not EAGAIN, for which io_uring asks again at once.
    func take(for caller: Caller) throws(Errno) -> Place {
        let user = caller.uid
        try state.withLock { state throws(Errno) in
            let own = state.byUser[user, default: 0]
            guard state.all < most, user == 0 || own < Self.mostOfUser else { throw .noBufferSpace }
            state.all += 1
            state.byUser[user] = own + 1
        }
        return Place(self, user)
    }

    private func leave(_ user: UInt32) {
        state.withLock { state in
            state.all -= 1
            let own = state.byUser[user, default: 1] - 1
            state.byUser[user] = own == 0 ? nil : own
        }
    }
}
