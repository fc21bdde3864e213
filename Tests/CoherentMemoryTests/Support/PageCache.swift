import LinuxSupport
import Synchronization
import SystemPackage

@testable import CoherentMemory

/// The kernel's page cache over buffers, with its rules: a page is locked while it is read in and while it is written
/// back; invalidation waits for that lock, writes back what is dirty and drops the page; truncation drops it as it is.
final class PageCache: MappingInvalidator {
    private struct Slot {
        var bytes: [UInt8] = []
        var isDirty = false

        var isCached: Bool { !bytes.isEmpty }
    }

    private final class Mapping: Sendable {
        let buffer: Buffer
        private let slots: [Entry]

        private final class Entry: Sendable {
            let slot = Mutex(Slot())
        }

        init(_ buffer: Buffer, pages: Int) {
            self.buffer = buffer
            slots = (0..<pages).map { _ in Entry() }
        }

        func with<R: Sendable>(_ page: Int, _ body: (inout sending Slot) -> sending R) -> R {
            slots[page].slot.withLock(body)
        }

        var pages: Int { slots.count }
    }

    // The machine keeps its invalidator, not the other way round.
    private unowned let machine: Machine
    private let mappings: [UInt64: Mapping]

    init(_ machine: Machine, mapping buffers: [Buffer]) {
        self.machine = machine
        mappings = Dictionary(
            uniqueKeysWithValues: buffers.map { ($0.id, Mapping($0, pages: Int($0.size / 4096))) })
        machine.setInvalidator(self)
    }

    /// What a program does to a page of its mapping; nil where it gets SIGBUS. `body` says whether it stored.
    func touch<R: Sendable>(
        _ buffer: Buffer, page: Int, origin: Origin = onNode0, _ body: (inout [UInt8]) -> (R, stored: Bool)
    ) -> R? {
        let mapping = mappings[buffer.id]!
        return mapping.with(page) { slot in
            if !slot.isCached {
                // The read happens under the page's lock, as in filemap_fault().
                guard
                    let bytes = fetch(buffer, page: page, origin: origin), !bytes.isEmpty
                else { return nil }
                slot.bytes = bytes + [UInt8](repeating: 0, count: 4096 - bytes.count)
            }
            let (result, stored) = body(&slot.bytes)
            if stored { slot.isDirty = true }
            return result
        }
    }

    /// The answer to a READ, which waits where a device has the page.
    private func fetch(_ buffer: Buffer, page: Int, origin: Origin) -> [UInt8]? {
        let offset = UInt64(page) * 4096
        while true {
            let first = outcome { () throws(Errno) in
                try machine.bytes(of: buffer, at: offset, count: 4096, origin: origin)
            }
            guard first == .failure(.resourceTemporarilyUnavailable) else { return try? first.get() }
            let (turn, answer) = (Gate(), Box<Result<[UInt8], Errno>>(first))
            let recall = machine.recall(buffer, at: offset, length: 4096) { [machine] in
                // As the file system does: at its place in the device's queue.
                answer.value.withLock { value in
                    value = outcome { () throws(Errno) in
                        try machine.bytes(of: buffer, at: offset, count: 4096, origin: origin)
                    }
                }
                turn.open()
            }
            precondition(recall != .pagewise, "a page is not for other pages, too")
            if recall == .underWay { turn.wait() }
            let second = answer.value.withLock { $0 }
            if second != .failure(.resourceTemporarilyUnavailable) { return try? second.get() }
        }
    }

    /// Stores one value to every byte of a page; false where they were not all the same before, as in a page that lost a part of
    /// what was stored, and nil where the touch fails.
    func fill(_ buffer: Buffer, page: Int, with value: UInt8) -> Bool? {
        touch(buffer, page: page) { bytes in
            let isWhole = bytes.allSatisfy { $0 == bytes[0] }
            bytes = [UInt8](repeating: value, count: 4096)
            return (isWhole, true)
        }
    }

    /// fsync(2) and reclaim: writes a page back, and drops it or not.
    func writeBack(_ buffer: Buffer, page: Int, drops: Bool) {
        let mapping = mappings[buffer.id]!
        mapping.with(page) { slot in
            if slot.isDirty {
                slot.isDirty = false
                let stored = try? machine.store(slot.bytes, to: buffer, at: UInt64(page) * 4096, isGrowing: false)
                precondition(stored == 4096, "write-back of a page that has its frame failed")
            }
            if drops { slot.bytes = [] }
        }
    }

    /// Drops pages and what was stored to them (truncate_pagecache()).
    func truncate(_ buffer: Buffer, pages: Range<Int>) {
        for page in pages { mappings[buffer.id]!.with(page) { $0 = Slot() } }
    }

    func invalidate(_ buffer: Buffer, pages: Range<UInt64>) {
        guard let mapping = mappings[buffer.id] else { return }
        for page in pages.clamped(to: 0..<UInt64(mapping.pages)) { writeBack(buffer, page: Int(page), drops: true) }
    }
}

/// A value that threads share.
final class Box<Value: Sendable>: Sendable {
    let value: Mutex<Value>

    init(_ value: Value) { self.value = Mutex(value) }
}
