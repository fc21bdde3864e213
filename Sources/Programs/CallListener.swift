import CListener
import Dispatch
import Glibc
import LinuxSupport
import SystemPackage

/// The listener of one run, and the threads that answer its calls.
///
/// The threads take turns: one waits for a call, and when it has got one the next waits while it answers. So a call is received at once,
/// before a signal can interrupt it, and answered without waking another thread. What a program can keep waiting are threads of its own
/// listener.
@safe
final class CallListener: Sendable {
    private let file: FileDescriptor
    /// The socket that tells the keeper how long it is served.
    private let keeper: FileDescriptor
    private nonisolated(unsafe) let slots: UnsafeMutablePointer<UInt64>
    private let world: any ProgramWorld
    private let directory: SpaceDirectory
    /// The address spaces of the programs; nil until the first call that maps memory, and where their memory is the host's.
    private let knownSpaces = Mutex<AddressSpaces?>(nil)
    private let namespaces: ProgramNamespaces
    private let user: UInt32
    /// Where the programs live; nil until the first call, and afterwards where that is not to be seen.
    private let home = Mutex<(isKnown: Bool, membership: ProgramNamespaces.Membership?)>((false, nil))
    /// Readable when the server ends.
    private let stop: FileDescriptor
    private let end: @Sendable () -> Void
    /// Held by the thread that waits for a call.
    private let turn = DispatchSemaphore(value: 1)

    private struct State {
        var threads = 0
        /// Threads that wait for their turn, or for a call.
        var idle = 0
        var freeSlots = Array(0..<CallListener.threadLimit)
    }

    private let state = Mutex(State())
    /// So many calls are answered at a time.
    static let threadLimit = CLISTENER_SLOTS

    /// Shares what is being answered with the keeper at the other end of `keeper`.
    ///
    /// - Parameters:
    ///   - user: who has handed it over.
    ///   - end: called when no program is left that may make a call, and no thread answers any more.
    /// - Throws: what the kernel says of `keeper`.
    init(
        _ file: FileDescriptor, keeper: FileDescriptor, stop: FileDescriptor, world: any ProgramWorld,
        directory: SpaceDirectory, namespaces: ProgramNamespaces, user: UInt32,
        end: @escaping @Sendable () -> Void
    ) throws(Errno) {
        guard let slots = unsafe clistener_share_slots(keeper.rawValue) else { throw Errno(rawValue: errno) }
        unsafe self.slots = slots
        self.file = file
        self.keeper = keeper
        self.stop = stop
        self.world = world
        self.directory = directory
        self.namespaces = namespaces
        self.user = user
        self.end = end
        clistener_wake_in_place(file.rawValue)
    }

    /// Starts to answer. EAGAIN where the host has no more threads.
    func start() throws(Errno) { try startThread() }

    private func startThread() throws(Errno) {
        let slot = state.withLock { state -> Int? in
            guard let slot = state.freeSlots.popLast() else { return nil }
            state.threads += 1
            state.idle += 1
            return slot
        }
        guard let slot else { return }
        do throws(Errno) {
            try SystemThread { [self] in serve(slot) }.detach()
        } catch {
            state.withLock { state in
                state.threads -= 1
                state.idle -= 1
                state.freeSlots.append(slot)
            }
            throw error
        }
    }

    private func serve(_ slot: Int) {
        var call = clistener_call()
        while true {
            turn.wait()
            let result = unsafe clistener_receive(file.rawValue, stop.rawValue, &call)
            let error = errno
            if result == 0 { unsafe slots[slot] = call.id }
            let isLast = state.withLock { state in
                if result == 0 { state.idle -= 1 }
                return state.idle == 0
            }
            turn.signal()
            guard result == 0 else {
                // Its thread has been killed.
                if error == ENOENT { continue }
                break
            }
            if isLast { try? startThread() }
            answer(call)
            unsafe slots[slot] = 0
            state.withLock { $0.idle += 1 }
        }
        let isOver = state.withLock { state in
            state.threads -= 1
            state.idle -= 1
            state.freeSlots.append(slot)
            return state.threads == 0
        }
        if isOver { close() }
    }

    private func answer(_ call: clistener_call) {
        home.withLock { home in
            guard !home.isKnown else { return }
            home = (true, namespaces.add(namespaceOf: call.task, of: user))
        }
        let spaces = knownSpaces.withLock { known -> AddressSpaces? in
            if known == nil, call.mapsMemory, ProgramServer.hasMemory {
                // It is closed when no thread answers any more.
                let keeper = keeper.rawValue
                known = try? AddressSpaces(world, in: directory) { line in unsafe clistener_tell(keeper, line) }
            }
            return known
        }
        spaces?.serve(call.task)
        let task = CallingTask(call, of: file.rawValue, in: world, spaces: spaces, stop: stop.rawValue)
        switch task.outcome(of: call) {
        case .value(let value): _ = clistener_answer(file.rawValue, call.id, value, 0)
        case .failure(let error): _ = clistener_answer(file.rawValue, call.id, 0, error.rawValue)
        case .pass: _ = clistener_pass(file.rawValue, call.id)
        case .file(let bytes): answer(call, with: bytes)
        case .answered: break
        }
    }

    /// Only openat(2) and open(2) get a file, whose flags say whether it is closed on exec.
    private func answer(_ call: clistener_call, with bytes: [UInt8]) {
        let text = unsafe bytes.withUnsafeBytes { unsafe clistener_text_file($0.baseAddress, $0.count) }
        defer { if text >= 0 { Glibc.close(text) } }
        let flags =
            call.number == Int32(truncatingIfNeeded: CLISTENER_OPENAT) ? call.arguments.2 : call.arguments.1
        let closes: Int32 = flags & UInt64(O_CLOEXEC) != 0 ? 1 : 0
        if text < 0 || clistener_answer_file(file.rawValue, call.id, text, closes) != 0 {
            _ = clistener_pass(file.rawValue, call.id)
        }
    }

    private func close() {
        knownSpaces.withLock { $0.take() }?.close()
        home.withLock { $0.membership = nil }
        unsafe clistener_unshare_slots(slots)
        try? file.close()
        try? keeper.close()
        end()
    }
}
