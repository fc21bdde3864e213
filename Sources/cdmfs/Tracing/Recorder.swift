import ArgumentParser
import CLinux
import CoherentMemory
import Glibc
import LinuxSupport
import SystemPackage
import TraceFormat

/// Takes the events and counters of a machine into a file.
struct Recorder {
    private let mount: FilePath
    private let trace: FilePath
    private let name: String
    private let interval: Double
    private let command: [String]
    private let clock: clockid_t
    private let start: UInt64
    private let signals: RecorderSignals
    private let pipe: FileDescriptor
    private var writer: TraceFileWriter
    private var decoder = RawTrace.Decoder()
    private var events: UInt64 = 0
    private var lost: UInt64 = 0
    private var hasEnded = false
    private let showsProgress = isatty(2) == 1

    /// How long events may gather before they are read: a read for each would cost the machine more than they do.
    private static let gathering: Int32 = 20

    /// Opens what is needed, and writes the header. All events are recorded from then on, by an instance of this open file, which
    /// ends with it.
    init(_ mount: FilePath, to name: String, interval: Double, command: [String]) throws(Failure) {
        self.mount = mount
        self.name = name
        self.interval = interval
        self.command = command
        trace = mount.appending("sys/kernel/cdm/trace")
        do throws(Errno) {
            let words = try SmallFile.text(trace.appending("clock")).split(whereSeparator: \.isWhitespace)
            let word = words.first { $0.hasPrefix("[") }?.dropFirst().dropLast() ?? "mono"
            clock = TraceClock(rawValue: String(word))?.id ?? CLOCK_MONOTONIC
            let descriptor = try SystemCall.retry { [trace] in
                unsafe open(trace.appending("trace_pipe_raw").string, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
            }
            pipe = FileDescriptor(rawValue: descriptor)
        } catch {
            let reason = error == .noSuchFileOrDirectory ? "no machine is mounted here" : "\(error)"
            throw Failure(.mount, "record: \(mount): \(reason)")
        }
        // An old file is replaced only when there is a machine.
        let file: FileDescriptor
        do {
            file = try FileDescriptor.open(
                FilePath(name), .writeOnly, options: [.create, .truncate, .closeOnExec],
                permissions: [.ownerReadWrite, .groupRead, .otherRead])
        } catch {
            throw Failure(.failure, "record: \(name): \(error)")
        }
        signals = try RecorderSignals()
        // A daemon of an older version has none.
        let topology = try? SmallFile.text(mount.appending("sys/kernel/cdm/machine"))
        let filter = (try? SmallFile.text(trace.appending("filter")))?.split(separator: "\n").joined() ?? "none"
        start = Self.now(clock)
        do throws(TraceFileError) {
            writer = try TraceFileWriter(
                file,
                facts: [
                    ("version", Cdmfs.configuration.version), ("clock", "\(clock)"), ("start_ns", "\(start)"),
                    ("realtime_ns", "\(Self.now(CLOCK_REALTIME))"), ("mountpoint", mount.string),
                    ("command", command.joined(separator: " ")), ("page_size", "\(Page.size)"), ("replay", "1"),
                ] + (filter == "none" ? [] : [("filter", filter)]), topology: topology)
        } catch {
            throw Failure(.failure, "record: \(name): \(error)")
        }
    }

    private static func now(_ clock: clockid_t) -> UInt64 {
        var time = timespec()
        unsafe clock_gettime(clock, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    /// Records until the command ends, a signal ends the record, or the machine ends.
    mutating func run() throws -> SupervisedCommand.Ending? {
        defer { try? pipe.close() }
        // What was so before comes first.
        try drain()
        try sample()
        let child =
            command.isEmpty ? nil : try signals.spawn(["cdmfs", "run", "--mount", mount.string, "--"] + command)
        var next = Self.now(CLOCK_MONOTONIC)
        var ending: SupervisedCommand.Ending?
        /// Whether the record is over.
        func isOver(_ event: RecorderSignals.Event?) -> Bool {
            switch event {
            case .stop(let signal):
                guard let child else { return true }
                // A signal of the terminal has come to the command, too.
                if signal == SIGTERM { kill(child, SIGTERM) }
                return false
            case .child:
                ending = child.flatMap { signals.ending(of: $0) }
                return ending != nil
            case nil: return false
            }
        }
        while !hasEnded {
            if isOver(signals.wait(orFor: nil, milliseconds: Self.gathering)) { break }
            try drain()
            let left = Int64(bitPattern: next &+ UInt64(interval * 1e9) &- Self.now(CLOCK_MONOTONIC))
            if left <= 0 {
                next = Self.now(CLOCK_MONOTONIC)
                try sample()
                if showsProgress { show("\r\(progress)") }
            }
            let milliseconds = Int32(clamping: max(0, left / 1_000_000))
            if isOver(signals.wait(orFor: hasEnded ? nil : pipe, milliseconds: milliseconds)) { break }
        }
        try drain()
        try sample()
        if let child, ending == nil, let status = try? SystemCall.waitForEnd(of: child) {
            ending = SupervisedCommand.Ending(status)
        }
        if showsProgress { show("\r") }
        if hasEnded {
            throw Failure(.mount, "record: \(mount): the machine has ended; recorded \(progress) in \(name)")
        }
        complain("recorded \(progress) in \(name)")
        return ending
    }

    private var progress: String {
        let seconds = (Self.now(clock) - start) / 1_000_000_000
        return "\(events) events (\(lost) lost) in \(seconds) s, \(writer.length) bytes"
    }

    private func show(_ text: String) { _ = try? FileDescriptor.standardError.writeAll(text.utf8) }

    /// Reads all events that there are.
    private mutating func drain() throws(Failure) {
        var buffer = [UInt8](repeating: 0, count: 1 << 17)
        do throws(TraceFileError) {
            // In a flood the counters want to be sampled, too.
            for _ in 0..<64 where !hasEnded {
                let count: Int
                do throws(Errno) {
                    count = try SystemCall.retry { [pipe] in
                        unsafe read(pipe.rawValue, &buffer, buffer.count)
                    }
                } catch {
                    if error != .resourceTemporarilyUnavailable { hasEnded = true }
                    break
                }
                decoder.add(buffer[..<count])
                while let record = try decoder.next() {
                    switch record {
                    case .event(let event): if !event.flags.contains(.initial) { events += 1 }
                    case .lost(let count): lost += count
                    case .name: break
                    }
                    try writer.append(record)
                }
                if count == 0 { break }
            }
            // At most so much is lost when the recorder is killed.
            try writer.flush()
        } catch {
            throw Failure(.failure, "record: \(name): \(error)")
        }
    }

    /// Appends the counters. A machine that has ended has none.
    private mutating func sample() throws(Failure) {
        guard !hasEnded else { return }
        guard let text = try? SmallFile.text(mount.appending("sys/kernel/cdm/metrics")) else {
            hasEnded = true
            return
        }
        do throws(TraceFileError) {
            try writer.append(sample: text, at: Self.now(clock))
        } catch {
            throw Failure(.failure, "record: \(name): \(error)")
        }
    }
}

/// The signals that a recorder takes, as a descriptor.
struct RecorderSignals {
    private let descriptor: FileDescriptor

    /// What has happened.
    enum Event {
        /// A signal that ends the record.
        case stop(Int32)
        /// A child has changed.
        case child
    }

    init() throws(Failure) { descriptor = try TerminationSignals.descriptor(and: [SIGCHLD]) }

    /// Waits for a signal, or until a descriptor is readable or the time is over; nil then.
    func wait(orFor other: FileDescriptor?, milliseconds: Int32) -> Event? {
        var entries = [descriptor, other].map { file in
            pollfd(fd: file?.rawValue ?? -1, events: Int16(POLLIN), revents: 0)
        }
        _ = try? SystemCall.retry { unsafe poll(&entries, UInt(entries.count), milliseconds) }
        guard entries[0].revents != 0 else { return nil }
        var info = signalfd_siginfo()
        _ = unsafe withUnsafeMutableBytes(of: &info) { unsafe try? descriptor.read(into: $0) }
        return Int32(info.ssi_signo) == SIGCHLD ? .child : .stop(Int32(info.ssi_signo))
    }

    /// Starts this program once more, with no signal blocked.
    func spawn(_ arguments: [String]) throws -> pid_t {
        var attributes = posix_spawnattr_t()
        unsafe posix_spawnattr_init(&attributes)
        defer { unsafe posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        unsafe sigemptyset(&none)
        unsafe posix_spawnattr_setsigmask(&attributes, &none)
        unsafe posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
        var pid: pid_t = 0
        let status = unsafe withArgumentVector(arguments) {
            unsafe posix_spawn(&pid, "/proc/self/exe", nil, &attributes, $0, Glibc.environ)
        }
        guard status == 0 else { throw Failure(.failure, "record: \(Errno(rawValue: status))") }
        return pid
    }

    /// How a child has ended; nil if it has not.
    func ending(of child: pid_t) -> SupervisedCommand.Ending? {
        var status: Int32 = 0
        guard unsafe waitpid(child, &status, WNOHANG) == child else { return nil }
        return SupervisedCommand.Ending(status)
    }
}

extension SupervisedCommand.Ending {
    /// The ending of a status of waitpid(2).
    init(_ status: Int32) {
        let signal = status & 0x7f
        self = signal == 0 ? .exited(status >> 8 & 0xff) : .signalled(signal)
    }
}
