import SystemPackage

extension Failures {
    /// See ``Machine/injectPoison(_:of:reason:isCancelled:)``.
    func injectPoison(
        _ address: UInt64, of device: Device, reason: FailureReason = .injected, isCancelled: () -> Bool = { false }
    ) throws(Errno) {
        let address = try device.node.span.physicalAddress(address)
        guard device.isPresent else { throw .operationNotSupportedByDevice }
        do throws(Errno) {
            try poison(address: address, reason: reason, isCancelled: isCancelled)
        } catch .hardwarePoisoned {
            // It is what was asked for.
        }
        device.errors.countUncorrectable()
    }

    /// See ``Machine/injectCorrectable(_:at:of:isCancelled:)``.
    func injectCorrectable(
        _ count: UInt64, at address: UInt64? = nil, of device: Device, isCancelled: () -> Bool = { false }
    ) throws(Errno) {
        let pages = device.node.span.base.count
        guard let address else {
            for _ in 0..<count {
                if isCancelled() { throw .interrupted }
                let page = device.errors.anyPage(of: pages)
                correct(1, UInt64(page) << Page.shift, of: device, isCancelled: isCancelled)
            }
            return
        }
        _ = try device.node.span.physicalAddress(address)
        correct(count, address, of: device, isCancelled: isCancelled)
    }

    private func correct(_ count: UInt64, _ address: UInt64, of device: Device, isCancelled: () -> Bool) {
        guard let physical = try? device.node.span.physicalAddress(address) else { return }
        var event = PageFailure(kind: .correctable, physical >> Page.shift, device.node)
        event.count = count
        events.announce(.pageFailed(event))
        guard device.errors.correct(count, page: Int(address >> Page.shift)) else { return }
        // Pinned memory stays, as with rasdaemon; the next threshold tries again.
        try? softOffline(address: physical, isCancelled: isCancelled)
    }

    /// See ``Machine/runErrorModel(of:isCancelled:)``.
    func runErrorModel(of device: Device, isCancelled: () -> Bool) {
        let errors = device.errors
        while !errors.end(isCancelled()) {
            let next = errors.next(of: device.node.span.base.count)
            let moment = ContinuousClock.now + next.delay
            let rates = errors.rates
            let seed = errors.seed
            while ContinuousClock.now < moment, !isCancelled(), errors.rates == rates, errors.seed == seed {
                errors.changed.sleep(until: moment)
            }
            guard errors.rates == rates, errors.seed == seed, !isCancelled(), device.isPresent else {
                // Nothing errs while it is away.
                if !device.isPresent { errors.changed.sleep(until: .now + .seconds(1)) }
                continue
            }
            let address = UInt64(next.page) << Page.shift
            if next.isCorrectable {
                correct(1, address, of: device, isCancelled: isCancelled)
            } else {
                try? injectPoison(address, of: device, reason: .internal, isCancelled: isCancelled)
            }
        }
    }

    /// See ``Machine/injectLinkErrors(_:of:)``.
    func injectLinkErrors(_ count: UInt64, of device: Device) throws(Errno) {
        guard (1...1000).contains(count) else { throw .outOfRange }
        guard device.isPresent else { throw .operationNotSupportedByDevice }
        device.errors.countLinkErrors(count)
        memory.trace.noteStall(of: device, errors: count, nanoseconds: device.condition.stall(count))
        events.announce(.linkErrors(name: device.name, count: count))
    }
}
