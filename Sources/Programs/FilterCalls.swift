import CListener
import Glibc
import LinuxSupport
import SystemPackage

/// Filters that programs install: one may end the program for a call that its agent takes.
extension CallingTask {
    /// Takes note of a filter that is about to be installed, if under it no agent can be made.
    func look(atFilter call: clistener_call) -> CallOutcome {
        // SECCOMP_MODE_FILTER. In strict mode nothing can be mapped.
        if call.number == Int32(CLISTENER_PRCTL), call.arguments.1 != 2 { return .pass }
        if call.number == Int32(CLISTENER_SECCOMP), call.arguments.1 & Self.newListener != 0 {
            // The kernel refuses it. A `run` says so itself.
            if linkTarget("/proc/\(task)/exe") != linkTarget("/proc/self/exe") { spaces?.tell(of: .listeners) }
            return .pass
        }
        guard let spaces, let depth = (try? ProcStatus(task: task))?.filters, !isCompatible(filterAt: call.arguments.2)
        else {
            return .pass
        }
        if spaces.noteStrictFilter(depth: depth + 1) {
            spaces.tell(of: .filters)
            world.note(
                "a filter of process \(status?.process ?? task) forbids calls of an agent: "
                    + "what programs with as many filters map from now on is the host's, unless they have an agent")
        }
        return .pass
    }

    /// SECCOMP_FILTER_FLAG_NEW_LISTENER (uapi/linux/seccomp.h).
    private static let newListener: UInt64 = 8

    private func isCompatible(filterAt address: UInt64) -> Bool {
        // struct sock_fprog: the number of instructions, and their address.
        guard let program = try? read(address, count: 2, as: UInt64.self) else { return false }
        let length = Int(program[0] & 0xffff)
        guard length > 0, length <= SeccompFilter.maximumLength,
            let words = try? read(program[1], count: length, as: UInt64.self)
        else { return false }
        let filter = SeccompFilter(words: words)
        var count = 0
        let calls = unsafe UnsafeBufferPointer(start: clistener_agent_calls(&count), count: count)
        return unsafe calls.allSatisfy { call in
            let (a, b, c, d, e, f) = call.arguments
            return filter.allows(
                FilteredCall(
                    number: Int(call.number), arguments: [a, b, c, d, e, f], instruction: clistener_agent_start))
        }
    }
}

extension ProcStatus {
    /// How many filters the task has; nil where the kernel does not say.
    var filters: Int? { words("Seccomp_filters").first.flatMap { Int($0) } }
}
