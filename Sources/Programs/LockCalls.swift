import CListener
import CoherentMemory
import Glibc
import LinuxSupport
import SystemPackage

/// What mlockall(2) is asked for (uapi/asm-generic/mman.h).
struct LockFlags: OptionSet {
    let rawValue: UInt64

    /// MCL_CURRENT: what is mapped now.
    static let current = LockFlags(rawValue: 1)
    /// MCL_FUTURE: what is mapped from now on.
    static let future = LockFlags(rawValue: 2)
    /// MCL_ONFAULT: each page once it is touched.
    static let onFault = LockFlags(rawValue: 4)
}

/// The calls that lock memory (mm/mlock.c).
extension CallingTask {
    /// Does a call of these. The caller holds the calls' lock.
    func lock(
        _ space: AddressSpace, _ spaces: AddressSpaces, _ number: Int, _ first: UInt64, _ length: UInt64,
        _ flags: UInt64
    ) throws(Errno) -> CallOutcome {
        switch number {
        case Int(CLISTENER_MUNLOCK), Int(CLISTENER_MUNLOCKALL):
            break
        default:
            try checkLimit(
                adding: number == Int(CLISTENER_MLOCKALL) ? nil : length, pages: pages(from: first, length: length),
                of: space)
        }
        let result: UInt64
        do throws(Errno) {
            let onFault: UInt64 = 1
            if number == Int(CLISTENER_MLOCK) || number == Int(CLISTENER_MLOCK2) && flags & onFault == 0,
                let range = pages(from: first, length: length)
            {
                populateWritable(range, of: space, spaces)
            } else if number == Int(CLISTENER_MLOCKALL),
                LockFlags(rawValue: first).intersection([.current, .onFault]) == .current
            {
                populateWritable(0..<Machine.addressLimit, of: space, spaces)
            }
            if number != Int(CLISTENER_MLOCKALL), number != Int(CLISTENER_MUNLOCKALL), length > 0,
                let range = pages(from: first, length: length), space.isHuge(range)
            {
                if number != Int(CLISTENER_MUNLOCK), flags & 1 == 0 || number == Int(CLISTENER_MLOCK) {
                    try lockHuge(range, of: space, spaces)
                }
                return .value(0)
            }
            result = try space.execute(number, [first, length, flags])
        } catch {
            if error != .brokenPipe { readLocks(of: space) }
            throw error
        }
        space.settle()
        switch number {
        case Int(CLISTENER_MUNLOCKALL):
            space.state.withLock { $0.locksFuture = false }
            space.setLocked(false, 0..<Machine.addressLimit, in: machine)
        case Int(CLISTENER_MLOCKALL):
            let asked = LockFlags(rawValue: first)
            space.state.withLock { $0.locksFuture = asked.contains(.future) }
            if asked.contains(.current) { readLocks(of: space) }
        default:
            guard let range = pages(from: first, length: length) else { break }
            space.setLocked(number != Int(CLISTENER_MUNLOCK), range, in: machine)
        }
        return .value(Int64(bitPattern: result))
    }

    /// Gives pages frames that are to be locked: these get their places as by a touch of the caller's, and not of the agent's.
    ///
    /// What cannot be stored to is filled with zeros, which have no frames (populate_vma_page_range()).
    private func populateWritable(_ range: Range<UInt64>, of space: AddressSpace, _ spaces: AddressSpaces) {
        let areas = space.areas(in: range)
        for mapping in (try? MapsReader.mappings(of: task, at: range)) ?? []
        where mapping.isShared || mapping.isWritable {
            for area in areas.intersection(RangeSet(mapping.addresses)).ranges { populate(area, of: space, spaces) }
        }
    }

    /// can_do_mlock(), and how much may be locked. The agent may have other limits than the program has now.
    ///
    /// - Parameter length: bytes; nil for everything.
    private func checkLimit(adding length: UInt64?, pages: Range<UInt64>?, of space: AddressSpace) throws(Errno) {
        if has(.lockMemory) { return }
        let limit = lockLimit
        guard limit != 0 else { throw .notPermitted }
        guard limit != .max, let text = try? ProcStatus(task: task) else { return }
        func bytes(_ key: StaticString) -> UInt64 { (text.words(key).first.flatMap { UInt64($0) } ?? 0) << 10 }
        guard length != nil else {
            guard bytes("VmSize") <= limit else { throw .noMemory }
            return
        }
        guard let pages else { return }
        let known = space.lockedAddresses(in: pages, of: machine).ranges.reduce(UInt64(0)) { $0 + UInt64($1.count) }
        guard bytes("VmLck") + UInt64(pages.count) - known <= limit else { throw .noMemory }
    }

    /// RLIMIT_MEMLOCK, in bytes; 0 for a task that has ended.
    private var lockLimit: UInt64 {
        let text = (try? SmallFile.text(FilePath("/proc/\(task)/limits"))) ?? ""
        let name = "Max locked memory"
        guard let line = text.split(separator: "\n").first(where: { $0.hasPrefix(name) }),
            let word = line.dropFirst(name.utf8.count).split(separator: " ").first
        else { return 0 }
        return word == "unlimited" ? .max : UInt64(word) ?? 0
    }

    /// Takes up which areas the kernel has locked, where a call has locked several, or a part of what it was to lock.
    private func readLocks(of space: AddressSpace) {
        space.setLocked(false, 0..<Machine.addressLimit, in: machine)
        for range in MapsReader.lockedRanges(of: task) { space.setLocked(true, range, in: machine) }
    }
}
