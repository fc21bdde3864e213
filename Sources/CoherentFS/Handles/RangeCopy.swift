import AttributeTree
import CoherentMemory
import CoherentTree
import Fuse
import Glibc
import LinuxSupport
import Synchronization
import SystemPackage

extension MemoryHandle {
    /// Copies from another open file, or this one (copy_file_range(2)).
    func copy(_ request: consuming Request, from source: MemoryHandle, at start: Int64, to offset: Int64, length: Int) {
        let caller = request.caller
        let copy = RangeCopy(
            from: source, at: UInt64(start), to: self, at: UInt64(offset), length: length,
            caller: caller)
        guard copy.length > 0 || length == 0 else {
            request.error(.notSupported)
            return
        }
        let deferred = request.deferred()
        deferred.onInterrupt { copy.cancel() }
        let run: @Sendable () -> Void = {
            copy.run { outcome in
                deferred.answer { self.finish($0, outcome, by: caller, isWriteBack: false) }
            }
        }
        if copy.length <= RangeCopy.step { run() } else { MemoryFile.bulk.start(run) }
    }
}

/// A copy from one buffer or device file to another that is under way.
///
/// No other thread works on it meanwhile: it goes on from one thread to the next only where it waits for a device.
final class RangeCopy: Sendable {
    /// Bytes that one COPY_FILE_RANGE is for at most: it may do less than asked, and can be interrupted in between.
    private static let longest = 64 << 20
    /// Bytes copied at a time. So much is no trouble for others that the thread serves.
    static let step = 128 << 10

    private let source: MemoryHandle
    private let target: MemoryHandle
    private let start: UInt64
    private let offset: UInt64
    /// Bytes; 0 where the kernel has to copy.
    let length: Int
    private let caller: Caller
    private let origin: Origin
    private let done = Atomic(0)
    private let cancellation = Cancellation()

    init(
        from source: MemoryHandle, at start: UInt64, to target: MemoryHandle, at offset: UInt64, length: Int,
        caller: Caller
    ) {
        (self.source, self.start, self.target, self.offset) = (source, start, target, offset)
        self.caller = caller
        origin = target.file.services.tasks.origin(of: caller)
        let length = min(length, Self.longest)
        self.length = Self.needsWholePages(source, target) ? Self.wholePages(length, at: offset, of: target) : length
    }

    /// The kernel drops the pages of the page cache that were copied to, with what was stored through a mapping meanwhile to the
    /// rest of those at the ends. A direct buffer has no page there. Of what is direct the kernel cannot copy.
    private static func needsWholePages(_ source: MemoryHandle, _ target: MemoryHandle) -> Bool {
        target.file.buffer.mapping == .tracked && source.file.buffer.mapping == .tracked
    }

    /// How many bytes lie in pages that are stored to as a whole, up to the end of the file.
    private static func wholePages(_ length: Int, at offset: UInt64, of target: MemoryHandle) -> Int {
        let page = 4096
        guard offset % UInt64(page) == 0 else { return 0 }
        return offset + UInt64(length) >= target.file.buffer.size ? length : length / page * page
    }

    func cancel() { cancellation.cancel() }

    /// Copies as much as there is, is good, and finds place; `finish` gets how much that was, or why not even one byte.
    func run(_ finish: @escaping @Sendable (Result<Int, Errno>) -> Void) {
        var error: Errno?
        var isOver = false
        while !isOver, error == nil, position < length, !cancellation.isCancelled {
            do throws(Errno) {
                isOver = try copyStep()
            } catch .resourceTemporarilyUnavailable {
                if waitForDevices({ MemoryFile.bulk.start { self.run(finish) } }) { return }
            } catch let failure {
                error = failure
            }
        }
        if cancellation.isCancelled, position == 0, error == nil { error = .interrupted }
        finish(position == 0 ? error.map { .failure($0) } ?? .success(0) : .success(position))
    }

    private var position: Int { done.load(ordering: .relaxed) }

    /// Copies some bytes; true where there are no more, or no place for them.
    ///
    /// - Throws: EAGAIN where a device has pages of either.
    private func copyStep() throws(Errno) -> Bool {
        try source.checkLifetime()
        try target.checkLifetime()
        let machine = source.machine
        let place = start + UInt64(position)
        let wanted = machine.goodLength(
            of: source.file.buffer, at: place, length: min(Self.step, length - position))
        var bytes: [UInt8] = []
        bytes.reserveCapacity(wanted)
        try unsafe machine.read(
            source.file.buffer, at: place, length: wanted, origin: origin, isTouch: false
        ) { pieces in
            for index in pieces.indices {
                let piece = unsafe pieces[index]
                unsafe bytes.append(contentsOf: UnsafeRawBufferPointer(start: piece.iov_base, count: piece.iov_len))
            }
        }
        guard !bytes.isEmpty else { return true }
        let stored = try store(bytes, at: offset + UInt64(position))
        done.add(stored, ordering: .relaxed)
        return stored < bytes.count
    }

    private func store(_ bytes: [UInt8], at offset: UInt64) throws(Errno) -> Int {
        try target.file.coverPin(upTo: offset &+ UInt64(bytes.count), by: caller.pid)
        let outcome = unsafe bytes.withUnsafeBytes { bytes -> Result<Int, Errno> in
            do throws(Errno) {
                try target.file.coverPin(upTo: offset + UInt64(bytes.count), by: origin.pid)
                return .success(
                    try unsafe target.machine.write(
                        bytes, to: target.file.buffer, at: offset, origin: origin, isGrowing: true,
                        waitsForDevices: true))
            } catch {
                return .failure(error)
            }
        }
        return try outcome.get()
    }

    /// Has devices let go of the next pages; false where they have already.
    private func waitForDevices(_ goOn: @escaping @Sendable () -> Void) -> Bool {
        let count = min(Self.step, length - position)
        for (handle, place) in [(source, start), (target, offset)] {
            let recall = handle.machine.recall(
                handle.file.buffer, at: place + UInt64(position), length: count, isLocked: false,
                isWrite: handle === target, goOn)
            if recall == .underWay { return true }
        }
        return false
    }
}
