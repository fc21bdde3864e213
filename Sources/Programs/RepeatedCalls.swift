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
        if call.mapsMemory { change(call, of: space, mayPatch: hasOneThread) }
    }

    private func change(_ call: clistener_call, of space: AddressSpace, mayPatch: () -> Bool) {
        guard let place = space.makeRepeatPlace(for: call.instruction, mayPatch: mayPatch) else { return }
        _ = unsafe withUnsafePointer(to: call) { unsafe clistener_repeat(listener, $0, place) }
    }

    /// Does the same for all such calls of a library before it runs, when its loader maps what follows the library's file: the first of
    /// them may come after the handler of a signal. An interrupted brk(2) takes EINTR for the end of the heap, since it returns no errors.
    func repeatCallsOfLibrary(_ call: clistener_call, of space: AddressSpace, _ spaces: AddressSpaces) {
        let flags = UInt64(MAP_ANONYMOUS | MAP_FIXED)
        guard Int(call.number) == Int(CLISTENER_MMAP), call.arguments.3 & flags == flags,
            !space.state.withLock({ $0.repeated.hasHeapCall }), hasOneThread(),
            let mappings = try? MapsReader.mappings(of: task, at: 0..<call.arguments.0),
            let file = mappings.last, file.inode != 0,
            let text = mappings.last(where: { $0.isExecutable && $0.inode == file.inode && $0.device == file.device })
        else { return }
        for found in calls(in: text, spaces) {
            var other = call
            other.number = found.number
            other.instruction = text.addresses.lowerBound + found.offset
            // It has one thread, as above.
            change(other, of: space) { true }
            if Int(found.number) == Int(CLISTENER_BRK) { space.state.withLock { $0.repeated.hasHeapCall = true } }
        }
    }

    /// The calls in a text, which is read once. One that has changed meanwhile does no harm: clistener_repeat() looks again.
    private func calls(in text: ProcMapping, _ spaces: AddressSpaces) -> [TextCalls.Place] {
        let start = text.addresses.lowerBound
        let key = TextCalls(
            device: text.device, inode: text.inode, offset: text.offset, length: text.addresses.upperBound - start)
        if let known = spaces.textCalls.withLock({ $0[key] }) { return known }
        var places = [clistener_place](repeating: clistener_place(), count: TextCalls.limit)
        let count = unsafe clistener_find_calls(task, start, text.addresses.upperBound, &places, Int32(places.count))
        guard count >= 0 else { return [] }
        let found = places[..<Int(count)].map { TextCalls.Place(number: $0.number, offset: $0.instruction - start) }
        spaces.textCalls.withLock { known in
            if known.count >= TextCalls.limit { known.removeAll() }
            known[key] = found
        }
        return found
    }

    private func hasOneThread() -> Bool {
        (try? ProcStatus(task: task))?.words("Threads").first == "1"
    }
}

/// A text of a file.
struct TextCalls: Hashable {
    var device: DeviceNumber
    var inode, offset, length: UInt64

    /// A call in it, and where the instruction behind the call is.
    struct Place {
        var number: Int32
        var offset: UInt64
    }

    /// So many calls of a text are repeated, and so many texts are remembered.
    static let limit = 32
}

/// The code in an address space that repeats calls.
struct RepeatedCalls {
    /// Instructions that are known: those behind calls.
    private(set) var known: Set<UInt64> = []
    /// Whether brk(2) of a library is among them.
    var hasHeapCall = false
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
