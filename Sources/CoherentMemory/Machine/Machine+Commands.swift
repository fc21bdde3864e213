import LinuxSupport
import SystemPackage

/// What a request is to do that found pages with a device, or on their way over a link.
public enum Recall: Sendable, Hashable {
    /// The device has let go of them meanwhile, or they have arrived.
    case done
    /// The request is to wait; it is told when the devices have let go, or the pages have arrived.
    case underWay
    /// The request must not wait, for it is for other pages, too. The kernel asks for each page by itself.
    case pagewise
}

extension Machine {
    /// Asks devices to let go of pages that the CPU has touched. The invalidations wait their turn in the queues of the
    /// devices, and until then nobody uses the pages. Pages that are on their way over a link are waited for first.
    ///
    /// The kernel holds the locks of the pages that it reads in. So whoever waits here must not be waited for by a command
    /// that takes pages out of the page cache: a read is held back only where devices map all of its pages, a write where
    /// none of them is cached.
    ///
    /// - Parameters:
    ///   - isLocked: whether the kernel holds the locks of the pages meanwhile, as it does but for O_DIRECT.
    ///   - isWrite: whether the pages are to be stored to as a whole: then a write that may not wait goes ahead.
    ///   - body: called if the request is to wait, on the thread of a device, at the place of the invalidation in its queue:
    ///     what is read or written there comes before the commands behind it. Or on that of whoever moves the pages, when
    ///     they have arrived.
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

    /// Has a device execute commands, in this order and after all that it was given before.
    ///
    /// - Parameter process: the thread that asks: its policy and cpuset count where a page is touched first.
    /// - Returns: the numbers of the commands, by which their results are found.
    /// - Throws: ENODEV when the device is gone, EAGAIN where its queue has no room for all of them; then none is taken.
    @discardableResult
    public func submit(
        _ commands: [DeviceCommand], to device: Device, by process: Int32 = 0
    ) throws(Errno) -> Range<UInt64> {
        guard device.isPresent else { throw .operationNotSupportedByDevice }
        noteTask(process)
        let bodies = commands.map { command in
            // The machine lives until the queue is empty.
            CommandQueue.Command {
                self.engine.execute(command, on: device, by: process)
            } completed: {
                self.events.announce(.commandCompleted(device: device.name))
            }
        }
        return try device.queue.submit(bodies)
    }
}
