import CoherentMemory
import Dispatch
import Glibc
import LinuxSupport
import SystemPackage

/// What a process says of itself: what it maps of the mount, or why that could not be told.
package struct ProcessAnswer: Sendable {
    package let process: TaskIdentity
    let mappings: Result<[TaskMapping], Errno>
}

/// Whether a process uses a buffer.
package enum BufferUse: Sendable {
    case none
    /// The process maps the buffer.
    case maps
    /// The process has the buffer open, and its mappings could not be read.
    case mayMap
    /// The mappings of the process could not be read.
    case unknown
}

/// Questions to all processes: requests during a round share the next one, because an answer must be of after the
/// question.
final class Censuses: Sendable {
    private final class Round: Sendable {
        let finished = DispatchGroup()
        let answers = Mutex<[ProcessAnswer]>([])
    }

    private struct State {
        var current: Round?
        var next: Round?
    }

    private let state = Mutex(State())

    /// What a round of `ask` comes to that begins now or later.
    func take(_ ask: () -> [ProcessAnswer]) -> [ProcessAnswer] {
        let (round, before, isOwn) = state.withLock { state -> (Round, Round?, Bool) in
            if let next = state.next { return (next, nil, false) }
            let round = Round()
            round.finished.enter()
            if state.current == nil { state.current = round } else { state.next = round }
            return (round, state.next === round ? state.current : nil, true)
        }
        if !isOwn {
            round.finished.wait()
            return round.answers.withLock { $0 }
        }
        if let before {
            before.finished.wait()
            state.withLock { ($0.current, $0.next) = (round, nil) }
        }
        let answers = ask()
        round.answers.withLock { $0 = answers }
        state.withLock { if $0.next == nil { $0.current = nil } }
        round.finished.leave()
        return answers
    }
}

extension TreeServices {
    /// Asks a process what it maps.
    func ask(_ process: TaskIdentity) -> ProcessAnswer {
        ProcessAnswer(process: process, mappings: Result { () throws(Errno) in try mappings(of: process) })
    }

    /// Asks each process but the daemon, which maps nothing of its own mount.
    package func askProcesses() -> [ProcessAnswer] {
        censuses.take {
            let own = getpid()
            return processes.identities.filter { $0.id != own }.map(ask)
        }
    }

    /// Whether a process uses a buffer where `isConcerned` says so of its bytes.
    package func use(_ answer: ProcessAnswer, of buffer: Buffer, where isConcerned: (Range<UInt64>) -> Bool)
        -> BufferUse
    {
        switch answer.mappings {
        case .success(let mappings):
            return mappings.contains { $0.buffer === buffer && isConcerned($0.bytes) } ? .maps : .none
        case .failure(.noSuchProcess):
            return .none
        case .failure(let error):
            if hasOpen(buffer, answer.process) { return .mayMap }
            return error == .timedOut ? .unknown : .none
        }
    }

    /// Whether a process has a descriptor of a buffer, or has opened what is still open: perhaps by its mapping alone.
    private func hasOpen(_ buffer: Buffer, _ process: TaskIdentity) -> Bool {
        guard let file = files.openFile(of: buffer) else { return false }
        if processes.openInodes(of: process.id).contains(file.inode) {
            return processes.identity(of: process.id) == process
        }
        return file.openers.contains { opener in
            // Another thread of the same number has not opened it.
            guard let thread = processes.task(opener.key), thread.startTime <= opener.value else { return false }
            return thread.process == process.id
        }
    }
}
