import CListener
import CoherentMemory
import Glibc
import LinuxSupport
import SystemPackage

/// The calls that map memory in huge pages (mm/hugetlb.c): the pages are those of the machine's pools, and what the host has there is ordinary
/// memory.
extension CallingTask {
    private static let fixedFree: UInt64 = 0x10_0000  // MAP_FIXED_NOREPLACE

    /// mmap(2) with MAP_HUGETLB. The caller holds the calls' lock.
    func mapHuge(_ space: AddressSpace, _ spaces: AddressSpaces, _ arguments: [UInt64]) throws(Errno) -> CallOutcome {
        let flags = arguments[3]
        // The binary logarithm of the size, 0 for the usual one (MAP_HUGE_SHIFT).
        let size = flags >> 26 & 0x3f
        guard size == 0 || 1 << size == HugePage.size else { throw .invalidArgument }
        let (sum, overflow) = arguments[1].addingReportingOverflow(HugePage.size - 1)
        let length = sum & ~(HugePage.size - 1)
        guard !overflow, length > 0 else { throw .invalidArgument }
        guard length < Machine.addressLimit / 2 else { throw .noMemory }
        let isFixed = flags & (UInt64(MAP_FIXED) | Self.fixedFree) != 0
        guard !isFixed || arguments[0] % HugePage.size == 0 else { throw .invalidArgument }
        guard !isFixed || arguments[0] <= Machine.addressLimit - length else { throw .noMemory }
        let isPrivate = flags & 0xf == UInt64(MAP_PRIVATE)
        // What the program has given back just now is free.
        space.settle()
        // A private mapping has them for itself, a shared one for all who map it.
        let promised = flags & UInt64(MAP_NORESERVE) == 0 ? Int(length / HugePage.size) : 0
        func make() throws(Errno) -> SharedMemory {
            try SharedMemory.huge(
                machine, reserving: promised, isPrivate: isPrivate, share: space.memory.share,
                origin: Origin(pid: task, node: node), in: spaces.directory)
        }
        let object: SharedMemory
        do throws(Errno) {
            object = try make()
        } catch .noMemory where flags & UInt64(MAP_FIXED) != 0 {
            // What is replaced goes first, even where its pages do not suffice (vms_clean_up_area()).
            _ = try space.execute(Int(CLISTENER_MUNMAP), [arguments[0], length])
            space.settle()
            object = try make()
        }
        // A mapping in huge pages is never locked (mlock_fixup()).
        let plain = flags & ~(0x3f << 26 | UInt64(MAP_HUGETLB | MAP_POPULATE | MAP_LOCKED)) | UInt64(MAP_NORESERVE)
        let start = try place(space, arguments[0], length, [arguments[2], plain, .max, 0], isFixed: isFixed)
        space.settle()
        let range = start..<start + length
        space.replace(range, in: machine)
        guard space.register(range) else { return .value(Int64(bitPattern: start)) }
        space.attach(SharedArea(addresses: range, attachment: .init(object), offset: 0))
        if flags & UInt64(MAP_POPULATE | MAP_LOCKED) != 0 || space.state.withLock({ $0.locksFuture }) {
            populate(range, of: space, spaces)
        }
        return .value(Int64(bitPattern: start))
    }

    /// Maps ordinary memory where a huge page may begin (hugetlb_get_unmapped_area()).
    private func place(
        _ space: AddressSpace, _ hint: UInt64, _ length: UInt64, _ rest: [UInt64], isFixed: Bool
    ) throws(Errno) -> UInt64 {
        func map(_ address: UInt64, _ more: UInt64) throws(Errno) -> UInt64 {
            try space.execute(Int(CLISTENER_MMAP), [address, length, rest[0], rest[1] | more, rest[2], rest[3]])
        }
        if isFixed {
            // What an agent says may be anything, for the program has its memory.
            guard try map(hint, 0) == hint else { throw .badAddress }
            return hint
        }
        if hint != 0, hint < Machine.addressLimit / 2 {
            let near = (hint + HugePage.size - 1) & ~(HugePage.size - 1)
            if let start = try? map(near, Self.fixedFree) {
                if start == near { return start }
                _ = try? space.execute(Int(CLISTENER_MUNMAP), [start, length])
            }
        }
        let around = length + HugePage.size
        let room = try space.execute(
            Int(CLISTENER_MMAP),
            [0, around, UInt64(PROT_NONE), UInt64(MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE), .max, 0])
        guard room < Machine.addressLimit - around, room % Page.size == 0 else { throw .badAddress }
        let start = (room + HugePage.size) & ~(HugePage.size - 1)
        do throws(Errno) {
            let mapped = try map(start, UInt64(MAP_FIXED))
            guard mapped == start else { throw .badAddress }
        } catch {
            _ = try? space.execute(Int(CLISTENER_MUNMAP), [room, around])
            throw error
        }
        if start > room { _ = try? space.execute(Int(CLISTENER_MUNMAP), [room, start - room]) }
        let end = start + length
        if end < room + around { _ = try? space.execute(Int(CLISTENER_MUNMAP), [end, room + around - end]) }
        return start
    }

    /// mremap(2) of memory in huge pages: it moves, or becomes shorter (check_prep_vma() of mm/mremap.c).
    func moveHuge(
        _ space: AddressSpace, _ area: SharedArea, _ start: UInt64, oldLength: UInt64, length: UInt64, flags: UInt64,
        to target: UInt64
    ) throws(Errno) -> CallOutcome {
        func rounded(_ length: UInt64) throws(Errno) -> UInt64 {
            let (sum, overflow) = length.addingReportingOverflow(HugePage.size - 1)
            guard !overflow, sum < Machine.addressLimit, length > 0 else { throw .invalidArgument }
            return sum & ~(HugePage.size - 1)
        }
        let (mayMove, isFixed): (UInt64, UInt64) = (1, 2)
        guard flags & ~(mayMove | isFixed) == 0, flags & isFixed == 0 || flags & mayMove != 0 else {
            throw .invalidArgument
        }
        let (old, new) = (try rounded(oldLength), try rounded(length))
        let isMoved = flags & isFixed != 0
        guard start % HugePage.size == 0, new <= old, !isMoved || target % HugePage.size == 0 else {
            throw .invalidArgument
        }
        guard start + old <= area.addresses.upperBound else { throw .badAddress }
        if !isMoved {
            if new < old {
                _ = try space.execute(Int(CLISTENER_MUNMAP), [start + new, old - new])
                space.settle()
            }
            return .value(Int64(bitPattern: start))
        }
        guard let range = pages(from: target, length: new), !range.overlaps(start..<start + old) else {
            throw .invalidArgument
        }
        let moved = start..<start + new
        space.state.withLock { $0.moving = moved }
        defer { space.state.withLock { $0.moving = nil } }
        let result = try space.execute(Int(CLISTENER_MREMAP), [start, old, new, flags, target])
        space.settle()
        guard result == target, let kept = area.clamped(to: moved) else { return .value(Int64(bitPattern: result)) }
        space.replace(range, in: machine)
        space.attach(SharedArea(addresses: range, attachment: kept.attachment, offset: kept.offset))
        space.detach(moved)
        space.state.withLock { $0.areas.remove(contentsOf: moved) }
        space.register(range)
        takeNeighbours(of: [moved, range], in: space)
        return .value(Int64(bitPattern: result))
    }

    /// mlock(2) of memory in huge pages: its pages get there, and are not locked (mlock_fixup()).
    func lockHuge(_ range: Range<UInt64>, of space: AddressSpace, _ spaces: AddressSpaces) throws(Errno) {
        let origin = Origin(pid: task, node: node)
        for unit in SharedMemory.units(around: range) {
            if isOver { throw .interrupted }
            do throws(Errno) {
                _ = try spaces.place(max(unit.lowerBound, range.lowerBound), of: space, by: origin)
            } catch {
                // __mlock_posix_error_return()
                throw .noMemory
            }
        }
    }
}
