import AttributeTree
import CoherentMemory
import DequeModule
import LinuxSupport
import MachineTopology
import Synchronization
import SystemPackage

/// The events of the machine in their order, and who reads them: sys/kernel/cdm/uevents.
///
/// Events are posted where they come about, under whatever lock gives them their order, and delivered without one.
package final class UeventLog: Sendable {
    /// How many events are kept at most; a reader that is further behind loses the oldest.
    package static let capacity = 1024
    /// How many bytes their texts have at most, however many they are.
    package static let byteCapacity = 1 << 20

    /// One open file.
    package final class Reader: Sendable {
        /// Who opened it.
        fileprivate let viewer: Uevent.Viewer
        /// How far it has read. Texts are made under this lock, so that who posts events does not wait for that; it comes
        /// before the log's.
        fileprivate let progress: Mutex<Progress>
        /// Who waits. Its lock comes after the log's.
        package let waiting = WaitingReads()
        // Which keeps its readers.
        fileprivate weak let log: UeventLog?

        fileprivate init(_ log: UeventLog, _ viewer: Uevent.Viewer, next: UInt64) {
            self.log = log
            self.viewer = viewer
            progress = Mutex(Progress(next: next))
        }
    }

    fileprivate struct Progress {
        /// The SEQNUM of the event that comes next.
        var next: UInt64
        /// The rest of an event that did not fit into the last read.
        var rest: ArraySlice<UInt8> = []
    }

    fileprivate struct State {
        /// The SEQNUM of the last event; the first is 1.
        var last: UInt64 = 0
        /// The last events, up to `last`.
        var events: Deque<Uevent> = []
        /// The sum of their sizes.
        var bytes = 0
        var readers: [ObjectIdentifier: Reader] = [:]
        /// Blocks that are going offline. One that comes back was never gone.
        var leaving: Set<UInt64> = []
    }

    private let state = Mutex(State())

    /// The file for the tree.
    static func stream(_ log: UeventLog) -> AttributeTree.Stream {
        AttributeTree.Stream(
            "uevents",
            summary: "Events of the machine from now on, in the text of Linux's uevents.", source: log)
    }

    // MARK: What happens

    /// Appends an event. Takes no lock but its own and answers no read; `deliver` does.
    ///
    /// - Parameter event: makes it, where there are readers; takes no lock.
    package func post(_ event: () -> Uevent) { state.withLock { $0.append(event()) } }

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
            case .capabilities(let node, let capabilities):
                let word = Isolation(capabilities).map { [("ISOLATION", $0.rawValue)] } ?? []
                state.append(
                    Uevent(
                        action: "change", path: "/devices/system/node/node\(node)", subsystem: "node",
                        details: word + [("CAPABILITIES", capabilities.names.joined(separator: ","))]))
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
            // Told by who knows where the device is on its buses.
            case .bound, .unbound: break
            case .migration, .nodeMigration, .commandCompleted: break
            }
        }
    }

    /// Answers the reads that wait for what was posted. Called without locks.
    package func deliver() {
        let readers = state.withLock { Array($0.readers.values) }
        var answers: [(read: WaitingReads.Read, bytes: [UInt8])] = []
        var polls: [any Waker] = []
        for reader in readers where !reader.waiting.isEmpty {
            reader.progress.withLock { progress in
                while isReadable(progress), let read = reader.waiting.takeRead() {
                    answers.append((read, take(&progress, size: read.size, for: reader.viewer)))
                }
                guard isReadable(progress) else { return }
                if let poll = reader.waiting.takePoll() { polls.append(poll) }
            }
        }
        for (read, bytes) in answers { read.answer(bytes) }
        for poll in polls { poll.wake() }
    }

    // MARK: Who reads

    /// A reader of what comes from now on.
    package func open(by viewer: Uevent.Viewer) -> Reader {
        state.withLock { state in
            let reader = Reader(self, viewer, next: state.last + 1)
            state.readers[ObjectIdentifier(reader)] = reader
            return reader
        }
    }

    package func close(_ reader: Reader) {
        state.withLock { state in
            state.readers[ObjectIdentifier(reader)] = nil
            if state.readers.isEmpty { state.forget() }
        }
    }

    /// What there is for a reader, at most `size` bytes: whole events, unless not even one fits. Nil for nothing.
    package func take(_ reader: Reader, size: Int) -> [UInt8]? {
        reader.progress.withLock { progress in
            // Those who wait already come first.
            guard isReadable(progress), !reader.waiting.hasReads else { return nil }
            return take(&progress, size: size, for: reader.viewer)
        }
    }

    package func isReadable(_ reader: Reader) -> Bool { reader.progress.withLock { isReadable($0) } }

    private func isReadable(_ progress: Progress) -> Bool {
        !progress.rest.isEmpty || progress.next <= state.withLock { $0.last }
    }

    /// Takes what fits; there is something to read.
    private func take(_ progress: inout Progress, size: Int, for viewer: Uevent.Viewer) -> [UInt8] {
        if !progress.rest.isEmpty {
            defer { progress.rest = progress.rest.dropFirst(size) }
            return Array(progress.rest.prefix(size))
        }
        var taken: [UInt8] = []
        while true {
            // A few at a time: that is all that those who post may have to wait for.
            let (lost, events) = state.withLock { $0.events(from: progress.next, limit: 32) }
            if events.isEmpty { break }
            if lost > 0 {
                let text = Uevent.lost(lost)
                guard taken.isEmpty || taken.count + text.count <= size else { break }
                taken += text
                progress.next += lost
            }
            var isFull = false
            for event in events {
                let text = event.text(sequence: progress.next, for: viewer)
                isFull = !taken.isEmpty && taken.count + text.count > size
                if isFull { break }
                taken += text
                progress.next += 1
            }
            if isFull || taken.count >= size { break }
        }
        // Only the first can be too long.
        progress.rest = taken.dropFirst(size)
        return taken.count > size ? Array(taken.prefix(size)) : taken
    }
}

extension UeventLog: EventSource {
    package func openReader(by viewer: Uevent.Viewer) -> any EventReader { open(by: viewer) }
}

extension UeventLog.Reader: EventReader {
    package func take(size: Int) -> [UInt8]? { log?.take(self, size: size) }
    package var isReadable: Bool { log?.isReadable(self) ?? false }
    package func deliver() { log?.deliver() }
    package func close() { log?.close(self) }
}

extension UeventLog.State {
    fileprivate mutating func append(_ event: @autoclosure () -> Uevent) {
        last += 1
        // A new reader begins with what comes then.
        guard !readers.isEmpty else { return }
        let event = event()
        events.append(event)
        bytes += event.size
        while events.count > UeventLog.capacity || bytes > UeventLog.byteCapacity { bytes -= events.removeFirst().size }
    }

    /// There is no reader: a new one begins with what comes then.
    fileprivate mutating func forget() {
        events.removeAll()
        bytes = 0
    }

    /// Events from a number on, and how many of those before them are gone.
    fileprivate func events(from next: UInt64, limit: Int) -> (lost: UInt64, events: [Uevent]) {
        let oldest = last + 1 - UInt64(events.count)
        let start = max(next, oldest)
        guard start <= last else { return (0, []) }
        return (start - next, Array(events.dropFirst(Int(start - oldest)).prefix(limit)))
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
