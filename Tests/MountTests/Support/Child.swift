import CLinux
import Foundation
import SystemPackage

/// How a program ended.
enum Ending: Equatable {
    case exited(Int32)
    case killed(Int32)
}

/// What a program that has ended left.
struct Outcome {
    let ending: Ending
    let output: String
    let errors: String

    var succeeded: Bool { ending == .exited(0) }

    /// What stands after `name=` in the output.
    subscript(name: String) -> Int? {
        output.split(whereSeparator: \.isWhitespace).lazy
            .filter { $0.hasPrefix(name + "=") }
            .compactMap { Int($0.dropFirst(name.count + 1)) }.first
    }
}

/// A program in a session of its own, of which nothing is awaited without a limit.
///
/// A program that hangs in the kernel cannot be killed, so its end is awaited by a thread that may be left behind, and end
/// of file on its output is not awaited at all: a daemon it started may hold that open.
final class Child {
    let pid: pid_t
    private let output: FileDescriptor
    private let errors: FileDescriptor
    private let end: EndOfChild
    private var outputText: [UInt8] = []
    private var errorText: [UInt8] = []
    private var isAtEnd = [false, false]
    private var ending: Ending?

    /// Starts a program, found in PATH, with /dev/null as its input.
    init(_ command: [String], environment: [String: String] = [:]) throws {
        let (output, outputEnd) = try Child.pipe()
        let (errors, errorsEnd) = try Child.pipe()
        let end = EndOfChild(try Child.pipe())
        defer {
            try? outputEnd.close()
            try? errorsEnd.close()
        }
        self.output = output
        self.errors = errors
        self.end = end
        let environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }.map { "\($0)=\($1)" }

        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        unsafe posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        unsafe posix_spawn_file_actions_adddup2(&actions, outputEnd.rawValue, 1)
        unsafe posix_spawn_file_actions_adddup2(&actions, errorsEnd.rawValue, 2)
        var attributes = posix_spawnattr_t()
        unsafe posix_spawnattr_init(&attributes)
        defer { unsafe posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        var all = sigset_t()
        unsafe sigemptyset(&none)
        unsafe sigfillset(&all)
        unsafe posix_spawnattr_setsigmask(&attributes, &none)
        unsafe posix_spawnattr_setsigdefault(&attributes, &all)
        let flags = Int16(POSIX_SPAWN_SETSIGMASK) | Int16(POSIX_SPAWN_SETSIGDEF) | 0x80  // POSIX_SPAWN_SETSID
        unsafe posix_spawnattr_setflags(&attributes, flags)

        var arguments = unsafe command.map { unsafe strdup($0) } + [nil]
        var variables = unsafe environment.map { unsafe strdup($0) } + [nil]
        defer {
            unsafe (arguments + variables).forEach { unsafe free($0) }
        }
        var spawned: pid_t = 0
        let status = unsafe posix_spawnp(&spawned, command[0], &actions, &attributes, &arguments, &variables)
        guard status == 0 else { throw Errno(rawValue: status) }
        let pid = spawned
        self.pid = pid

        Thread.detachNewThread { end.await(pid) }
    }

    deinit {
        if ending == nil { kill(SIGKILL) }
        try? output.close()
        try? errors.close()
    }

    private static func pipe() throws -> (readEnd: FileDescriptor, writeEnd: FileDescriptor) {
        let ends = try FileDescriptor.pipe()
        for end in [ends.readEnd, ends.writeEnd] { _ = fcntl(end.rawValue, F_SETFD, FD_CLOEXEC) }
        return ends
    }

    /// Sends a signal to the whole session.
    func kill(_ signal: Int32) {
        if ending == nil { _ = Glibc.kill(-pid, signal) }
    }

    /// Waits until the program has written one more line, and returns it.
    func line(within seconds: Double = 30) throws -> String {
        let deadline = Date(timeIntervalSinceNow: seconds)
        while true {
            if let newline = outputText.firstIndex(of: UInt8(ascii: "\n")) {
                defer { outputText.removeSubrange(...newline) }
                return String(decoding: outputText[..<newline], as: UTF8.self)
            }
            guard ending == nil else {
                throw Failure("ended without a word: \(String(decoding: errorText, as: UTF8.self))")
            }
            guard gather(until: deadline) else { throw Failure("no line within \(seconds) s") }
        }
    }

    /// Waits until the program, or what it has left behind, has written a line to its standard error. The line stays among the errors.
    func waitForErrors(within seconds: Double = 30) throws {
        let deadline = Date(timeIntervalSinceNow: seconds)
        while !errorText.contains(UInt8(ascii: "\n")) {
            guard ending == nil, gather(until: deadline) else { throw Failure("no line within \(seconds) s") }
        }
    }

    /// Waits until the program has ended.
    func finish(within seconds: Double = 30) throws -> Outcome {
        let deadline = Date(timeIntervalSinceNow: seconds)
        while ending == nil {
            guard gather(until: deadline) else {
                kill(SIGKILL)
                // A killed program ends at once unless it hangs in a request; then its mount has to be aborted.
                if !gather(until: Date(timeIntervalSinceNow: 2)) || ending == nil { TestMount.abortAll() }
                throw Failure("not ended within \(seconds) s: \(String(decoding: errorText, as: UTF8.self))")
            }
        }
        return Outcome(
            ending: ending!, output: String(decoding: outputText, as: UTF8.self),
            errors: String(decoding: errorText, as: UTF8.self))
    }

    /// Takes in what there is, after waiting for something to come; false at the deadline.
    private func gather(until deadline: Date) -> Bool {
        let limit = max(0, Int32(deadline.timeIntervalSinceNow * 1000))
        guard let ready = wait(for: [output, errors, end.readEnd], milliseconds: limit) else { return false }
        take(ready)
        guard ready[2] else { return true }
        while let more = wait(for: [output, errors], milliseconds: 0) { take(more) }
        readEnding()
        return true
    }

    /// Which of the descriptors have something to read or have come to their end; nil if none has in time.
    private func wait(for descriptors: [FileDescriptor], milliseconds: Int32) -> [Bool]? {
        var entries = descriptors.enumerated().map { index, descriptor in
            let isOver = index < 2 && isAtEnd[index]
            return pollfd(fd: isOver ? -1 : descriptor.rawValue, events: Int16(POLLIN), revents: 0)
        }
        guard unsafe poll(&entries, nfds_t(entries.count), milliseconds) > 0 else { return nil }
        return entries.map { $0.revents != 0 }
    }

    private func take(_ ready: [Bool]) {
        for (index, descriptor) in [output, errors].enumerated() where ready[index] {
            let chunk = unsafe [UInt8](unsafeUninitializedCapacity: 65536) { buffer, count in
                count = unsafe (try? descriptor.read(into: UnsafeMutableRawBufferPointer(buffer))) ?? 0
            }
            isAtEnd[index] = chunk.isEmpty
            if index == 0 { outputText += chunk } else { errorText += chunk }
        }
    }

    private func readEnding() {
        let status = end.status()
        let signal = status & 0x7f
        ending = signal == 0 ? .exited(status >> 8 & 0xff) : .killed(signal)
    }
}

/// The pipe on which the awaiting thread passes a program's wait status, kept until both sides are done with it.
private final class EndOfChild: Sendable {
    let readEnd: FileDescriptor
    private let writeEnd: FileDescriptor

    init(_ ends: (readEnd: FileDescriptor, writeEnd: FileDescriptor)) {
        (readEnd, writeEnd) = ends
    }

    deinit {
        try? readEnd.close()
        try? writeEnd.close()
    }

    func await(_ pid: pid_t) {
        var status: Int32 = 0
        while unsafe waitpid(pid, &status, 0) < 0, errno == EINTR {}
        _ = unsafe withUnsafeBytes(of: status) { unsafe try? writeEnd.writeAll($0) }
    }

    func status() -> Int32 {
        var status: Int32 = 0
        _ = unsafe withUnsafeMutableBytes(of: &status) { unsafe try? readEnd.read(into: $0) }
        return status
    }
}

/// Runs a program to its end.
func run(
    _ command: [String], within seconds: Double = 30, environment: [String: String] = [:]
) throws -> Outcome {
    try Child(command, environment: environment).finish(within: seconds)
}
