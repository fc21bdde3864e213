import CListener
import CoherentMemory
import Glibc
import LinuxSupport
import SystemPackage

/// Calls that map memory and that a signal interrupts before the server receives them (seccomp_do_user_notification()): EINTR, which Linux
/// never has there. The program is made to repeat them.
extension CallingTask {
    /// Replaces what loads the number of a call with a jump to code that repeats the call for as long as it is interrupted, once for each
    /// instruction. The caller holds the calls' lock.
    ///
    /// It is left alone where threads may execute it at this moment, and where something else stands before the call.
    func repeatWhenInterrupted(_ call: clistener_call, of space: AddressSpace) {
        guard call.mapsMemory, let place = space.makeRepeatPlace(for: call.instruction, mayPatch: hasOneThread) else {
            return
        }
        _ = unsafe withUnsafePointer(to: call) { unsafe clistener_repeat(listener, $0, place) }
    }

    private func hasOneThread() -> Bool {
        (try? ProcStatus(task: task))?.words("Threads").first == "1"
    }
}

/// The code in an address space that repeats calls.
struct RepeatedCalls {
    /// Instructions that are known: those behind calls.
    private(set) var known: Set<UInt64> = []
    /// Pages for the code, and how many bytes of the last one are taken.
    private var pages: [UInt64] = []
    private var taken = Page.size

    /// Takes note of an instruction; false for one that is known, or is such code itself, or one too many.
    mutating func note(_ instruction: UInt64) -> Bool {
        guard known.count < 64, !pages.contains(instruction & ~(Page.size - 1)) else { return false }
        return known.insert(instruction).inserted
    }

    /// A place for more code in the last page, near an instruction; nil for none.
    mutating func place(near instruction: UInt64) -> UInt64? {
        guard taken < Page.size, let page = pages.last, Self.isNear(page, instruction) else { return nil }
        defer { taken += UInt64(CLISTENER_REPEAT_LENGTH) }
        return page + taken
    }

    mutating func add(_ page: UInt64) {
        pages.append(page)
        taken = 0
    }

    /// Whether jumps lead from one to the other.
    static func isNear(_ page: UInt64, _ instruction: UInt64) -> Bool {
        (page > instruction ? page - instruction : instruction - page) < 1 << 30
    }
}

extension AddressSpace {
    /// A place for code that repeats the call before an instruction; nil where that is known, or may not be patched, or has no such place.
    fileprivate func makeRepeatPlace(for instruction: UInt64, mayPatch: () -> Bool) -> UInt64? {
        guard state.withLock({ $0.repeated.note(instruction) }), mayPatch() else { return nil }
        if let place = state.withLock({ $0.repeated.place(near: instruction) }) { return place }
        // The kernel takes the hint, or the next best place: near libraries for what is one of these.
        let hint = max(instruction & ~(Page.size - 1), Self.hintDistance * 2) - Self.hintDistance
        let arguments = [
            hint, Page.size, UInt64(PROT_READ | PROT_EXEC), UInt64(MAP_PRIVATE | MAP_ANONYMOUS), UInt64.max, 0,
        ]
        guard let page = try? execute(Int(CLISTENER_MMAP), arguments) else { return nil }
        settle()
        guard RepeatedCalls.isNear(page, instruction) else {
            _ = try? execute(Int(CLISTENER_MUNMAP), [page, Page.size])
            settle()
            return nil
        }
        return state.withLock { state in
            state.repeated.add(page)
            return state.repeated.place(near: instruction)
        }
    }

    private static let hintDistance: UInt64 = 1 << 20
}
