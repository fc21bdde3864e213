import MachineTopology
import SystemPackage

@testable import CoherentMemory

extension Walk {
    /// The address of a page that somebody has, or any.
    private mutating func anyAddress() -> UInt64 {
        let runs = machine.runs(of: buffers.randomElement(using: &random)!)
        if let run = runs.randomElement(using: &random), !random.oneIn(4) {
            return run.physicalAddress + UInt64.random(in: 0..<run.length / 4096, using: &random) * 4096
        }
        return UInt64.random(in: 0...(model.windows.last!.upperBound + 1) * machine.topology.blockSize, using: &random)
            & ~4095
    }

    /// Who has a frame.
    private func owner(of address: UInt64) -> (buffer: UInt64, page: UInt64)? {
        for buffer in buffers {
            for run in machine.runs(of: buffer) where !run.isPoisoned && !run.isLost {
                guard (run.physicalAddress..<run.physicalAddress + run.length).contains(address) else { continue }
                return (buffer.id, (run.offset + address - run.physicalAddress) / 4096)
            }
        }
        return nil
    }

    mutating func poison() throws {
        let address = anyAddress()
        let owner = owner(of: address)
        note("poison \(address), \(owner.map { "page \($0.page) of \($0.buffer)" } ?? "free")")
        let real = outcome { () throws(Errno) in try machine.poison(address: address + 17) }
        try expect(real, model.poison(address, owner: owner), "poison")
        try compareFailures()
    }

    /// Poisons a page by its place in a buffer, after a touch where it has none.
    ///
    /// - Returns: the nodes that must count a refusal.
    mutating func poison(_ buffer: Buffer) throws -> Set<Int> {
        let page = UInt64.random(in: 0..<max(1, min(600, buffer.size / 4096)), using: &random)
        note("poison page \(page) of \(buffer.id)")
        let bytes = page * 4096..<page * 4096 + 4096
        guard page * 4096 < buffer.size else {
            let real = failure { () throws(Errno) in try machine.poison(buffer, bytes: bytes, origin: onNode0) }
            try expect(real, .invalidArgument, "poison behind the end")
            return []
        }
        // The touch, as the model knows it, tells the frame.
        let touch = model.read(buffer.id, page: page, origin: 0)
        _ = outcome { () throws(Errno) in try machine.bytes(of: buffer, at: page * 4096, count: 1) }
        let address = machine.runs(of: buffer).first { run in
            (run.offset..<run.offset + run.length).contains(page * 4096) && !run.isPoisoned
        }.map { $0.physicalAddress + page * 4096 - $0.offset }
        let real = outcome { () throws(Errno) in try machine.poison(buffer, bytes: bytes, origin: onNode0) }
        switch touch.bytes {
        case .success:
            try expect(real, .success(()), "poison")
            try expect(model.poison(address!, owner: (buffer.id, page)), .success(()), "poison of the model")
        case .failure(.ioError): try expect(real, .success(()), "poison of what is poisoned")
        case .failure(let error): try expect(real, .failure(error), "poison of what has no room")
        }
        try compareFailures()
        return touch.refused
    }

    mutating func softOffline() throws {
        let address = anyAddress()
        let owner = owner(of: address)
        note("soft offline \(address), \(owner.map { "page \($0.page) of \($0.buffer)" } ?? "free")")
        let real = outcome { () throws(Errno) in try machine.softOffline(address: address) }
        try expect(real, model.softOffline(address, owner: owner), "soft offline")
        try compareFailures()
    }

    mutating func clear() throws {
        let address = model.failed.keys.sorted().randomElement(using: &random) ?? anyAddress()
        note("clear \(address)")
        let real = outcome { () throws(Errno) in try machine.clearFailure(address: address) }
        try expect(real, model.clear(address), "clear")
        try compareFailures()
    }

    private func compareFailures() throws {
        let real = machine.nodes.flatMap { node in
            machine.failedRanges(of: node).flatMap { range in
                stride(from: range.physicalAddress, to: range.physicalAddress + range.length, by: 4096)
            }
        }
        try expect(Set(real), Set(model.failed.keys), "frames that failed")
    }
}
