import SystemPackage

@testable import CoherentMemory

extension Model {
    /// The pages that a byte range reaches into.
    static func pages(of bytes: Range<UInt64>) -> Range<UInt64> {
        bytes.isEmpty ? 0..<0 : bytes.lowerBound / 4096..<(bytes.upperBound - 1) / 4096 + 1
    }

    /// Calls `body` with each page of a byte range, where its part begins in the range, and the part within the page.
    private static func forEachPart(of bytes: Range<UInt64>, _ body: (UInt64, Int, Range<Int>) -> Void) {
        for page in pages(of: bytes) {
            let start = max(bytes.lowerBound, page * 4096)
            let end = min(bytes.upperBound, page * 4096 + 4096)
            body(page, Int(start - bytes.lowerBound), Int(start % 4096)..<Int(start % 4096) + Int(end - start))
        }
    }

    /// Reads as a program does that faults page by page.
    mutating func read(
        _ id: UInt64, page: UInt64, origin: Int
    ) -> (bytes: Result<[UInt8], Errno>, refused: Set<Int>) {
        let touch = touch(page: page, of: id, origin: origin)
        guard touch.isThere, let content = buffers[id]!.pages[page] else { return (.failure(.noMemory), touch.refused) }
        return (content.failedAt == nil ? .success(content.bytes) : .failure(.ioError), touch.refused)
    }

    mutating func write(
        _ id: UInt64, _ data: [UInt8], at offset: UInt64, origin: Int, isGrowing: Bool
    ) -> (result: Result<Int, Errno>, refused: Set<Int>) {
        let (end, overflow) = offset.addingReportingOverflow(UInt64(data.count))
        guard !overflow, end <= UInt64(Int64.max) else { return (.failure(.fileTooLarge), []) }
        let buffer = buffers[id]!
        var stop = end
        if isGrowing, buffer.isFixed {
            if !data.isEmpty, offset >= buffer.size { return (.failure(.noSpace), []) }
            stop = min(stop, max(offset, buffer.size))
        } else if !isGrowing {
            // A write-back of what was truncated meanwhile is nobody's concern.
            stop = min(stop, max(offset, buffer.size))
        }
        let answer = isGrowing ? stop - offset : UInt64(data.count)
        var refused: Set<Int> = []
        var written: UInt64 = 0
        let bad = Self.pages(of: offset..<stop).first { buffers[id]!.pages[$0]?.failedAt != nil }
        if isGrowing, let bad {
            guard bad * 4096 > offset else { return (.failure(.ioError), []) }
            stop = bad * 4096
            written = stop - offset
        }
        for page in Self.pages(of: offset..<stop) {
            let touch = touch(page: page, of: id, origin: origin)
            refused.formUnion(touch.refused)
            guard touch.isThere else {
                stop = max(offset, page * 4096)
                if stop == offset { return (.failure(.noSpace), refused) }
                written = stop - offset
                break
            }
        }
        Self.forEachPart(of: offset..<stop) { page, start, part in
            if buffers[id]!.pages[page]!.failedAt != nil { return }
            buffers[id]!.pages[page]!.bytes.replaceSubrange(part, with: data[start..<start + part.count])
            buffers[id]!.pages[page]!.isWritten = true
        }
        if isGrowing, !buffer.isFixed, stop > offset { buffers[id]!.size = max(buffer.size, stop) }
        return (.success(Int(written > 0 ? written : answer)), refused)
    }

    mutating func resize(_ id: UInt64, to size: UInt64) -> Result<Void, Errno> {
        guard size <= UInt64(Int64.max) else { return .failure(.fileTooLarge) }
        if buffers[id]!.isFixed { return size == buffers[id]!.size ? .success(()) : .failure(.invalidArgument) }
        if size < buffers[id]!.size { punch(id, size..<UInt64(1) << 63) }
        buffers[id]!.size = size
        return .success(())
    }

    mutating func punch(_ id: UInt64, _ bytes: Range<UInt64>) {
        for page in Array(buffers[id]!.pages.keys) {
            let part = bytes.clamped(to: page * 4096..<page * 4096 + 4096)
            if part.count == 4096 {
                free(page: page, of: id)
            } else if !part.isEmpty {
                let start = Int(part.lowerBound % 4096)
                buffers[id]!.pages[page]!.bytes.replaceSubrange(
                    start..<start + part.count, with: repeatElement(0, count: part.count))
            }
        }
    }

    mutating func allocate(
        _ id: UInt64, _ bytes: Range<UInt64>, keepsSize: Bool, origin: Int
    ) -> (result: Result<Void, Errno>, refused: Set<Int>) {
        guard !bytes.isEmpty else { return (.failure(.invalidArgument), []) }
        guard bytes.upperBound <= UInt64(Int64.max) else { return (.failure(.fileTooLarge), []) }
        if buffers[id]!.isFixed, bytes.upperBound > buffers[id]!.size { return (.failure(.noSpace), []) }
        var refused: Set<Int> = []
        var fresh: [UInt64] = []
        for page in Self.pages(of: bytes) {
            if buffers[id]!.pages[page] == nil { fresh.append(page) }
            let touch = touch(page: page, of: id, origin: origin)
            refused.formUnion(touch.refused)
            guard touch.isThere else {
                for page in fresh { free(page: page, of: id) }
                return (.failure(.noSpace), refused)
            }
        }
        if !keepsSize, !buffers[id]!.isFixed { buffers[id]!.size = max(buffers[id]!.size, bytes.upperBound) }
        return (.success(()), refused)
    }

    func nextData(_ id: UInt64, from offset: UInt64) -> UInt64? {
        let buffer = buffers[id]!
        let page = buffer.pages.keys.filter { $0 >= offset / 4096 }.min()
        guard let page, offset < buffer.size else { return nil }
        let found = max(offset, page * 4096)
        return found < buffer.size ? found : nil
    }

    func nextHole(_ id: UInt64, from offset: UInt64) -> UInt64? {
        let buffer = buffers[id]!
        guard offset < buffer.size else { return nil }
        var page = offset / 4096
        while buffer.pages[page] != nil { page += 1 }
        return min(buffer.size, max(offset, page * 4096))
    }

    mutating func remove(_ id: UInt64) {
        for page in Array(buffers[id]!.pages.keys) { free(page: page, of: id) }
        buffers[id] = nil
    }
}
