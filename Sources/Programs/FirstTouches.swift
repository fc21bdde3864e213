import CListener
import CoherentMemory
import Glibc
import LinuxSupport
import SystemPackage

/// First touches of memory of programs: the pages get frames and the programs their memory.
extension AddressSpaces {
    enum Touch {
        case load, store
        /// A store to a page that is write-protected: one of zeros, or one whose use the machine has asked for.
        case protectedStore
    }

    /// Deals with a touch that waits: gives a page that is stored to its frame, those around it too, and the program its memory
    /// (handle_mm_fault()).
    func touch(_ address: UInt64, of space: AddressSpace, by thread: Int32, _ touch: Touch) {
        let page = address & ~(Page.size - 1)
        if page == clistener_mark {
            if clistener_fill_mark(space.faults.rawValue, space.mark.rawValue) < 0 {
                clistener_wake(space.faults.rawValue, page, Page.size)
            }
            return
        }
        if let part = space.watchedFailure(at: page) { return self.touch(page, part, of: space, by: thread) }
        let place = Place(of: page, in: space)
        if touch == .load, place.object == nil, load(page, of: space, place) { return }
        if touch == .protectedStore, goOn(page, of: space, place) { return }
        do throws(Errno) {
            try follow(page, of: space, by: origin(of: thread, in: space))
        } catch .noMemory where space.hugeUnit(around: page) != nil {
            // The pools have none: SIGBUS (hugetlb_no_page()).
            space.refuse(page)
        } catch .noMemory where mayWait(page, of: space) {
            // Woken in a moment.
        } catch .noMemory {
            // As with the OOM killer, the process that touches it ends, and not one that only looks into it.
            guard let process = space.state.withLock({ $0.process }),
                ProcStatus.process(of: number(of: thread, in: space)) == process
            else { return space.refuse(page) }
            world.note("no memory for a page of process \(process), by its policy or its nodes: killed")
            kill(process, SIGKILL)
        } catch .ioError {
            let shift = Place(of: page, in: space).memory.failureShift
            fail(space.failedTouch(of: page, by: number(of: thread, in: space), shift: shift), page, of: space)
        } catch {
            space.refuse(page)
        }
    }

    /// Gives a page that a program loads from its zeros: alone for the first one of its window, and with those around it, or ahead of it, later.
    ///
    /// - Returns: false where the page has a frame, or failed.
    private func load(_ page: UInt64, of space: AddressSpace, _ place: Place) -> Bool {
        let usual = world.faultAround
        let (length, isFirst) = space.state.withLock { state in
            (state.loads.length(at: page, usual: usual), !state.loadedWindows.note(page & ~(usual - 1), size: usual))
        }
        let isAlone = isFirst && length <= usual
        let window =
            isAlone ? page..<page + Page.size : window(around: page, length: length, of: space, place)
        guard let filled = fillWithZeros(page, of: space, in: window) else { return false }
        space.state.withLock { state in
            state.loads.note(page, end: filled.upperBound, length: isAlone ? Page.size : length, usual: usual)
        }
        return true
    }

    /// Has a store to a page that has a frame go on, as it was write-protected to see who uses it, and later ones to those around it at the
    /// second one.
    ///
    /// - Returns: false where the page has no frame.
    private func goOn(_ page: UInt64, of space: AddressSpace, _ place: Place) -> Bool {
        let machine = world.machine
        guard machine.nodeID(of: place.memory, at: place.offset(of: page)) != nil else { return false }
        let size = world.faultAround
        var pages = RangeSet(page..<page + Page.size)
        if space.state.withLock({ $0.storedWindows.note(page & ~(size - 1), size: size) }) {
            let window = place.offsets(of: window(around: page, length: size, of: space, place))
            // A page of zeros is to have its store reported.
            for range in machine.frames(of: place.memory, in: window).ranges {
                pages.insert(contentsOf: place.addresses(of: range))
            }
        }
        for range in pages.ranges where !space.letStores(to: range) {
            clistener_wake(space.faults.rawValue, page, Page.size)
        }
        return true
    }

    /// Has a page touched once more in a moment for which there is no frame.
    ///
    /// - Returns: false once that has been tried often enough, unless blocks are going offline, or those of a device come and go.
    private func mayWait(_ page: UInt64, of space: AddressSpace) -> Bool {
        let isForced = world.machine.isTakingBlocksOffline || world.machine.devices.contains { $0.isChanging }
        return waiting.withLock { $0.note(page, of: space, isForced: isForced) }
    }

    /// A touch of a page of a direct buffer that had failed.
    private func touch(_ page: UInt64, _ part: BufferPart, of space: AddressSpace, by thread: Int32) {
        guard !world.machine.failedRanges(of: part.buffer, in: part.bytes).isEmpty else {
            return space.forgetFailures(in: page..<page + Page.size)
        }
        let shift = part.buffer.failureShift
        fail(space.failedTouch(of: page, by: number(of: thread, in: space), shift: shift), page, of: space)
    }

    private func fail(_ touch: FailedTouch, _ page: UInt64, of space: AddressSpace) {
        if !world.failedTouches.begin(touch) { space.refuse(page) }
    }

    private func origin(of thread: Int32, in space: AddressSpace) -> Origin {
        let task = number(of: thread, in: space)
        return Origin(pid: task, node: world.node(ofTask: task))
    }

    /// The daemon's number of a thread that touches something: of the one whose call is answered where the daemon itself does it.
    private func number(of thread: Int32, in space: AddressSpace) -> Int32 {
        if let task = served.withLock({ $0[thread] }) { return task }
        guard let process = space.state.withLock({ $0.namespace }) else { return thread }
        return (try? world.task(named: thread, by: process).task) ?? thread
    }

    /// Gives the page of an address its frame and the program its memory.
    ///
    /// - Parameter length: the length of the window in bytes that gets frames with it, more than `fault_around` for what lies ahead.
    /// - Returns: the addresses that have frames now.
    /// - Throws: what the machine has against it.
    @discardableResult
    func place(
        _ page: UInt64, of space: AddressSpace, by origin: Origin, length: UInt64? = nil
    ) throws(Errno) -> Range<UInt64> {
        let place = Place(of: page, in: space)
        let window = window(around: page, length: length ?? world.faultAround, of: space, place)
        func give() throws(Errno) -> Range<UInt64> {
            let touched = try world.machine.touch(
                place.memory, at: place.offset(of: page), around: place.offsets(of: window), origin: origin)
            return fill(
                place.addresses(of: touched.bytes), page: page, isFresh: touched.isFresh, of: space, place)
        }
        guard let object = place.object else { return try give() }
        return try object.turn.withLock { _ throws(Errno) in try give() }
    }

    /// Memory that forks of a program are to share, and no other program.
    func makeSharedMemory(share: FrameShare?) -> SharedMemory {
        SharedMemory(world.machine, share: share, in: directory)
    }

    /// The same for a touch of a program, which may go on in sequence.
    private func follow(_ page: UInt64, of space: AddressSpace, by origin: Origin) throws(Errno) {
        let usual = world.faultAround
        let length = space.state.withLock { $0.stores.length(at: page, usual: usual) }
        let bytes = try place(page, of: space, by: origin, length: length)
        space.state.withLock { $0.stores.note(page, end: bytes.upperBound, length: length, usual: usual) }
    }

    /// Whose frames addresses have: those of the program's own memory, or of memory that it shares.
    private struct Place {
        let memory: Buffer
        private let shared: SharedArea?

        init(of page: UInt64, in space: AddressSpace) {
            shared = space.shared(at: page)
            memory = shared?.attachment.object.memory ?? space.memory
        }

        /// The shared memory; nil for own memory.
        var object: SharedMemory? { shared?.attachment.object }

        /// The addresses of the shared memory; nil for own memory.
        var limits: Range<UInt64>? { shared?.addresses }

        func offset(of address: UInt64) -> UInt64 {
            guard let shared else { return address }
            return address - shared.addresses.lowerBound + shared.offset
        }

        func offsets(of range: Range<UInt64>) -> Range<UInt64> {
            let start = offset(of: range.lowerBound)
            return start..<start + UInt64(range.count)
        }

        func addresses(of offsets: Range<UInt64>) -> Range<UInt64> {
            guard let shared else { return offsets }
            let start = offsets.lowerBound - shared.offset + shared.addresses.lowerBound
            return start..<start + UInt64(offsets.count)
        }
    }

    private func window(
        around page: UInt64, length: UInt64, of space: AddressSpace, _ place: Place
    ) -> Range<UInt64> {
        if place.object?.isHuge == true, let unit = space.hugeUnit(around: page) { return unit }
        let size = world.faultAround
        let start = page & ~(size - 1)
        let whole = length > size ? page..<(page + length) & ~(size - 1) : start..<start + size
        if let limits = place.limits { return whole.clamped(to: limits) }
        // A stack grows to lower addresses, which is not reported.
        if let own = space.ownAreas(in: whole).ranges.first(where: { $0.contains(page) }) { return own }
        let next = space.state.withLock { $0.shared.areas.map(\.addresses.lowerBound).filter { $0 > page }.min() }
        return page..<min(whole.upperBound, next ?? .max)
    }

    /// The parts of a window in the order in which they are filled.
    ///
    /// The page that a thread waits for comes first, so the thread goes on while those around it are filled. In a sequence it would touch
    /// the next one at once, and wait again.
    func parts(of window: Range<UInt64>, first page: UInt64) -> [Range<UInt64>] {
        let next = page + Page.size
        guard UInt64(window.count) <= world.faultAround, window.contains(page), next <= window.upperBound else {
            return [window]
        }
        return [page..<next, next..<window.upperBound, window.lowerBound..<page]
    }

    /// Fills pages that have frames with zeros; those that cannot be filled have none afterwards. Pages of zeros that are there keep
    /// their new frames, and stores to them go on.
    ///
    /// - Returns: the addresses without those ahead that are of another mapping.
    private func fill(
        _ bytes: Range<UInt64>, page: UInt64, isFresh: Bool, of space: AddressSpace, _ place: Place
    ) -> Range<UInt64> {
        let faults = space.faults.rawValue
        var (end, isFilled) = (bytes.upperBound, false)
        func giveUp(_ range: Range<UInt64>) {
            if isFresh { world.machine.discard(place.memory, bytes: place.offsets(of: range)) }
        }
        // After a fork a page without a frame can be one that an elder has a frame for.
        let keepsPresent = place.object == nil && !space.state.withLock { $0.sharesPages }
        var present = page..<page
        func letStores() {
            guard !present.isEmpty, !space.letStores(to: present) else { return }
            // It is to be reported again. Shared memory is there for others, too.
            if place.object == nil { giveUp(present) }
        }
        func fill(_ part: Range<UInt64>) {
            var position = part.lowerBound
            // How much is tried at once.
            var length = UInt64(part.count)
            while position < min(part.upperBound, end) {
                length = min(length, min(part.upperBound, end) - position)
                let count = clistener_fill(faults, position, length, 0)
                if count == -Int64(ENOENT), length > Page.size {
                    // Not all of it is one mapping, and what is far ahead may be memory that is not to be touched.
                    let near = (page + world.faultAround) & ~(world.faultAround - 1)
                    if near < end {
                        giveUp(near..<end)
                        end = near
                    }
                    length = Page.size
                    continue
                }
                length *= 2
                if count > 0 {
                    if position <= page, page < position + UInt64(count) { isFilled = true }
                    position += UInt64(count)
                } else if count == -Int64(EEXIST), position == page || keepsPresent {
                    if present.upperBound != position {
                        letStores()
                        present = position..<position
                    }
                    position += Page.size
                    present = present.lowerBound..<position
                } else if count == -Int64(EEXIST) || count == -Int64(ENOENT) {
                    // It is there, and known, or not ours.
                    giveUp(position..<position + Page.size)
                    position += Page.size
                } else {
                    giveUp(position..<min(part.upperBound, end))
                    return
                }
            }
        }
        for part in parts(of: bytes, first: page) {
            fill(part)
            letStores()
            present = page..<page
        }
        // Who was woken without a page touches it again.
        if !isFilled { clistener_wake(faults, page, Page.size) }
        return bytes.lowerBound..<end
    }
}

extension Device {
    /// Whether its blocks come or go one after the other.
    fileprivate var isChanging: Bool { [.onlineInProgress, .offlineInProgress].contains(state) }
}
