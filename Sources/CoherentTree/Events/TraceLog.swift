import AttributeTree
import CoherentMemory
import LinuxSupport
import TraceFormat

/// The form in which a file shows what is recorded.
package enum TraceForm: Sendable {
    /// Lines as in tracefs: trace_pipe.
    case text
    /// Records of ``TraceFormat/RawTrace``: trace_pipe_raw.
    case raw
    /// The same of every event from now on, which are recorded only while the file is open: watch.
    case watch
}

/// A file of what is recorded.
struct TracePipe: EventSource {
    let log: TraceLog
    let form: TraceForm

    func openReader(by viewer: Uevent.Viewer) -> any EventReader { log.openReader(by: viewer, form) }
}

/// The readers of what is recorded of the machine: sys/kernel/cdm/trace/trace_pipe.
///
/// Whoever records wakes one thread, which answers those who wait: nothing is answered on the fault path.
package final class TraceLog: Sendable {
    /// One open file.
    package final class Reader: EventReader {
        // Which keeps its readers.
        private weak let log: TraceLog?
        /// What the reader reads.
        private let tracer: Tracer
        private let viewer: Uevent.Viewer
        private let form: TraceForm
        private let progress: Mutex<Progress>
        package let waiting = WaitingReads()

        /// Whether all events are recorded for this reader.
        private let holds: Machine?

        private struct Progress {
            var cursor: Tracer.Cursor
            /// What was so when the reader began, in the raw form, as far as it is not read yet.
            var snapshot: TraceSnapshot?
            var initial: ArraySlice<TraceEvent> = []
            /// The names that were told already, in the raw form.
            var told: [UInt64: String] = [:]
            /// The rest of a line that did not fit into the last read.
            var rest: ArraySlice<UInt8> = []
            /// Whether events are recorded for this reader.
            var isWatcher = false
        }

        fileprivate init(_ log: TraceLog, _ viewer: Uevent.Viewer, _ form: TraceForm) {
            self.form = form
            self.log = log
            self.viewer = viewer
            guard form == .watch, let watch = log.tracer.watch else {
                tracer = log.tracer
                var progress = Progress(cursor: log.tracer.makeCursor())
                var holds: Machine?
                if form == .raw, let machine = log.services.withLock({ $0.value?.machine }) {
                    // Without memory for events there are none.
                    holds = (try? machine.beginRecord()) == nil ? nil : machine
                    progress.cursor = log.tracer.makeCursorAtEnd()
                    progress.snapshot = TraceSnapshot(of: machine, clock: log.tracer.clock)
                }
                self.holds = holds
                self.progress = Mutex(progress)
                return
            }
            tracer = watch
            holds = nil
            // An open(2) has no error for a host without address space; then there are no events.
            let isWatcher = (try? log.tracer.addWatcher()) != nil
            progress = Mutex(Progress(cursor: watch.makeCursorAtEnd(), isWatcher: isWatcher))
        }

        package var isReadable: Bool { progress.withLock { isReadable($0) } }

        private func isReadable(_ progress: borrowing Progress) -> Bool {
            !progress.rest.isEmpty || progress.snapshot != nil || tracer.hasItem(at: progress.cursor)
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
            func add(_ item: Tracer.Item) -> Bool {
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
            if progress.snapshot == nil { tracer.read(&progress.cursor, add) }
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

        /// Answers who waits, as far as there is something. Only the log's thread calls it.
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
            holds?.endRecord()
            log?.readers.withLock { $0[ObjectIdentifier(self)] = nil }
            let wasWatcher = progress.withLock { progress in
                defer { progress.isWatcher = false }
                return progress.isWatcher
            }
            if wasWatcher { log?.tracer.removeWatcher() }
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

    package func openReader(by viewer: Uevent.Viewer, _ form: TraceForm = .text) -> any EventReader {
        let reader = Reader(self, viewer, form)
        readers.withLock { $0[ObjectIdentifier(reader)] = reader }
        return reader
    }

    /// Answers who waits, until cancelled. On a thread of its own; ``Tracer/wake()`` has it look at `isCancelled`.
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
        _ item: Tracer.Item, _ told: [UInt64: String], _ name: inout (UInt64, String)?
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

    mutating func line(_ item: Tracer.Item) -> [UInt8] {
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
