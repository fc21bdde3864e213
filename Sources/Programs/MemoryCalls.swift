import CListener
import CoherentMemory
import Glibc
import LinuxSupport
import MachineTopology
import SystemPackage

/// The calls that make, grow, move and lock anonymous memory: brk(2), mmap(2), mremap(2), mlock(2) and those like it.
extension CallingTask {
    /// What becomes of a call of these; nil for one that is about something else.
    func memoryOutcome(of call: clistener_call) -> CallOutcome? {
        let number = Int(call.number)
        guard call.mapsMemory || call.locksMemory || call.removesMemory else { return nil }
        guard let spaces else { return .pass }
        guard let space = spaces.space(of: task) else { return inject(call, nil, spaces) ? .answered : .pass }
        // Processes that a fork has not made share an address space (clone(2) with CLONE_VM): one of them makes its agent.
        let isDone = space.injection.withLock { _ in
            space.state.withLock { $0.agent == nil } ? inject(call, space, spaces) : nil
        }
        if let isDone { return isDone ? .answered : .pass }
        let (a, b, c, d, e, f) = call.arguments
        // It asks for the end of the heap.
        if number == Int(CLISTENER_BRK), a == 0 { return .pass }
        do throws(Errno) {
            return try space.calls.withLock { _ throws(Errno) in
                repeatWhenInterrupted(call, of: space)
                repeatCallsOfLibrary(call, of: space, spaces)
                return switch number {
                case Int(CLISTENER_BRK): try grow(space, to: a)
                case Int(CLISTENER_MMAP): try map(space, spaces, [a, b, c, d, e, f])
                case Int(CLISTENER_MADVISE): try remove(space, a, b, c)
                case _ where call.locksMemory: try lock(space, spaces, number, a, b, c)
                default: try move(space, a, oldLength: b, length: c, flags: d, to: e)
                }
            }
        } catch .brokenPipe {
            // The agent has been killed: what the kernel maps now it maps unseen.
            return .pass
        } catch {
            return .failure(error)
        }
    }

    /// The whole pages that hold some bytes; nil where there can be no such addresses.
    func pages(from start: UInt64, length: UInt64) -> Range<UInt64>? {
        let (end, overflow) = start.addingReportingOverflow(length)
        guard !overflow, end <= Machine.addressLimit else { return nil }
        return start & ~(Page.size - 1)..<(end + Page.size - 1) & ~(Page.size - 1)
    }

    private func grow(_ space: AddressSpace, to end: UInt64) throws(Errno) -> CallOutcome {
        let old = try heapEnd(of: space)
        let new = try space.execute(Int(CLISTENER_BRK), [end])
        space.settle()
        space.state.withLock { $0.heapEnd = new }
        if new > old, let range = pages(from: old, length: new - old) {
            // The page that the old end lies in belongs to what there was.
            let start = (old + Page.size - 1) & ~(Page.size - 1)
            if start < range.upperBound {
                space.replace(start..<range.upperBound, in: machine)
                if space.state.withLock({ $0.locksFuture }) {
                    take(start..<range.upperBound, of: space, isLocked: true)
                    space.setLocked(true, start..<range.upperBound, in: machine)
                } else {
                    space.register(start..<range.upperBound)
                }
            }
        }
        return .value(Int64(bitPattern: new))
    }

    private func heapEnd(of space: AddressSpace) throws(Errno) -> UInt64 {
        if let known = space.state.withLock({ $0.heapEnd }) { return known }
        return try space.execute(Int(CLISTENER_BRK), [])
    }

    private func map(_ space: AddressSpace, _ spaces: AddressSpaces, _ arguments: [UInt64]) throws(Errno) -> CallOutcome
    {
        if arguments[3] & UInt64(MAP_HUGETLB) != 0 { return try mapHuge(space, spaces, arguments) }
        var arguments = arguments
        // Once it is registered, it is filled from here.
        let isShared = arguments[3] & UInt64(MAP_SHARED) != 0
        // What cannot be stored to is filled with zeros, which have no frames.
        let populates = arguments[3] & UInt64(MAP_POPULATE) != 0 && (isShared || arguments[2] & UInt64(PROT_WRITE) != 0)
        arguments[3] &= ~UInt64(MAP_POPULATE)
        let isLocked = arguments[3] & UInt64(MAP_LOCKED) != 0 || space.state.withLock { $0.locksFuture }
        let start = try space.execute(Int(CLISTENER_MMAP), arguments)
        space.settle()
        if let range = pages(from: start, length: arguments[1]) {
            space.replace(range, in: machine)
            if isShared {
                if space.register(range, isShared: true) {
                    let object = spaces.makeSharedMemory(share: space.memory.share)
                    space.attach(SharedArea(addresses: range, attachment: .init(object), offset: 0))
                    // What is locked is there already.
                    adopt(
                        pages(in: range, without: object.memory, from: range.lowerBound), of: object.memory,
                        from: range.lowerBound)
                }
            } else if isLocked || arguments[3] & UInt64(MAP_FIXED) != 0 {
                take(range, of: space, isLocked: isLocked && arguments[2] & UInt64(PROT_WRITE) != 0)
            } else {
                space.register(range)
            }
            if populates { populate(range, of: space, spaces) }
            if isLocked { space.setLocked(true, range, in: machine) }
        }
        return .value(Int64(bitPattern: start))
    }

    /// MREMAP_MAYMOVE, MREMAP_FIXED and MREMAP_DONTUNMAP (uapi/linux/mman.h).
    private static let (mayMove, isFixed, keepsOld) = (UInt64(1), UInt64(2), UInt64(4))

    private func move(
        _ space: AddressSpace, _ start: UInt64, oldLength: UInt64, length: UInt64, flags: UInt64, to target: UInt64
    ) throws(Errno) -> CallOutcome {
        if let area = space.shared(at: start), area.attachment.object.isHuge {
            return try moveHuge(space, area, start, oldLength: oldLength, length: length, flags: flags, to: target)
        }
        let isPlain = length <= oldLength && flags & (Self.isFixed | Self.keepsOld) == 0
        guard !isPlain, let old = pages(from: start, length: min(oldLength, length)), start & (Page.size - 1) == 0,
            !space.areas(in: start..<max(start &+ 1, old.upperBound)).isEmpty
        else { return .pass }
        let shared = space.shared(at: start)?.clamped(to: old)
        space.state.withLock { $0.moving = old }
        defer { space.state.withLock { $0.moving = nil } }
        let new =
            flags == Self.mayMove && shared == nil
            ? try grow(space, start, oldLength, length)
            : try space.execute(Int(CLISTENER_MREMAP), [start, oldLength, length, flags, target])
        space.settle()
        guard new & (Page.size - 1) == 0, let range = pages(from: new, length: length) else {
            return .value(Int64(bitPattern: new))
        }
        let fresh = new != start ? range : min(old.upperBound, range.upperBound)..<range.upperBound
        space.replace(fresh, in: machine)
        if let shared {
            if flags & Self.keepsOld == 0 { space.detach(old) }
            space.attach(SharedArea(addresses: range, attachment: shared.attachment, offset: shared.offset))
            if new != start, flags & Self.keepsOld == 0 { space.state.withLock { $0.areas.remove(contentsOf: old) } }
            space.register(range, isShared: true)
            if new != start { takeNeighbours(of: [old, range], in: space) }
            // A mapping is locked as a whole.
            if !shared.locked.isEmpty { space.setLocked(true, range, in: machine) }
            return .value(Int64(bitPattern: new))
        }
        if new != start {
            machine.move(old, of: space.memory, to: new, keepsPolicy: flags & Self.keepsOld != 0)
            if flags & Self.keepsOld == 0 { space.state.withLock { $0.areas.remove(contentsOf: old) } }
        } else if let policy = grownPolicy(of: space, old) {
            // A mapping has one policy, which what it grows by has, too.
            try? machine.setPolicy(policy, of: space.memory, bytes: old.upperBound..<range.upperBound)
        }
        if new != start, range.count > old.count, let policy = grownPolicy(of: space, new..<new + UInt64(old.count)) {
            try? machine.setPolicy(policy, of: space.memory, bytes: new + UInt64(old.count)..<range.upperBound)
        }
        // A mapping is locked as a whole.
        let isLocked = machine.lockedBytes(of: space.memory).contains(range.lowerBound + UInt64(old.count) - 1)
        take(range, of: space, isLocked: isLocked)
        if new != start, flags != Self.mayMove { takeNeighbours(of: [old, range], in: space) }
        if range.count > old.count, isLocked { space.setLocked(true, range, in: machine) }
        return .value(Int64(bitPattern: new))
    }

    /// Grows a mapping where it is, or moves it to where it has no neighbours.
    ///
    /// The kernel makes one mapping of what it moves and of what lies beside its new place, and then forgets that all of it was registered
    /// (mremap_userfaultfd_prep()).
    private func grow(_ space: AddressSpace, _ start: UInt64, _ oldLength: UInt64, _ length: UInt64) throws(Errno)
        -> UInt64
    {
        do throws(Errno) {
            return try space.execute(Int(CLISTENER_MREMAP), [start, oldLength, length, 0])
        } catch .noMemory {
            let (around, overflow) = length.addingReportingOverflow(3 * Page.size)
            guard !overflow else { throw .noMemory }
            let room = try space.execute(
                Int(CLISTENER_MMAP),
                [0, around, UInt64(PROT_NONE), UInt64(MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE), .max, 0])
            // What an agent says may be anything, for the program has its memory.
            guard pages(from: room, length: around) != nil else { throw .badAddress }
            let place = room + Page.size
            do throws(Errno) {
                let new = try space.execute(
                    Int(CLISTENER_MREMAP), [start, oldLength, length, Self.mayMove | Self.isFixed, place])
                let end = (place + length + Page.size - 1) & ~(Page.size - 1)
                _ = try? space.execute(Int(CLISTENER_MUNMAP), [room, Page.size])
                _ = try? space.execute(Int(CLISTENER_MUNMAP), [end, room + around - end])
                return new
            } catch {
                _ = try? space.execute(Int(CLISTENER_MUNMAP), [room, around])
                throw error
            }
        }
    }

    /// Registers once more what lies beside the addresses that an mremap(2) has moved from and to; see ``grow(_:_:_:_:)``.
    func takeNeighbours(of moved: [Range<UInt64>], in space: AddressSpace) {
        for range in moved {
            let wider = max(range.lowerBound, Page.size) - Page.size..<range.upperBound + Page.size
            for mapping in (try? MapsReader.mappings(of: task, at: wider)) ?? [] where mapping.isOwnMemory {
                for area in space.ownAreas(in: mapping.addresses).ranges { take(area, of: space) }
            }
        }
    }

    /// The policy of the last page of addresses, if it has one of its own.
    private func grownPolicy(of space: AddressSpace, _ range: Range<UInt64>) -> MemoryPolicy? {
        guard !range.isEmpty else { return nil }
        let policy = machine.policy(of: space.memory, at: range.upperBound - 1)
        return policy == .default ? nil : policy
    }

    /// Has first touches of addresses reported, and gives those pages frames that are there already, but for those of zeros that are not locked:
    /// programs have only loaded from them.
    private func take(_ range: Range<UInt64>, of space: AddressSpace, isLocked: Bool = false) {
        guard space.register(range) else { return }
        // What was registered before, and forgotten, may be said to be write-protected and is not.
        space.setWatched(false, range)
        let pages = pages(in: range, without: space.memory, from: 0)
        let stored = isLocked ? pages : space.watchZeros(pages, by: task)
        adopt(stored, of: space.memory, from: 0)
        if !isLocked { for range in stored.ranges { space.setWatched(false, range) } }
    }

    /// Pages of a range that are there and have no frames.
    ///
    /// - Parameter start: the address that has the first byte of the memory.
    private func pages(in range: Range<UInt64>, without memory: Buffer, from start: UInt64) -> RangeSet<UInt64> {
        var found = RangeSet<UInt64>()
        for page in PresentPages.of(task, in: range) where machine.nodeID(of: memory, at: page - start) == nil {
            found.insert(contentsOf: page..<page + Page.size)
        }
        return found
    }

    /// Gives pages frames, as if they were touched now.
    private func adopt(_ pages: RangeSet<UInt64>, of memory: Buffer, from start: UInt64) {
        let origin = Origin(pid: task, node: node)
        for range in pages.ranges {
            for page in stride(from: range.lowerBound - start, to: range.upperBound - start, by: Int(Page.size)) {
                _ = try? machine.touch(memory, at: page, around: page..<page + Page.size, origin: origin)
            }
        }
    }

    /// Gives all pages of a range frames as far as there are any (mm_populate()).
    ///
    /// - Returns: whether all have one.
    @discardableResult
    func populate(_ range: Range<UInt64>, of space: AddressSpace, _ spaces: AddressSpaces) -> Bool {
        let origin = Origin(pid: task, node: node)
        var page = range.lowerBound
        while page < range.upperBound, !isOver {
            guard let bytes = try? spaces.place(page, of: space, by: origin) else { return false }
            page = max(page + Page.size, bytes.upperBound)
        }
        return true
    }

    // MARK: Agents

    /// Gives the address space of the task an agent; false where it cannot have one, and the call still waits for its answer.
    ///
    /// - Parameter known: its address space, if a fork has made it.
    private func inject(_ call: clistener_call, _ known: AddressSpace?, _ spaces: AddressSpaces) -> Bool {
        guard let stat = ProcStat(task: task), let text = try? ProcStatus(task: task), let status = TaskStatus(text),
            !spaces.isRefused(status.process, startTime: stat.startTime)
        else { return false }
        if known == nil { spaces.removeOld(of: status.process) }
        guard status.mayHoldTheKernelUp else {
            spaces.tell(of: .users)
            spaces.refuse(status.process, startTime: stat.startTime)
            return false
        }
        guard spaces.allowsAgents(filters: text.filters ?? 0) else {
            spaces.refuse(status.process, startTime: stat.startTime)
            return false
        }
        guard mayHaveAgent(text) else { return false }
        guard known != nil || spaces.hasRoom else {
            spaces.tell(of: .room)
            return false
        }
        var agent = clistener_agent()
        var call = call
        var program = clistener_program(
            redirects_getcpu: redirectsGetcpu ? 1 : 0, is_first: text.isFirstOfNamespace ? 1 : 0,
            is_marked: known == nil ? 0 : 1,
            // A user can stop the agent of a program, and a control that takes failed pages away waits for it.
            patience: status.users == [0, 0, 0] ? 30 : 1)
        // The text there may be own memory whose use was asked for, and is written to for a moment.
        if let known, let text = pages(from: call.instruction &- 128, length: 256) {
            for frames in machine.frames(of: known.memory, in: text).ranges { known.setWatched(false, frames) }
        }
        let result = unsafe clistener_inject(listener, &call, stop, &program, &agent)
        guard result == 0 else {
            spaces.refuse(status.process, startTime: stat.startTime)
            return result > 0
        }
        let (faults, socket) = (FileDescriptor(rawValue: agent.faults), FileDescriptor(rawValue: agent.socket))
        let space =
            known
            ?? AddressSpace(
                memory: machine.makeAddressSpace(share: world.share(ofUser: status.users.first ?? 0)), faults: faults)
        // The thread goes on before the agent has said that it wakes it.
        space.calls.withLock { _ in
            if known != nil {
                // The one that the fork has made goes on.
                try? faults.close()
            } else {
                clistener_begin_faults(faults.rawValue)
                space.state.withLock { $0.user = status.users.first ?? 0 }
            }
            // The program may give up its own rights later.
            let isForeign = (text.namespaceNumbers?.count ?? 1) > 1
            if spaces.add(space, agent: socket, process: status.process, isForeign: isForeign),
                unsafe clistener_strip_agent(&agent, status.has(.lockMemory) ? 1 : 0) == 0
            {
                if known == nil {
                    mark(space)
                    takeAll(of: space)
                }
            } else {
                // It makes its call again.
                spaces.refuse(status.process, startTime: stat.startTime)
                spaces.remove(space)
            }
            unsafe clistener_release_agent(&agent)
        }
        return true
    }

    /// Whether the vDSO would tell of another CPU or node than the machine has. A call that is reported takes much longer.
    private var redirectsGetcpu: Bool {
        machine.nodes.count { !$0.cpus.isEmpty } > 1 || machine.cpus != .onlineCPUs || node != 0
    }

    /// Takes up what a program begins with. The caller holds the calls' lock.
    private func takeAll(of space: AddressSpace) {
        for mapping in (try? MapsReader.mappings(of: task, at: 0..<UInt64.max)) ?? [] where mapping.isOwnMemory {
            take(mapping.addresses, of: space)
        }
    }

    private func mark(_ space: AddressSpace) {
        clistener_register(space.faults.rawValue, clistener_mark, Page.size, 0)
        clistener_fill_mark(space.faults.rawValue, space.mark.rawValue)
    }

    /// Whether the text of the process can be changed for a moment: no other thread executes it, and no handler of a signal will.
    private func mayHaveAgent(_ text: ProcStatus) -> Bool {
        guard text.words("Threads").first == "1" else { return false }
        // What becomes the command, and maps memory until then, is no program of the machine.
        guard linkTarget("/proc/\(task)/exe") != linkTarget("/proc/self/exe") else { return false }
        func signals(_ key: StaticString) -> UInt64 { text.words(key).first.flatMap { UInt64($0, radix: 16) } ?? 0 }
        return (signals("SigPnd") | signals("ShdPnd")) & signals("SigCgt") & ~signals("SigBlk") == 0
    }
}

extension ProcStatus {
    /// Whether it is the process to which those come that have lost their parent.
    fileprivate var isFirstOfNamespace: Bool { words("NSpid").last == "1" }
}

extension ProcMapping {
    /// Whether it is a program's anonymous memory, as the machine counts it.
    var isOwnMemory: Bool { isAnonymous && !addresses.isAgents }
}

extension Range<UInt64> {
    /// Whether the addresses are those of an agent.
    var isAgents: Bool { lowerBound >= clistener_agent_start && lowerBound < clistener_agent_end }
}

extension clistener_call {
    /// Whether it is brk(2), mmap(2) or mremap(2).
    var mapsMemory: Bool {
        [Int(CLISTENER_BRK), Int(CLISTENER_MMAP), Int(CLISTENER_MREMAP)].contains(Int(number))
    }

    /// Whether it is madvise(2) with MADV_REMOVE.
    var removesMemory: Bool {
        Int(number) == Int(CLISTENER_MADVISE) && Int32(truncatingIfNeeded: arguments.2) == MADV_REMOVE
    }

    /// Whether it is mlock(2) or one like it.
    var locksMemory: Bool {
        [
            Int(CLISTENER_MLOCK), Int(CLISTENER_MLOCK2), Int(CLISTENER_MUNLOCK), Int(CLISTENER_MLOCKALL),
            Int(CLISTENER_MUNLOCKALL),
        ].contains(Int(number))
    }
}
