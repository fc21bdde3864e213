import AttributeTree
import CoherentMemory
import LinuxSupport

/// The readers of what is recorded of the machine: sys/kernel/cdm/trace/trace_pipe.
///
/// Whoever records wakes one thread, which answers those who wait: nothing is answered on the fault path.
package final class TraceLog: EventSource {
    /// One open file.
    package final class Reader: EventReader {
        // Which keeps its readers.
        private weak let log: TraceLog?
        private let tracer: Tracer
        private let viewer: Uevent.Viewer
        private let progress: Mutex<Progress>
        package let waiting = WaitingReads()

        private struct Progress {
            var cursor: Tracer.Cursor
            /// The rest of a line that did not fit into the last read.
            var rest: ArraySlice<UInt8> = []
        }

        fileprivate init(_ log: TraceLog, _ viewer: Uevent.Viewer) {
            self.log = log
            tracer = log.tracer
            self.viewer = viewer
            progress = Mutex(Progress(cursor: log.tracer.makeCursor()))
        }

        package var isReadable: Bool { progress.withLock { isReadable($0) } }

        private func isReadable(_ progress: borrowing Progress) -> Bool {
            !progress.rest.isEmpty || tracer.hasItem(at: progress.cursor)
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
            tracer.read(&progress.cursor) { item in
                guard taken.count < size else { return false }
                let line = text.line(item)
                guard taken.isEmpty || taken.count + line.count <= size else { return false }
                taken += line
                return true
            }
            guard !taken.isEmpty else { return nil }
            // Only the first can be too long.
            progress.rest = taken.dropFirst(size)
            return taken.count > size ? Array(taken.prefix(size)) : taken
        }

        package func deliver() { tracer.wake() }

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

        package func close() { log?.readers.withLock { $0[ObjectIdentifier(self)] = nil } }
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

    package func openReader(by viewer: Uevent.Viewer) -> any EventReader {
        let reader = Reader(self, viewer)
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

        mutating func buffer(_ id: UInt64) -> String {
            if let name = buffers[id] { return name }
            let name = services.files.name(of: id).shown(to: viewer, escape: Self.escaped)
            buffers[id] = name
            return name
        }

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
