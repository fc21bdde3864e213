import AttributeTree
import CLinux
import CoherentMemory
import Glibc
import LinuxSupport
import SystemPackage

/// The address space of a process in the page table of a device (`struct dmirror`): what one open file stands for.
///
/// The bytes never leave the process: the device reads and writes them there. Where a page is, and what the device may do
/// with it, is noted beside it, and believed only as long as the process's own page table agrees. The kernel does not report
/// changes to other processes, so every ioctl looks first.
public final class Mirror: @unchecked Sendable {
    // Unchecked: `entries` is guarded by the turn of the process.

    /// What the device may do with a page.
    enum PageAccess { case read, write, exclusive }

    /// An entry of the device's page table.
    struct Entry {
        var identity: UInt64
        /// Where the page was, by the device's number.
        var device: Int?
        var access: PageAccess
    }

    /// The page table is emptied when it has more entries, and filled again by faults.
    private static let entryLimit = 1 << 18
    /// How many pages of one process may be on devices.
    static let capacity = 1 << 18
    private static let chunk: UInt64 = 1 << 20

    let id: UInt64
    /// The device whose page table it is in.
    public let device: MirrorDevice
    let process: MirroredProcess
    let space: AddressSpace
    let pageMap: PageMap
    let touches: TouchDetector
    /// The inodes of the device files, whose mappings the driver fills.
    let files: Set<UInt64>
    var entries: [UInt64: Entry] = [:]

    init(
        _ device: MirrorDevice, _ id: UInt64, _ process: MirroredProcess, task: Int32, mount: DeviceNumber?,
        files: Set<UInt64>
    ) throws(Errno) {
        self.device = device
        self.id = id
        self.process = process
        self.files = files
        space = try AddressSpace(task: task, mount: mount)
        pageMap = try PageMap(task: task)
        touches = try TouchDetector(process: process.id)
    }

    /// Does what an ioctl asks for, waiting its turn. Never on a thread that serves requests.
    ///
    /// - Parameters:
    ///   - command: the ioctl.
    ///   - caller: the address space of the caller.
    ///   - cancellation: asked for when the caller does not wait any more.
    /// - Throws: the errors of the command, as the reference of the device files has them; EINTR when it was cancelled.
    public func run(
        _ command: MirrorCommand, for caller: AddressSpace, _ cancellation: Cancellation
    ) throws(Errno) -> MirrorOutcome {
        try process.turn.withLock { _ throws(Errno) in
            if entries.count > Self.entryLimit { entries.removeAll() }
            defer { process.placements.giveBack() }
            let copy = Copy(pointer: command.pointer, caller: caller, cancellation: cancellation)
            switch command.action {
            case .read: return try read(command.pages, copy)
            case .write: return try write(command.pages, copy)
            case .migrateToDevice: return try migrateToDevice(command.pages, copy)
            case .migrateToSystem: return try migrateToSystem(command.pages)
            case .snapshot: return try snapshot(command.pages, copy)
            case .exclusive: return try makeExclusive(command.pages, copy)
            case .checkExclusive: return try checkExclusive(command.pages)
            case .release:
                device.memory.release()
                return MirrorOutcome()
            case .flags: return MirrorOutcome()
            }
        }
    }

    // MARK: Looking

    /// Takes note of what has become of pages since the last look, and returns their states.
    func refresh(_ pages: Range<UInt64>, _ areas: MemoryAreas) throws(Errno) -> [PageState] {
        let states = try pageMap.states(of: pages)
        if process.placements.isEmpty { return states }
        for device in process.placements.devices { device.memory.check() }
        var watched: [MemoryArea] = []
        areas.forEachPage(pages) { page, area in
            guard let placement = process.placements[page] else { return }
            let state = states[Int(page - pages.lowerBound)]
            guard let area, !placement.isOver, placement.identity == state.identity else {
                process.placements[page] = nil
                return
            }
            guard placement.isWatched, !state.isZero else { return }
            if placement.exclusive != 0, !state.isExclusive {
                // A fork has taken it, as in Linux.
                comeBack(page)
            } else if watched.last != area {
                watched.append(area)
            }
        }
        for area in watched {
            // All of the mapping, for the look forgets what it does not ask for.
            let pages = process.placements.watched(in: area.addresses)
            for page in touches.touched(pages, in: area) { comeBack(page) }
        }
        return states
    }

    /// The CPU has touched a page: no device has it alone any more, and from memory that the CPU cannot reach it has returned.
    func comeBack(_ page: UInt64) {
        guard var placement = process.placements[page] else { return }
        guard let device = placement.device, device.kind == .coherent else {
            process.placements[page] = nil
            return
        }
        placement.exclusive = 0
        placement.isWatched = false
        process.placements[page] = placement
    }

    /// Lays to rest those pages whose next touch by the CPU is to be seen.
    ///
    /// - Parameter areNew: some may have been allocated since they were last laid to rest.
    func rest(_ pages: Range<UInt64>, areNew: Bool) {
        let watched = pages.filter { process.placements[$0]?.isWatched == true }
        if areNew, !watched.isEmpty { touches.drainNewPages() }
        for group in TouchDetector.groups(of: watched) where !touches.rest(TouchDetector.addresses(of: group)) {
            for page in group { process.placements.unwatch(page) }
        }
    }

    /// Whether the device's page table still holds for a page.
    func isValid(_ page: UInt64, _ state: PageState, in area: MemoryArea?, isWrite: Bool) -> Bool {
        guard let entry = entries[page], let area, area.isReadable, state.isPresent else { return false }
        let placement = process.placements[page]
        guard entry.identity == state.identity, entry.device == placement?.device?.number else { return false }
        let exclusive = placement?.exclusive ?? 0
        guard exclusive == (entry.access == .exclusive ? id : 0) else { return false }
        return !isWrite || entry.access == .write && area.takesStores
    }

    // MARK: Copying

    /// The other end of a copy: a buffer of the caller of the ioctl.
    struct Copy {
        let pointer: UInt64
        let caller: AddressSpace
        let cancellation: Cancellation

        /// - Throws: EFAULT unless the buffer is there.
        func check(_ length: UInt64, isWrite: Bool) throws(Errno) {
            let (end, isTooFar) = pointer.addingReportingOverflow(length)
            guard !isTooFar else { throw .badAddress }
            try caller.areas().checkBuffer(pointer..<end, isWrite: isWrite)
        }
    }

    /// Copies pages to or from the caller's buffer, in parts.
    ///
    /// - Throws: EFAULT where memory went away meanwhile, EINTR when the caller has been interrupted.
    func transfer(_ pages: Range<UInt64>, _ copy: Copy, isWrite: Bool) throws(Errno) {
        let addresses = TouchDetector.addresses(of: pages)
        let buffer = UnsafeMutableRawBufferPointer.allocate(
            byteCount: Int(min(Self.chunk, UInt64(addresses.count))), alignment: Int(Page.size))
        defer { unsafe buffer.deallocate() }
        var address = addresses.lowerBound
        while address < addresses.upperBound {
            try copy.cancellation.check()
            let part = unsafe UnsafeMutableRawBufferPointer(
                rebasing: buffer[..<Int(min(Self.chunk, addresses.upperBound - address))])
            let other = copy.pointer + (address - addresses.lowerBound)
            if isWrite {
                try unsafe copy.caller.read(other, into: part)
                try unsafe space.write(address, from: UnsafeRawBufferPointer(part))
            } else {
                try unsafe space.read(address, into: part)
                try unsafe copy.caller.write(other, from: UnsafeRawBufferPointer(part))
            }
            address += UInt64(part.count)
        }
    }

    /// Has file pages read before they are copied: this wait ends when the daemon is killed, and a copy's does not.
    ///
    /// What runs as the process now may be another program, so nothing comes of it but that the page is there.
    func bringIn(_ pages: Range<UInt64>, _ states: [PageState], _ areas: MemoryAreas) {
        areas.forEachPage(pages) { page, area in
            guard let area, area.isReadable, area.isOfFile, !states[Int(page - pages.lowerBound)].isPresent else {
                return
            }
            clinux_touch_page(process.id, page << Page.shift)
        }
    }

    /// Has the kernel map a page, as a read by the CPU would.
    func populate(_ page: UInt64) throws(Errno) {
        var byte: UInt8 = 0
        try unsafe withUnsafeMutableBytes(of: &byte) { byte throws(Errno) in
            try unsafe space.read(page << Page.shift, into: byte)
        }
    }
}
