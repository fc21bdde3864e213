import LinuxSupport
import SystemPackage

/// What a request must do if a device maps its pages, or they are on their way over a link.
public enum Recall: Sendable, Hashable {
    /// Continue: the device has released the pages meanwhile, or they have arrived.
    case done
    /// Wait: a callback reports when the devices have released the pages, or they have arrived.
    case underWay
    /// Fail without waiting, because the request covers other pages, too. The kernel then asks for each page
    /// separately.
    case pagewise
}

extension Machine {
    /// Asks devices to release pages that the CPU has touched. The invalidations wait in the queues of the devices;
    /// until then neither side uses the pages. Pages that are on their way over a link are waited for first.
    ///
    /// The kernel holds the locks of the pages that it reads in. So a command that takes pages out of the page cache
    /// must not depend on a waiting request: a read is held back only if devices map all of its pages, a write only if
    /// none of its pages is cached.
    ///
    /// - Parameters:
    ///   - buffer: the buffer.
    ///   - offset: the start of the range in bytes.
    ///   - length: the length of the range in bytes.
    ///   - isLocked: whether the kernel holds the locks of the pages meanwhile, as it does except for O_DIRECT.
    ///   - isWrite: whether the pages are stored to as a whole: then a write that may not wait continues.
    ///   - body: called if the request must wait. It runs on the thread of a device, at the place of the invalidation
    ///     in its queue, so that its reads and writes precede the commands behind it; or on the thread that moves the
    ///     pages, when they have arrived.
    public func recall(
        _ buffer: Buffer, at offset: UInt64, length: Int, isLocked: Bool = true, isWrite: Bool = false,
        _ body: @escaping @Sendable () -> Void
    ) -> Recall {
        let pages = offset >> Page.shift..<Page.count(of: offset + UInt64(max(0, length)))
        return buffer.state.withLock { state -> Recall in
            if let hold = state.hold, state.isMoving(pages) {
                hold.waiters.append(body)
                return .underWay
            }
            let found = state.holders(of: pages)
            guard found.mapped > 0 else { return .done }
            guard !isLocked || (isWrite ? found.cached == 0 : found.mapped == found.present) else { return .pagewise }
            let mmus = state.pages.contexts.filter { $0.maps(pages) }.map(\.mmu)
            let concerned = devices.filter { device in mmus.contains { $0 === device.mmu } }
            let countdown = Countdown(concerned.count, body)
            for device in concerned {
                device.queue.invalidate { [engine] in
                    engine.noteRecall(pages, of: buffer, from: device)
                    buffer.state.withLock { $0.pages.unmap(pages, from: device.mmu) }
                    countdown.step()
                }
            }
            return .underWay
        }
    }

    /// Queues commands for a device; they run in this order and after all earlier ones.
    ///
    /// - Parameters:
    ///   - commands: the commands, in order.
    ///   - device: the device.
    ///   - process: the calling thread: its policy and cpuset apply to pages that are touched first.
    /// - Returns: the numbers of the commands, which also identify their results.
    /// - Throws: ENODEV if the device is gone, EAGAIN if its queue has no room for all of them; then none is queued.
    @discardableResult
    public func submit(
        _ commands: [DeviceCommand], to device: Device, by process: Int32 = 0
    ) throws(Errno) -> Range<UInt64> {
        guard device.isPresent else { throw .operationNotSupportedByDevice }
        noteTask(process)
        let bodies = commands.map { command in
            // The machine lives until the queue is empty.
            CommandQueue.Command { sequence in
                self.engine.executeTraced(command, sequence, on: device, by: process)
            } completed: {
                self.events.announce(.commandCompleted(device: device.name))
            }
        }
        return try device.queue.submit(bodies)
    }
}
