import CoherentMemory
import SystemPackage

/// Touches and frees of pages, and the buffers that have them.
extension Replay {
    /// The most pages of a touch.
    private static let touchLimit = 1 << 14

    func touch(_ event: TraceEvent) {
        var request = TouchRequest(of: event)
        guard !request.pages.isEmpty, request.pages.upperBound <= TraceEvent.pageLimit,
            request.pages.count <= Self.touchLimit
        else {
            return
        }
        let buffer = buffer(of: event, with: request.pages)
        let origin = origin(of: event)
        let isCached = !origin.isDevice && !buffer.isAnonymous && request.shortage != .whole
        let isRead = isCached && request.shortage == .all
        let pages = request.pages
        let place = next - 1
        defer { noteStores(at: place, to: buffer) }
        func touch() throws(Errno) {
            if isRead {
                try read(buffer, request.pages, origin, isTouch: true)
            } else {
                try machine.touch(buffer, request, origin: origin, isCached: isCached)
            }
        }
        do throws(Errno) {
            try touch()
        } catch {
            guard request.shortage == .all, pages.count > 1, event.kind != .touchRetried else { return }
            // The program asks for each page that it still wants. Which ones these were, the trace does not tell.
            for page in pages {
                request.pages = page..<page + 1
                counts.assumed += 1
                // A failure is the touch of a page for which there is no frame.
                try? touch()
            }
        }
    }

    func read(_ buffer: Buffer, _ pages: Range<UInt64>, _ origin: Origin, isTouch: Bool) throws(Errno) {
        let (offset, length) = (pages.lowerBound << Page.shift, pages.count << Int(Page.shift))
        for isFirst in [true, false] {
            do throws(Errno) {
                unsafe try machine.read(
                    buffer, at: offset, length: length, origin: origin, isTouch: isTouch
                ) { _ in }
                return
            } catch {
                guard isFirst, error == .resourceTemporarilyUnavailable else { throw error }
                // A device maps pages.
                _ = machine.recall(buffer, at: offset, length: length, isLocked: false) {}
                for device in machine.devices { _ = device.queue.waitUntilIdle(seconds: 600) }
            }
        }
    }

    func find(_ event: TraceEvent) {
        let pages = event.pageRange
        guard !pages.isEmpty, pages.count <= Self.touchLimit else { return }
        let buffer = buffer(of: event, with: pages)
        let place = next - 1
        attempt { () throws(Errno) in
            let isLook = event.detail == TraceEvent.Access.look.rawValue
            if event.flags.contains(.continues) || event.detail == TraceEvent.Access.store.rawValue {
                // What a read of it takes over a link was counted with the rest of the touch.
                try machine.touch(
                    buffer, TouchRequest(pages, .prefix), origin: origin(of: event), isCached: !isLook)
            } else {
                try read(buffer, pages, origin(of: event), isTouch: !isLook)
            }
        }
        noteStores(at: place, to: buffer)
    }

    /// Notes what is stored with the touch of an event.
    func noteStores(at place: Int, to buffer: Buffer) {
        for range in stores[place] { machine.noteContents(of: buffer, pages: range) }
    }

    func place(_ event: TraceEvent) {
        let pages = event.pageRange
        guard !pages.isEmpty, let node = node(event.to) else { return }
        counts.hasSameFrames = false
        let buffer = buffer(of: event, with: pages)
        machine.place(pages, of: buffer, on: node)
    }

    func free(_ event: TraceEvent) {
        guard event.detail == 0, let buffer = buffers[event.buffer] else { return }
        let pages = event.freedPages
        guard buffer.isAnonymous else { return machine.discard(buffer, pages: pages) }
        guard pages.upperBound <= Machine.addressLimit >> Page.shift else { return }
        let bytes = pages.lowerBound << Page.shift..<pages.upperBound << Page.shift
        if event.flags.contains(.policies) {
            machine.unmap(buffer, bytes: bytes)
            // The policies of a variant stay.
            if let policy { attempt { () throws(Errno) in try machine.setPolicy(policy, of: buffer) } }
        } else {
            machine.discard(buffer, bytes: bytes)
        }
    }

    func make(_ event: TraceEvent) {
        guard buffers[event.buffer] == nil else { return }
        if let device = device(event.to) {
            let isOwn = !buffers.values.contains { $0 === device.memory }
            add(isOwn ? device.memory : machine.makeMemory(of: device), as: event.buffer)
        } else {
            add(event.flags.contains(.anonymous) ? machine.makeAddressSpace() : machine.makeBuffer(), as: event.buffer)
        }
    }
}
