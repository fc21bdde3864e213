import CoherentMemory

/// Records as bytes that are few and repeat themselves: numbers of seven bits a byte, most of them differences to the record
/// before. A block begins anew.
struct PackedTrace {
    private var last = TraceEvent(.touchPlaced)

    // MARK: Writing

    mutating func append(_ record: TraceRecord, to bytes: inout [UInt8]) {
        switch record {
        case .lost(let count):
            bytes.append(UInt8(RawTrace.lostKind))
            Self.append(count, to: &bytes)
        case .name(let buffer, let text):
            bytes.append(UInt8(RawTrace.nameKind))
            Self.append(buffer, to: &bytes)
            Self.append(UInt64(text.utf8.count), to: &bytes)
            bytes += text.utf8
        case .event(let event):
            bytes += [event.kind.rawValue, event.detail]
            Self.append(difference: event.time, last.time, to: &bytes)
            Self.append(difference: event.buffer, last.buffer, to: &bytes)
            // Pages that follow each other are the usual case.
            Self.append(difference: event.start, last.start &+ last.count, to: &bytes)
            Self.append(difference: event.count, last.count, to: &bytes)
            Self.append(
                difference: UInt64(UInt32(bitPattern: event.pid)), UInt64(UInt32(bitPattern: last.pid)), to: &bytes)
            for (value, before) in [
                (event.cpu, last.cpu), (event.from, last.from), (event.to, last.to), (event.local, last.local),
                (event.flags.rawValue, last.flags.rawValue),
            ] {
                Self.append(difference: UInt64(value), UInt64(before), to: &bytes)
            }
            Self.append(event.value, to: &bytes)
            Self.append(event.other, to: &bytes)
            last = event
        }
    }

    private static func append(_ value: UInt64, to bytes: inout [UInt8]) {
        var value = value
        while value >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: value) | 0x80)
            value >>= 7
        }
        bytes.append(UInt8(value))
    }

    /// A difference that wraps around, small ones of both signs in few bytes.
    private static func append(difference value: UInt64, _ before: UInt64, to bytes: inout [UInt8]) {
        let difference = Int64(bitPattern: value &- before)
        append(UInt64(bitPattern: difference << 1 ^ difference >> 63), to: &bytes)
    }

    // MARK: Reading

    mutating func next(_ bytes: inout ArraySlice<UInt8>) throws(TraceFileError) -> TraceRecord? {
        guard let kind = bytes.popFirst() else { return nil }
        switch UInt64(kind) {
        case RawTrace.lostKind: return .lost(try Self.number(&bytes))
        case RawTrace.nameKind:
            let buffer = try Self.number(&bytes)
            let length = try Self.number(&bytes)
            guard length <= UInt64(bytes.count) else { throw .malformed }
            let text = bytes.prefix(Int(length))
            bytes = bytes.dropFirst(Int(length))
            return .name(buffer: buffer, String(decoding: text, as: UTF8.self))
        default:
            guard let kind = TraceEvent.Kind(rawValue: kind), let detail = bytes.popFirst() else { throw .malformed }
            var event = TraceEvent(kind, detail: detail)
            event.time = try Self.number(&bytes, after: last.time)
            event.buffer = try Self.number(&bytes, after: last.buffer)
            event.start = try Self.number(&bytes, after: last.start &+ last.count)
            event.count = try Self.number(&bytes, after: last.count)
            event.pid = Int32(
                truncatingIfNeeded: try Self.number(&bytes, after: UInt64(UInt32(bitPattern: last.pid))))
            event.cpu = UInt16(truncatingIfNeeded: try Self.number(&bytes, after: UInt64(last.cpu)))
            event.from = UInt16(truncatingIfNeeded: try Self.number(&bytes, after: UInt64(last.from)))
            event.to = UInt16(truncatingIfNeeded: try Self.number(&bytes, after: UInt64(last.to)))
            event.local = UInt16(truncatingIfNeeded: try Self.number(&bytes, after: UInt64(last.local)))
            event.flags = TraceEvent.Flags(
                rawValue: UInt16(truncatingIfNeeded: try Self.number(&bytes, after: UInt64(last.flags.rawValue))))
            event.value = try Self.number(&bytes)
            event.other = try Self.number(&bytes)
            last = event
            return .event(event)
        }
    }

    private static func number(_ bytes: inout ArraySlice<UInt8>) throws(TraceFileError) -> UInt64 {
        var value: UInt64 = 0
        for shift in stride(from: 0 as UInt64, to: 70, by: 7) {
            guard let byte = bytes.popFirst() else { throw .malformed }
            value |= UInt64(byte & 0x7f) << shift
            if byte < 0x80 { return value }
        }
        throw .malformed
    }

    private static func number(
        _ bytes: inout ArraySlice<UInt8>, after before: UInt64
    ) throws(TraceFileError) -> UInt64 {
        let word = try number(&bytes)
        return before &+ (word >> 1 ^ (0 &- (word & 1)))
    }
}
