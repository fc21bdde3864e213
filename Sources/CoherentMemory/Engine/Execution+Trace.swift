import SystemPackage

extension Engine {
    /// Executes a command as ``execute(_:on:by:)`` does, and records its begin and end.
    func executeTraced(
        _ command: DeviceCommand, _ sequence: UInt64, on device: Device, by process: Int32
    ) -> (error: Errno?, value: UInt64) {
        let trace = memory.trace
        let range = command.ranges.first
        let (buffer, bytes) = (range?.buffer.id ?? 0, range?.bytes ?? 0..<0)
        if trace.isEnabled(.commandBegin) {
            var byte: UInt64 = 0
            if case .fill(_, let value) = command { byte = UInt64(value) }
            if case .copy(_, let target) = command {
                trace.record(
                    TraceEvent(
                        .commandBegin, detail: command.traceDetail, pid: process, buffer: target.buffer.id,
                        start: target.bytes.lowerBound, count: UInt64(target.bytes.count),
                        to: UInt16(device.node.id), flags: [.byDevice, .continues], value: sequence))
            }
            trace.record(
                TraceEvent(
                    .commandBegin, detail: command.traceDetail, pid: process, buffer: buffer,
                    start: bytes.lowerBound, count: UInt64(bytes.count), to: UInt16(device.node.id), flags: .byDevice,
                    value: sequence, other: byte))
        }
        let start = ContinuousClock.now
        let result = execute(command, on: device, by: process)
        if trace.isEnabled(.commandEnd) {
            trace.record(
                TraceEvent(
                    .commandEnd, detail: command.traceDetail, pid: process, buffer: buffer, start: result.value,
                    count: UInt64(result.error?.rawValue ?? 0), to: UInt16(device.node.id), flags: .byDevice,
                    value: sequence, other: (.now - start).traceNanoseconds))
        }
        return result
    }
}

extension DeviceCommand {
    /// The words of commands, in the order that recorded events have.
    public static let words = ["fill", "copy", "crc32", "read", "write", "exclusive", "fence"]

    fileprivate var traceDetail: UInt8 {
        switch self {
        case .fill: 0
        case .copy: 1
        case .crc32: 2
        case .read: 3
        case .write: 4
        case .exclusive: 5
        case .fence: 6
        }
    }
}
