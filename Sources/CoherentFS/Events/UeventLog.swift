import AttributeTree
import CoherentMemory
import DequeModule
import Fuse
import Synchronization
import SystemPackage

/// The events of the machine in their order, and who reads them: sys/kernel/cdm/uevents.
///
/// Events are posted where they come about, under whatever lock gives them their order, and delivered without one.
final class UeventLog: Sendable {
    /// How many events are kept; a reader that is further behind loses the oldest.
    static let capacity = 1024

    /// One open file.
    fileprivate struct Reader {
        /// The SEQNUM of the event that comes next.
        var next: UInt64
        /// The rest of an event that did not fit into the last read.
        var rest: ArraySlice<UInt8> = []
        var waiting: [Waiter] = []
        var poll: PollHandle?
    }

    /// A read that waits.
    fileprivate struct Waiter {
        let id: Int
        let request: DeferredRequest
        let size: Int
        let place: HeldRequests.Place
    }

    fileprivate struct State {
        /// The SEQNUM of the last event; the first is 1.
        var last: UInt64 = 0
        /// The last events, up to `last`.
        var events: Deque<[UInt8]> = []
        var readers: [Int: Reader] = [:]
        var nextID = 0
        /// Blocks that are going offline. One that comes back was never gone.
        var leaving: Set<UInt64> = []
    }

    private let state = Mutex(State())

    /// The file for the tree.
    static func stream(_ log: UeventLog) -> AttributeTree.Stream {
        AttributeTree.Stream(
            "uevents",
            summary: "What happens to the machine from now on, in the text of Linux's uevents.", source: log)
    }

    // MARK: What happens

    /// Appends an event. Takes no lock but its own and answers nobody; `deliver` does.
    ///
    /// - Parameter event: makes it, where somebody reads events; takes no lock.
    func post(_ event: () -> Uevent) { state.withLock { $0.append(event()) } }

    /// Appends what a change of the machine is to user space.
    func note(_ event: MachineEvent) {
        state.withLock { state in
            switch event {
            case .block(let number, .goingOffline): state.leaving.insert(number)
            case .block(_, .absent): break
            case .block(let number, .online):
                if state.leaving.remove(number) == nil { state.append(Uevent("online", block: number)) }
            case .block(let number, .offline):
                state.leaving.remove(number)
                state.append(Uevent("offline", block: number))
            case .device(let name, let word):
                state.append(
                    Uevent(
                        action: "change", path: "/class/cdm/\(name)", subsystem: "cdm",
                        details: [("STATE", word.rawValue)]))
            case .isolation(let node, let isolation):
                state.append(
                    Uevent(
                        action: "change", path: "/devices/system/node/node\(node)", subsystem: "node",
                        details: [("ISOLATION", isolation.rawValue)]))
            case .blockAdded(let number): state.append(Uevent("add", block: number))
            case .blockRemoved(let number): state.append(Uevent("remove", block: number))
            case .nodeAdded(let id): state.append(Uevent("add", node: id))
            case .nodeRemoved(let id): state.append(Uevent("remove", node: id))
            case .deviceAdded(let name): state.append(Uevent("add", device: name))
            case .deviceRemoved(let name): state.append(Uevent("remove", device: name))
            case .link(let name, let word):
                state.append(
                    Uevent(
                        action: "change", path: "/class/cdm/\(name)", subsystem: "cdm",
                        details: [("CDM_EVENT", "link_\(word.rawValue)")]))
            // Told with names, by who knows them.
            case .pageFailed, .linkErrors: break
            case .migration, .nodeMigration, .commandCompleted: break
            }
        }
    }

    /// Answers whoever waits for what was posted. Called without locks.
    func deliver() {
        var answers: [(waiter: Waiter, bytes: [UInt8])] = []
        var polls: [PollHandle] = []
        state.withLock { state in
            for id in state.readers.keys {
                while state.isReadable(id), let waiter = state.readers[id]?.waiting.first {
                    state.readers[id]?.waiting.removeFirst()
                    answers.append((waiter, state.take(id, size: waiter.size)))
                }
                if state.isReadable(id), let poll = state.readers[id]?.poll {
                    state.readers[id]?.poll = nil
                    polls.append(poll)
                }
            }
        }
        for (waiter, bytes) in answers { waiter.request.answer { $0.bytes(bytes) } }
        for poll in polls { try? poll.notify() }
    }

    // MARK: Who reads

    /// A reader of what comes from now on.
    func open() -> Int {
        state.withLock { state in
            state.nextID += 1
            state.readers[state.nextID] = Reader(next: state.last + 1)
            return state.nextID
        }
    }

    func close(_ reader: Int) {
        // Released outside the lock.
        _ = state.withLock { $0.readers.removeValue(forKey: reader) }
    }

    /// What there is for a reader, at most `size` bytes: whole events, unless not even one fits. Nil for nothing.
    func take(_ reader: Int, size: Int) -> [UInt8]? {
        state.withLock { state in
            // Those who wait already come first.
            guard state.isReadable(reader), state.readers[reader]?.waiting.isEmpty ?? false else { return nil }
            return state.take(reader, size: size)
        }
    }

    func isReadable(_ reader: Int) -> Bool { state.withLock { $0.isReadable(reader) } }

    /// Answers a read when there is something, or with EINTR when its caller is interrupted before.
    func wait(_ reader: Int, _ request: DeferredRequest, size: Int, _ place: HeldRequests.Place) {
        let id = state.withLock { state in
            state.nextID += 1
            let waiter = Waiter(id: state.nextID, request: request, size: size, place: place)
            state.readers[reader]?.waiting.append(waiter)
            return state.nextID
        }
        // Whoever takes the waiter out answers it, so that no event is taken for a read that has been given up.
        request.onInterrupt { [self] in
            let waiter = state.withLock { state -> Waiter? in
                guard let index = state.readers[reader]?.waiting.firstIndex(where: { $0.id == id }) else { return nil }
                return state.readers[reader]?.waiting.remove(at: index)
            }
            waiter?.request.error(.interrupted)
        }
        // Something may have come between the look and the wait.
        deliver()
    }

    /// Wakes `poll` when there is something to read.
    func watch(_ reader: Int, _ poll: PollHandle) {
        let old = state.withLock { state in
            defer { state.readers[reader]?.poll = poll }
            return state.readers[reader]?.poll
        }
        _ = old
        deliver()
    }
}

extension UeventLog.State {
    fileprivate mutating func append(_ event: @autoclosure () -> Uevent) {
        last += 1
        guard !readers.isEmpty else {
            // Whoever comes begins with what comes then.
            events.removeAll()
            return
        }
        events.append(event().text(sequence: last))
        if events.count > UeventLog.capacity { events.removeFirst() }
    }

    fileprivate func isReadable(_ id: Int) -> Bool {
        guard let reader = readers[id] else { return false }
        return !reader.rest.isEmpty || reader.next <= last
    }

    /// Takes what fits; the reader has something to read.
    fileprivate mutating func take(_ id: Int, size: Int) -> [UInt8] {
        guard var reader = readers[id] else { return [] }
        defer { readers[id] = reader }
        if !reader.rest.isEmpty {
            defer { reader.rest = reader.rest.dropFirst(size) }
            return Array(reader.rest.prefix(size))
        }
        var taken: [UInt8] = []
        let oldest = last + 1 - UInt64(events.count)
        while reader.next <= last {
            let isBehind = reader.next < oldest
            let event = isBehind ? Uevent.lost(oldest - reader.next) : events[Int(reader.next - oldest)]
            guard taken.isEmpty || taken.count + event.count <= size else { break }
            taken += event
            reader.next = isBehind ? oldest : reader.next + 1
        }
        // Only the first can be too long.
        reader.rest = taken.dropFirst(size)
        return taken.count > size ? Array(taken.prefix(size)) : taken
    }
}

extension Uevent {
    fileprivate init(_ action: String, block: UInt64) {
        self.init(action: action, path: "/devices/system/memory/memory\(block)", subsystem: "memory")
    }

    fileprivate init(_ action: String, node: Int) {
        self.init(action: action, path: "/devices/system/node/node\(node)", subsystem: "node")
    }

    fileprivate init(_ action: String, device: String) {
        self.init(action: action, path: "/class/cdm/\(device)", subsystem: "cdm")
    }
}

extension Request {
    /// Answers READ.
    @discardableResult
    consuming func bytes(_ bytes: [UInt8]) -> Bool { unsafe data(bytes.span.bytes) }
}
