import DequeModule
import Dispatch
import SystemPackage

/// The command queue of a device: commands are executed one after the other, in the order in which they came, on a thread
/// of the queue's own. Between them stand the invalidations of the device's MMU, which wait their turn like commands.
public final class CommandQueue: Sendable {
    /// How many commands may wait.
    public static let capacity = 4096
    /// How many results are kept.
    public static let memory = 64
    /// The latencies that can be set, in nanoseconds.
    public static let latencyRange: ClosedRange<UInt64> = 0...1_000_000_000

    private enum Work: Sendable {
        case command(UInt64, DeviceCommand, process: Int32)
        case invalidation(@Sendable () -> Void)
    }

    private struct Entry: Sendable {
        let work: Work
        let submitted: DispatchTime
    }

    private struct State {
        var waiting: Deque<Entry> = []
        var isRunning = false
        var isClosed = false
        var lastSequence: UInt64 = 0
        var latency: UInt64 = 0
        var results: Deque<CommandResult> = []
        var completed: UInt64 = 0
        var failed: UInt64 = 0
    }

    private let state = Mutex(State())
    // A serial queue has a thread of its own at once, and none while nothing waits.
    private let thread: DispatchQueue
    private let work = DispatchGroup()
    private let beside: DispatchQueue
    /// Signalled once for good, so that nobody waits out a latency.
    private let closing = DispatchSemaphore(value: 0)

    init(label: String) {
        thread = DispatchQueue(label: "cdmfs.queue.\(label)")
        beside = DispatchQueue(label: "cdmfs.policy.\(label)")
    }

    // MARK: Figures

    /// Commands and invalidations that wait or are being executed.
    public var depth: Int { state.withLock { $0.waiting.count + ($0.isRunning ? 1 : 0) } }

    /// Commands that were executed.
    public var completed: UInt64 { state.withLock { $0.completed } }

    /// Commands that failed.
    public var failed: UInt64 { state.withLock { $0.failed } }

    /// The last results, in the order of the commands.
    public var results: [CommandResult] { state.withLock { Array($0.results) } }

    /// Nanoseconds that must have passed since a command, or an invalidation, was submitted before it starts.
    public var latency: UInt64 { state.withLock { $0.latency } }

    /// Sets the latency, for what has not started either.
    ///
    /// - Throws: ERANGE for what is not in ``latencyRange``.
    public func setLatency(_ nanoseconds: UInt64) throws(Errno) {
        guard Self.latencyRange.contains(nanoseconds) else { throw .outOfRange }
        state.withLock { $0.latency = nanoseconds }
    }

    // MARK: Submission

    /// Appends commands, all or none; EAGAIN where they do not all find room.
    func submit(_ commands: [DeviceCommand], by process: Int32, in machine: Machine) throws(Errno) -> Range<UInt64> {
        let now = DispatchTime.now()
        let (sequences, starts) = try state.withLock { state throws(Errno) in
            guard !state.isClosed else { throw .operationNotSupportedByDevice }
            guard state.waiting.count + commands.count <= Self.capacity else { throw .resourceTemporarilyUnavailable }
            let first = state.lastSequence + 1
            for command in commands {
                state.lastSequence += 1
                state.waiting.append(
                    Entry(work: .command(state.lastSequence, command, process: process), submitted: now))
            }
            return (first..<state.lastSequence + 1, begin(&state))
        }
        if starts { start(in: machine) }
        return sequences
    }

    /// Appends what is to happen to the device's page tables. May be called with the lock of a buffer held; `body` runs
    /// without any.
    func invalidate(in machine: Machine, _ body: @escaping @Sendable () -> Void) {
        let now = DispatchTime.now()
        let starts = state.withLock { state in
            state.waiting.append(Entry(work: .invalidation(body), submitted: now))
            return begin(&state)
        }
        if starts { start(in: machine) }
    }

    private func begin(_ state: inout State) -> Bool {
        guard !state.isRunning, !state.waiting.isEmpty else { return false }
        state.isRunning = true
        // Under the lock: whoever waits for the queue to be idle must not come between.
        work.enter()
        return true
    }

    /// The machine lives until the queue is empty, and no longer.
    private func start(in machine: Machine) { thread.async { self.run(in: machine) } }

    // MARK: Execution

    private func run(in machine: Machine) {
        while let entry = next() {
            wait(for: entry)
            switch entry.work {
            case .invalidation(let body): body()
            case .command(let sequence, let command, let process): execute(sequence, command, by: process, in: machine)
            }
        }
    }

    private func next() -> Entry? {
        state.withLock { state in
            let entry = state.waiting.popFirst()
            if entry == nil {
                state.isRunning = false
                work.leave()
            }
            return entry
        }
    }

    private func wait(for entry: Entry) {
        let (latency, isClosed) = state.withLock { ($0.latency, $0.isClosed) }
        guard latency > 0, !isClosed else { return }
        // Signalled when the queue is closed, for everybody.
        if closing.wait(timeout: entry.submitted + .nanoseconds(Int(latency))) == .success { closing.signal() }
    }

    private func execute(_ sequence: UInt64, _ command: DeviceCommand, by process: Int32, in machine: Machine) {
        var result = CommandResult(sequence: sequence, error: .canceled, value: 0)
        if !isClosed {
            (result.error, result.value) = machine.execute(command, of: self, by: process)
        }
        state.withLock { [result] state in
            if result.error == nil { state.completed += 1 } else { state.failed += 1 }
            state.results.append(result)
            if state.results.count > Self.memory { state.results.removeFirst() }
        }
        machine.completed(self)
    }

    /// Does something that commands do not wait for, one after the other; the queue is idle only when that is done, too.
    func runBeside(_ body: @escaping @Sendable () -> Void) {
        guard !isClosed else { return }
        beside.async(group: work, execute: body)
    }

    // MARK: The end

    var isClosed: Bool { state.withLock { $0.isClosed } }

    /// Takes no more commands; those that wait fail with ECANCELED, and invalidations are done at once.
    public func close() {
        let isFirst = state.withLock { state in
            defer { state.isClosed = true }
            return !state.isClosed
        }
        if isFirst { closing.signal() }
    }

    /// Waits until nothing waits or is being executed; false when it still is after `seconds`.
    public func waitUntilIdle(seconds: Int) -> Bool { work.wait(timeout: .now() + .seconds(seconds)) == .success }
}
