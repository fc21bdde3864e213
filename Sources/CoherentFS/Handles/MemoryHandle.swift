import AttributeTree
import CLinux
import CoherentMemory
import CoherentTree
import Dispatch
import Fuse
import Glibc
import LinuxSupport
import Synchronization
import SystemPackage

/// An open buffer or device file: what page faults, read(2) and write(2) come to.
class MemoryHandle: OpenHandle, @unchecked Sendable {
    let file: MemoryFile
    let machine: Machine
    private let tasks: TaskLocator
    /// How long the memory is there: of a device, until that is removed.
    private let lifetime: Lifetime?
    /// The file, if it counts this handle, who opened it, and whether as a writer. Set before the kernel knows the handle.
    private var counted: (file: CachedFile, opener: Int32, isWriter: Bool)?

    init(_ file: MemoryFile, lifetime: Lifetime? = nil) {
        self.file = file
        self.lifetime = lifetime
        machine = file.services.machine
        tasks = file.services.tasks
    }

    /// Counts this among the open files of a file, which has noted the opening, until it is closed.
    func count(in file: CachedFile, opener: Int32, isWriter: Bool) {
        if isWriter { file.writers.add(1, ordering: .relaxed) }
        counted = (file, opener, isWriter)
    }

    override func closed() {
        guard let (file, opener, isWriter) = counted else { return }
        if isWriter { file.writers.subtract(1, ordering: .relaxed) }
        file.close(by: opener)
    }

    // What the page cache had of a direct buffer would stay as it was, whatever is stored through mappings.
    override var isCacheable: Bool { backing == nil }

    /// Whether what a READ fails with is that the memory has failed.
    func isFailure(_ error: Errno) -> Bool { error == .ioError }

    /// ENODEV once the device is gone; to a mapping that is SIGBUS.
    @inline(__always)
    func checkLifetime() throws(Errno) {
        if let lifetime, lifetime.isOver { throw .operationNotSupportedByDevice }
    }

    override func read(_ request: consuming Request, size: Int, offset: Int64, file open: OpenFile) {
        file.accessed(flags: open.flags)
        let isDirect = open.isPastCache
        // One that meets good bytes before a page that failed is short; to the page cache that would be the end of the file.
        let size = isDirect ? machine.goodLength(of: file.buffer, at: UInt64(offset), length: size) : size
        let touch = Touch(
            size: size, offset: offset, origin: tasks.origin(of: request.caller), isDirect: isDirect)
        if machine.hasPacedLink { readPaced(request, touch) } else { answer(request, touch) }
    }

    /// What a READ is about.
    private struct Touch: Sendable {
        let size: Int
        let offset: Int64
        let origin: Origin
        /// Whether it goes past the page cache, of which no page is locked then. It is a read(2), which finds zeros where there is
        /// no page: only a mapping, which the page cache may be asked for, has to be given one.
        let isDirect: Bool
    }

    /// A place for a request that is to wait, where it may be one that no program waits for. What is for the page cache is not: of
    /// that the kernel itself limits how much is under way.
    private func place(_ touch: Touch, _ caller: Caller) throws(Errno) -> HeldRequests.Place? {
        touch.isDirect ? try file.services.held.take(for: caller) : nil
    }

    /// Answers when the link has had its time, from another thread: no worker is held.
    private func readPaced(_ request: consuming Request, _ touch: Touch) {
        let start = DispatchTime.now()
        do throws(Errno) {
            try checkLifetime()
            let time = try machine.linkTime(
                ofReading: file.buffer, at: UInt64(touch.offset), length: touch.size, origin: touch.origin,
                isTouch: !touch.isDirect)
            guard let time else {
                answer(request, touch)
                return
            }
            let place = try place(touch, request.caller)
            let deferred = request.deferred()
            let (seconds, attoseconds) = time.components
            let nanoseconds = Int(seconds) * 1_000_000_000 + Int(attoseconds / 1_000_000_000)
            Self.timers.start(at: start + .nanoseconds(nanoseconds)) {
                withExtendedLifetime(place) { _ = deferred.answer { self.answer($0, touch) } }
            }
        } catch {
            fail(request, touch, error)
        }
    }

    private static let timers = DispatchQueue(label: "cdmfs.links", attributes: .concurrent)

    private func answer(_ request: consuming Request, _ touch: Touch) {
        var slot: Request? = consume request
        do throws(Errno) {
            try checkLifetime()
            try unsafe machine.read(
                file.buffer, at: UInt64(touch.offset), length: touch.size, origin: touch.origin,
                isTouch: !touch.isDirect
            ) { vectors in
                guard let request = slot.take() else { return }
                if vectors.isEmpty { request.end() } else { unsafe request.vectors(vectors) }
            }
        } catch .resourceTemporarilyUnavailable {
            if let request = slot.take() { askDevices(request, touch) }
        } catch {
            if let request = slot.take() { fail(request, touch, error) }
        }
    }

    private func fail(_ request: consuming Request, _ touch: Touch, _ error: Errno) {
        // For other pages, too, it comes again page by page.
        guard isFailure(error), !touch.isDirect, touch.size <= Int(Page.size) else {
            // Never ENOMEM: for a fault that would mean that the host is out of memory, and a process is killed.
            request.error(error == .noMemory ? .noSpace : error)
            return
        }
        let deferred = request.deferred()
        let granularity = Int32(file.buffer.failureShift)
        let isBegun = file.services.programs.failTouch(by: deferred.caller, granularity: granularity) {
            deferred.error(error)
        }
        if !isBegun { deferred.error(error) }
    }

    /// Has a READ wait until devices have let go of its pages; no worker is held. What is for other pages, too, fails, and
    /// comes again page by page.
    private func askDevices(_ request: consuming Request, _ touch: Touch) {
        let held: HeldRequests.Place?
        do throws(Errno) {
            held = try place(touch, request.caller)
        } catch {
            request.error(error)
            return
        }
        let deferred = request.deferred()
        let recall = machine.recall(
            file.buffer, at: UInt64(touch.offset), length: touch.size, isLocked: !touch.isDirect
        ) {
            withExtendedLifetime(held) { _ = deferred.answer { self.answer($0, touch) } }
        }
        switch recall {
        case .underWay: break
        case .done: deferred.answer { self.answer($0, touch) }
        case .pagewise: deferred.error(.resourceTemporarilyUnavailable)
        }
    }

    override func write(_ request: consuming Request, data: RawSpan, offset: Int64, file open: OpenFile) {
        let caller = request.caller
        let origin = tasks.origin(of: caller)
        let isWriteBack = open.isWriteBack
        // Of less than all of it fuse_get_res_by_io() makes EIO: then the cause is the answer.
        let isWhole = open.flags & O_DIRECT != 0 && backing == nil && !isWriteBack
        @Sendable func store(_ bytes: UnsafeRawBufferPointer, waits: Bool) -> Result<Int, Errno> {
            do throws(Errno) {
                // What comes back from the page cache of a device that is gone is let go with the rest.
                if !isWriteBack {
                    try checkLifetime()
                    try file.coverPin(upTo: UInt64(offset) &+ UInt64(bytes.count), by: caller.pid)
                }
                var stored = try unsafe machine.write(
                    bytes, to: file.buffer, at: UInt64(offset), origin: origin, isGrowing: !isWriteBack,
                    waitsForDevices: waits)
                while isWhole, stored < bytes.count {
                    let rest = unsafe UnsafeRawBufferPointer(rebasing: bytes[stored...])
                    let more = try unsafe machine.write(
                        rest, to: file.buffer, at: UInt64(offset) + UInt64(stored), origin: origin, isGrowing: true)
                    if more == 0 { throw .noSpace }
                    stored += more
                }
                return .success(stored)
            } catch {
                return .failure(error)
            }
        }
        let outcome = unsafe data.withUnsafeBytes { unsafe store($0, waits: !isWriteBack) }
        guard case .failure(.resourceTemporarilyUnavailable) = outcome else {
            finish(request, outcome, by: caller, isWriteBack: isWriteBack)
            return
        }
        let place: HeldRequests.Place?
        do throws(Errno) {
            place = open.isPastCache ? try file.services.held.take(for: request.caller) : nil
        } catch {
            request.error(error)
            return
        }
        let bytes = unsafe data.withUnsafeBytes { unsafe [UInt8]($0) }
        let deferred = request.deferred()
        let goOn: @Sendable () -> Void = {
            withExtendedLifetime(place) {
                _ = deferred.answer {
                    let outcome = unsafe bytes.withUnsafeBytes { unsafe store($0, waits: false) }
                    self.finish($0, outcome, by: caller, isWriteBack: isWriteBack)
                }
            }
        }
        let recall = machine.recall(file.buffer, at: UInt64(offset), length: bytes.count, isWrite: true, goOn)
        if recall != .underWay { goOn() }
    }

    func finish(
        _ request: consuming Request, _ outcome: Result<Int, Errno>, by caller: Caller, isWriteBack: Bool
    ) {
        switch outcome {
        case .success(let count):
            file.metadata.withLock { metadata in
                metadata.modified()
                if !isWriteBack { metadata.dropPrivileges(by: caller) }
            }
            request.written(count)
        case .failure(let error):
            request.error(error)
        }
    }

    override func allocate(_ request: consuming Request, mode: Int32, bytes: Range<UInt64>) {
        let caller = request.caller
        let origin = tasks.origin(of: caller)
        guard bytes.upperBound - bytes.lowerBound >= MemoryFile.manyBytes else {
            let error = allocate(mode: mode, bytes, origin, caller, { false })
            if let error { request.error(error) } else { request.ok() }
            return
        }
        // As on tmpfs, it can be interrupted.
        let cancellation = Cancellation()
        let deferred = request.deferred()
        deferred.onInterrupt { cancellation.cancel() }
        MemoryFile.bulk.start { [self] in
            let error = allocate(mode: mode, bytes, origin, caller, { cancellation.isCancelled })
            if let error { deferred.error(error) } else { deferred.answer { $0.ok() } }
        }
    }

    /// What of fallocate(2) failed; nil for nothing.
    private func allocate(
        mode: Int32, _ bytes: Range<UInt64>, _ origin: Origin, _ caller: Caller, _ isCancelled: () -> Bool
    ) -> Errno? {
        let keepsSize = mode & FALLOC_FL_KEEP_SIZE != 0
        do throws(Errno) {
            try checkLifetime()
            switch mode & ~FALLOC_FL_KEEP_SIZE {
            case 0:
                if !keepsSize { try file.coverPin(upTo: bytes.upperBound, by: caller.pid) }
                try machine.allocate(
                    file.buffer, bytes: bytes, keepsSize: keepsSize, origin: origin, isCancelled: isCancelled)
            case FALLOC_FL_PUNCH_HOLE:
                guard keepsSize else { throw .notSupported }
                machine.punch(file.buffer, bytes: bytes)
            case FALLOC_FL_ZERO_RANGE:
                if let size = file.buffer.fixedSize, bytes.upperBound > size { throw .noSpace }
                if !keepsSize { try file.coverPin(upTo: bytes.upperBound, by: caller.pid) }
                machine.punch(file.buffer, bytes: bytes)
                try machine.allocate(
                    file.buffer, bytes: bytes, keepsSize: keepsSize, origin: origin, isCancelled: isCancelled)
            default:
                throw .notSupported
            }
        } catch {
            return error
        }
        file.metadata.withLock { metadata in
            metadata.modified()
            metadata.dropPrivileges(by: caller)
        }
        return nil
    }

    override func seek(_ request: consuming Request, offset: Int64, whence: Int32) {
        do throws(Errno) {
            guard offset >= 0 else { throw .noSuchAddressOrDevice }
            let position =
                switch whence {
                case SEEK_DATA: try machine.nextData(in: file.buffer, from: UInt64(offset))
                case SEEK_HOLE: try machine.nextHole(in: file.buffer, from: UInt64(offset))
                default: throw .invalidArgument
                }
            request.position(Int64(position))
        } catch {
            request.error(error)
        }
    }
}

/// An open device file, which lets its opener use a restricted node.
final class DeviceHandle: MemoryHandle, @unchecked Sendable {
    private let opener: Int32
    private let device: Device
    private let incarnation: UInt32

    init(_ file: DeviceFile, opener: Int32, of device: Device, incarnation: UInt32, lifetime: Lifetime) {
        self.opener = opener
        self.device = device
        self.incarnation = incarnation
        super.init(file, lifetime: lifetime)
    }

    override func isFailure(_ error: Errno) -> Bool {
        super.isFailure(error) || error == .operationNotSupportedByDevice && device.node.isLost(incarnation)
    }

    override func closed() {
        super.closed()
        file.services.processes.closed(device, by: opener)
    }
}
