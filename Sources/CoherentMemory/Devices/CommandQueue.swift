import DequeModule
import Dispatch
import LinuxSupport
import SystemPackage

/// The command queue of a device. Commands run one after the other, in order of submission, on the queue's own thread.
/// The invalidations of the device's MMU wait in the queue among the commands.
public final class CommandQueue: Sendable {
    /// The maximum number of waiting commands.
    public static let capacity = 4096
    /// The number of results that are kept.
    public static let historyLimit = 64
    /// The valid latencies in nanoseconds.
    public static let latencyRange: ClosedRange<UInt64> = 0...1_000_000_000

    /// What is executed when its turn comes, and what is done when its result is there.
    struct Command: Sendable {
        let execute: @Sendable (_ sequence: UInt64) -> (error: Errno?, value: UInt64)
        let completed: @Sendable () -> Void
    }

    private enum Work: Sendable {
        case command(UInt64, Command)
        case invalidation(@Sendable () -> Void)
        /// An invalidation that another device waits for during a command.
        case handOver(@Sendable () -> Void)
    }

    private struct Entry: Sendable {
        let work: Work
        let submitted: DispatchTime
        /// Of the device's node, when it was submitted.
        let incarnation: UInt32
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
    /// Signalled when the thread, if it waits, is to look whether it still has to; once too often does no harm.
    private let bell = DispatchSemaphore(value: 0)
    private let incarnation: @Sendable () -> UInt32

    /// - Parameter incarnation: how often the device's node has come and gone.
    init(label: String, incarnation: @escaping @Sendable () -> UInt32) {
        thread = DispatchQueue(label: "cdmfs.queue.\(label)")
        beside = DispatchQueue(label: "cdmfs.policy.\(label)")
        self.incarnation = incarnation
    }

    // MARK: Figures

    /// The number of commands and invalidations that wait or run.
    public var depth: Int { state.withLock { $0.waiting.count + ($0.isRunning ? 1 : 0) } }

    /// The number of completed commands.
    public var completed: UInt64 { state.withLock { $0.completed } }

    /// The number of commands that failed.
    public var failed: UInt64 { state.withLock { $0.failed } }

    /// The last results, in the order of the commands.
    public var results: [CommandResult] { state.withLock { Array($0.results) } }

    /// The minimum time in nanoseconds between the submission of a command or invalidation and its start.
    public var latency: UInt64 { state.withLock { $0.latency } }

    /// Sets the latency, also for commands that wait already.
    ///
    /// - Throws: ERANGE if it is not in ``latencyRange``.
    public func setLatency(_ nanoseconds: UInt64) throws(Errno) {
        guard Self.latencyRange.contains(nanoseconds) else { throw .outOfRange }
        state.withLock { $0.latency = nanoseconds }
        ring()
    }

    // MARK: Submission

    /// Appends commands, all or none; EAGAIN where they do not all find room.
    func submit(_ commands: [Command]) throws(Errno) -> Range<UInt64> {
        let (now, incarnation) = (DispatchTime.now(), incarnation())
        let (sequences, starts) = try state.withLock { state throws(Errno) in
            guard !state.isClosed else { throw .operationNotSupportedByDevice }
            guard state.waiting.count + commands.count <= Self.capacity else { throw .resourceTemporarilyUnavailable }
            let first = state.lastSequence + 1
            for command in commands {
                state.lastSequence += 1
                state.waiting.append(
                    Entry(
                        work: .command(state.lastSequence, command), submitted: now,
                        incarnation: incarnation))
            }
            return (first..<state.lastSequence + 1, begin(&state))
        }
        if starts { start() }
        return sequences
    }

    /// Appends what is to happen to the device's page tables. May be called with the lock of a buffer held; `body` runs
    /// without any.
    func invalidate(_ body: @escaping @Sendable () -> Void) {
        append(.invalidation(body))
    }

    /// The same for another device, of which a command waits for it: see ``serve(until:)``.
    func handOver(_ body: @escaping @Sendable () -> Void) {
        append(.handOver(body))
        ring()
    }

    private func append(_ work: Work) {
        let entry = Entry(work: work, submitted: .now(), incarnation: incarnation())
        let starts = state.withLock { state in
            state.waiting.append(entry)
            return begin(&state)
        }
        if starts { start() }
    }

    private func begin(_ state: inout State) -> Bool {
        guard !state.isRunning, !state.waiting.isEmpty else { return false }
        state.isRunning = true
        // Under the lock: a thread that waits for the queue to be idle must not come between.
        work.enter()
        return true
    }

    private func start() { thread.start { self.run() } }

    // MARK: Execution

    private func run() {
        while let entry = next() {
            wait(for: entry)
            switch entry.work {
            case .invalidation(let body), .handOver(let body): body()
            case .command(let sequence, let command): execute(sequence, command, isLate: isLate(entry))
            }
        }
    }

    /// Whether the device that an entry was for has gone since.
    private func isLate(_ entry: Entry) -> Bool { incarnation() != entry.incarnation }

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
        while let start = state.withLock({ start(of: entry, $0) }) { _ = bell.wait(timeout: start) }
    }

    /// When an entry may start; nil for at once.
    private func start(of entry: Entry, _ state: borrowing State) -> DispatchTime? {
        guard state.latency > 0, !state.isClosed, !isLate(entry) else { return nil }
        let start = entry.submitted + .nanoseconds(Int(state.latency))
        return start > .now() ? start : nil
    }

    /// Has the thread look whether it still has to wait.
    func ring() { bell.signal() }

    /// Waits on behalf of the command under way until other devices have let go of pages. What they ask for meanwhile is
    /// done in between, for two that wait for each other would wait for ever.
    func serve(until isOver: () -> Bool) {
        while !isOver() {
            let (body, next) = state.withLock { state -> ((@Sendable () -> Void)?, DispatchTime) in
                var next = DispatchTime.distantFuture
                for place in state.waiting.indices {
                    let entry = state.waiting[place]
                    guard case .handOver(let body) = entry.work else { continue }
                    guard let start = start(of: entry, state) else {
                        state.waiting.remove(at: place)
                        return (body, next)
                    }
                    next = min(next, start)
                }
                return (nil, next)
            }
            if let body { body() } else { _ = bell.wait(timeout: next) }
        }
    }

    private func execute(
        _ sequence: UInt64, _ command: Command, isLate: Bool
    ) {
        var result = CommandResult(sequence: sequence, error: .canceled, value: 0)
        if isLate {
            result.error = .operationNotSupportedByDevice
        } else if !isClosed {
            (result.error, result.value) = command.execute(sequence)
        }
        state.withLock { [result] state in
            if result.error == nil { state.completed += 1 } else { state.failed += 1 }
            state.results.append(result)
            if state.results.count > Self.historyLimit { state.results.removeFirst() }
        }
        command.completed()
    }

    /// Does something that commands do not wait for, one after the other; the queue is idle only when that is done, too.
    func runBeside(_ body: @escaping @Sendable () -> Void) {
        guard !isClosed else { return }
        beside.start(group: work, body)
    }

    // MARK: The end

    var isClosed: Bool { state.withLock { $0.isClosed } }

    /// Accepts no more commands. Waiting and running commands fail with ECANCELED, and invalidations are done at once.
    public func close() {
        let isFirst = state.withLock { state in
            defer { state.isClosed = true }
            return !state.isClosed
        }
        if isFirst { ring() }
    }

    /// Waits until nothing waits or runs; false if something still does after `seconds`.
    public func waitUntilIdle(seconds: Int) -> Bool { work.wait(timeout: .now() + .seconds(seconds)) == .success }
}

/// The result of a command.
public struct CommandResult: Sendable, Hashable {
    /// The number of the command, from 1 in order of submission.
    public var sequence: UInt64
    /// The error; nil on success.
    public var error: Errno?
    /// The checksum of a `crc32`; of the others the bytes that were done, all but for a failure.
    public var value: UInt64
}
