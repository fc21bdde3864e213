import AttributeTree
import CoherentMemory
import LinuxSupport
import SystemPackage
import TraceFormat

/// The form in which a file shows what is recorded.
package enum TraceForm: Sendable {
    /// Lines of the main instance as in tracefs: trace_pipe.
    case text
    /// Records of ``TraceFormat/RawTrace`` from an instance of the open file's own, of every event: trace_pipe_raw. The state of the
    /// machine comes first.
    case record
    /// The same without that state, and without the events that only a replay needs: trace_pipe_watch.
    case watch
}

/// A file of what is recorded.
struct TracePipe: EventSource {
    let log: TraceLog
    let form: TraceForm

    func openReader(by viewer: Uevent.Viewer) throws(Errno) -> any EventReader {
        try log.openReader(by: viewer, form)
    }
}

/// The readers of what is recorded of the machine: the files trace_pipe, trace_pipe_raw and trace_pipe_watch of
/// sys/kernel/cdm/trace.
///
/// A thread that records wakes one thread, which answers the reads that wait: nothing is answered on the fault path.
package final class TraceLog: Sendable {
    /// One open file.
    package final class Reader: EventReader {
        // Which keeps its readers.
        private weak let log: TraceLog?
        /// What the reader reads.
        private let instance: TraceInstance
        private let viewer: Uevent.Viewer
        private let form: TraceForm
        private let progress: Mutex<Progress>
        package let waiting = WaitingReads()

        private struct Progress {
            var cursor: TraceInstance.Cursor
            /// What was so when the reader began, as far as it is not read yet.
            var snapshot: TraceSnapshot?
            var initial: ArraySlice<TraceEvent> = []
            /// The names that records have told already.
            var told: [UInt64: String] = [:]
            /// The rest of a line that did not fit into the last read.
            var rest: ArraySlice<UInt8> = []
        }

        fileprivate init(
            _ log: TraceLog, _ instance: TraceInstance, _ viewer: Uevent.Viewer, _ form: TraceForm,
            snapshot: TraceSnapshot? = nil
        ) {
            self.log = log
            self.instance = instance
            self.viewer = viewer
            self.form = form
            progress = Mutex(Progress(cursor: instance.makeCursor(), snapshot: snapshot))
        }

        package var isReadable: Bool { progress.withLock { isReadable($0) } }

        private func isReadable(_ progress: borrowing Progress) -> Bool {
            !progress.rest.isEmpty || progress.snapshot != nil || instance.hasItem(at: progress.cursor)
        }

        package func take(size: Int) -> [UInt8]? {
            progress.withLock { progress in waiting.hasReads ? nil : take(&progress, size: size) }
        }

        /// Nil where nothing is left but what was overwritten meanwhile by what the filter keeps out.
        private func take(_ progress: inout Progress, size: Int) -> [UInt8]? {
            if !progress.rest.isEmpty {
                defer { progress.rest = progress.rest.dropFirst(size) }
                return Array(progress.rest.prefix(size))
            }
            guard let services = log?.services.withLock({ $0.value }) else { return nil }
            var text = TraceText(services, viewer)
            var taken: [UInt8] = []
            // Told anew at some time, so that they do not grow with the buffers that come and go.
            var told = progress.told.count < 1 << 16 ? progress.told : [:]
            progress.told = [:]
            defer { progress.told = told }
            func add(_ item: TraceInstance.Item) -> Bool {
                guard taken.count < size else { return false }
                var name: (UInt64, String)?
                let line = form == .text ? text.line(item) : text.record(item, told, &name)
                guard taken.isEmpty || taken.count + line.count <= size else { return false }
                taken += line
                if let name { told[name.0] = name.1 }
                return true
            }
            while let event = nextInitial(&progress) {
                guard add(.event(event)) else { break }
                progress.initial.removeFirst()
            }
            if progress.snapshot == nil { instance.read(&progress.cursor, add) }
            guard !taken.isEmpty else { return nil }
            // Only the first can be too long.
            progress.rest = taken.dropFirst(size)
            return taken.count > size ? Array(taken.prefix(size)) : taken
        }

        /// The next event of the snapshot; nil at its end.
        private func nextInitial(_ progress: inout Progress) -> TraceEvent? {
            while progress.initial.isEmpty, progress.snapshot != nil {
                if let more = progress.snapshot?.next() {
                    progress.initial = more[...]
                } else {
                    progress.snapshot = nil
                }
            }
            return progress.initial.first
        }

        package func deliver() { log?.tracer.wake() }

        /// Answers the reads that wait, as far as there is something. Only the log's thread calls it.
        fileprivate func answer() {
            guard !waiting.isEmpty else { return }
            var answers: [(read: WaitingReads.Read, bytes: [UInt8])] = []
            let poll = progress.withLock { progress -> (any Waker)? in
                while waiting.hasReads, isReadable(progress) {
                    guard let read = waiting.takeRead() else { break }
                    guard let bytes = take(&progress, size: read.size) else {
                        waiting.putBack(read)
                        break
                    }
                    answers.append((read, bytes))
                }
                return isReadable(progress) ? waiting.takePoll() : nil
            }
            for (read, bytes) in answers { read.answer(bytes) }
            poll?.wake()
        }

        package func close() {
            guard let log, log.readers.withLock({ $0.removeValue(forKey: ObjectIdentifier(self)) }) != nil else {
                return
            }
            if form != .text { log.tracer.remove(instance) }
        }
    }

    private let tracer: Tracer
    private let services = Mutex(Attached())
    private let readers = Mutex<[ObjectIdentifier: Reader]>([:])

    private struct Attached {
        weak var value: TreeServices?
    }

    init(_ tracer: Tracer) { self.tracer = tracer }

    /// Sets who knows the names; they keep the log.
    func attach(_ services: TreeServices) { self.services.withLock { $0.value = services } }

    /// The size of the rings of `cdmfs top`: it wants the newest events, and no more than can be shown.
    private static let watchKilobytes = 64

    /// A new open file.
    ///
    /// - Throws: EBUSY if ``CoherentMemory/Tracer/instanceLimit`` files have instances of their own, ENOMEM where the host refuses the
    ///   memory of one, ENODEV after the end of the tree.
    package func openReader(
        by viewer: Uevent.Viewer, _ form: TraceForm = .text
    ) throws(Errno) -> any EventReader {
        let reader: Reader
        switch form {
        case .text: reader = Reader(self, tracer.main, viewer, form)
        case .record:
            guard let machine = services.withLock({ $0.value?.machine }) else { throw .operationNotSupportedByDevice }
            let (instance, snapshot) = try machine.beginRecord()
            reader = Reader(self, instance, viewer, form, snapshot: snapshot)
        case .watch:
            reader = Reader(self, try tracer.addInstance(.live, kilobytes: Self.watchKilobytes), viewer, form)
        }
        readers.withLock { $0[ObjectIdentifier(reader)] = reader }
        return reader
    }

    /// Answers the reads that wait, until cancelled. On a thread of its own; ``Tracer/wake()`` has it look at `isCancelled`.
    func run(isCancelled: () -> Bool) {
        while !isCancelled() {
            let waiting = readers.withLock { $0.values.filter { !$0.waiting.isEmpty } }
            tracer.sleep(forEvents: !waiting.isEmpty) { isCancelled() || waiting.contains(where: \.isReadable) }
            for reader in readers.withLock({ Array($0.values) }) { reader.answer() }
        }
    }
}

/// Lines of trace_pipe for one reader, as those of tracefs: `TASK-PID [CPU] FLAGS TIME: EVENT: FIELDS`.
struct TraceText {
    private var names: Names

    init(_ services: TreeServices, _ viewer: Uevent.Viewer) { names = Names(services: services, viewer: viewer) }

    private struct Names: TraceNames {
        let services: TreeServices
        let viewer: Uevent.Viewer
        // Each is asked once for a read: between two of them its answer may change.
        var buffers: [UInt64: String] = [:]
        var tasks: [Int32: Int32] = [:]

        mutating func buffer(_ id: UInt64) -> String { name(id, escape: Self.escaped) }

        /// The name, as `escape` has it.
        mutating func name(_ id: UInt64, escape: (String) -> String = { $0 }) -> String {
            if let name = buffers[id] { return name }
            let name = services.files.name(of: id).shown(to: viewer, escape: escape)
            buffers[id] = name
            return name
        }

        /// The name of a buffer without a name.
        let ofDeleted = "(deleted)"

        mutating func device(ofNode node: Int) -> String {
            services.machine.devices.first { $0.node.id == node }?.name ?? "-"
        }

        mutating func task(_ pid: Int32) -> Int32 {
            if let number = tasks[pid] { return number }
            let number = viewer.numbers == .ours || pid == 0 ? pid : ToldTask(pid).number(for: viewer.numbers)
            tasks[pid] = number
            return number
        }

        /// What would end a field or line, as in /proc/self/mountinfo.
        private static func escaped(_ text: String) -> String {
            text.unicodeScalars.map { scalar in
                switch scalar {
                case " ": "\\040"
                case "\t": "\\011"
                case "\n": "\\012"
                case "\\": "\\134"
                default: String(scalar)
                }
            }.joined()
        }
    }

    /// The record of an item, with the name of its buffer before it if the reader does not know that yet.
    ///
    /// - Parameters:
    ///   - told: the names that the reader knows.
    ///   - name: the one that it knows then.
    mutating func record(
        _ item: TraceInstance.Item, _ told: [UInt64: String], _ name: inout (UInt64, String)?
    ) -> [UInt8] {
        var bytes: [UInt8] = []
        switch item {
        case .lost(_, let count): RawTrace.append(.lost(count), to: &bytes)
        case .event(var event):
            if event.buffer != 0 {
                let present = names.name(event.buffer)
                // One that has gone keeps the name that it had.
                let known = told[event.buffer]
                if known == nil || known != present && present != names.ofDeleted {
                    RawTrace.append(.name(buffer: event.buffer, present), to: &bytes)
                    name = (event.buffer, present)
                }
            }
            event.pid = names.task(event.pid)
            RawTrace.append(.event(event), to: &bytes)
        }
        return bytes
    }

    mutating func line(_ item: TraceInstance.Item) -> [UInt8] {
        switch item {
        case .lost(let stripe, let count):
            // Two stripes for each CPU; a stripe's events are mostly of its CPU.
            return Array("CPU:\(stripe / 2) [LOST \(count) EVENTS]\n".utf8)
        case .event(let event):
            let task = "\(names.task(event.pid))"
            let cpu = String(event.cpu)
            let microseconds = String(event.time / 1000 % 1_000_000)
            let seconds = String(event.time / 1_000_000_000)
            func padded(_ text: String, _ width: Int, _ fill: Character = " ") -> String {
                String(repeating: fill, count: max(0, width - text.count)) + text
            }
            var line = "           <...>-" + task + String(repeating: " ", count: max(0, 7 - task.count))
            line += " [" + padded(cpu, 3, "0") + "] ..... " + padded(seconds, 5) + "." + padded(microseconds, 6, "0")
            line += ": " + event.kind.name + ":"
            for (name, value) in event.fields(&names) { line += " " + name + "=" + value }
            return Array((line + "\n").utf8)
        }
    }
}
