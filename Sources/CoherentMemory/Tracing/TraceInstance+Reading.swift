import LinuxSupport
import Synchronization

extension TraceInstance {
    /// A position in the trace, of one reader.
    public struct Cursor: Sendable {
        /// The ticket of the next event to copy, by stripe.
        fileprivate var next: [UInt64]
        /// The dropped events that the reader knows of, by stripe.
        fileprivate var dropped: [UInt64]
        /// Events lost and not told yet, by stripe.
        fileprivate var lost: [UInt64]
        /// Events copied and not taken yet, by stripe, the next one last.
        fileprivate var copied: [[TraceEvent]]
        fileprivate var copiedCount = 0
    }

    /// What a reader finds at its position.
    public enum Item: Sendable, Hashable {
        /// An event.
        case event(TraceEvent)
        /// Events that were overwritten before the reader had them, or that found no room; those of one stripe.
        case lost(stripe: Int, count: UInt64)
    }

    /// How many events of a stripe a reader copies at once.
    private static let copyLimit = 64

    /// A position behind all that any reader has had, so that the first reader begins with the oldest event.
    public func makeCursor() -> Cursor {
        settings.withLock { settings in
            Cursor(
                next: settings.delivered, dropped: settings.reported,
                lost: [UInt64](repeating: 0, count: stripeCount),
                copied: [[TraceEvent]](repeating: [], count: stripeCount))
        }
    }

    /// Whether there is anything at a position.
    public func hasItem(at cursor: borrowing Cursor) -> Bool {
        if cursor.copiedCount > 0 { return true }
        for index in 0..<stripeCount {
            if cursor.lost[index] > 0 { return true }
            if unsafe stripes[index].head.load(ordering: .sequentiallyConsistent) > cursor.next[index] { return true }
            if unsafe stripes[index].dropped.load(ordering: .sequentiallyConsistent) > cursor.dropped[index] {
                return true
            }
        }
        return false
    }

    /// Takes what is at a position, as long as `body` wants it, and moves the position on. Events are in the order of their
    /// times, as far as they had been recorded when the reader copied them.
    ///
    /// - Parameters:
    ///   - cursor: the position.
    ///   - body: false to leave what it got for the next call.
    public func read(_ cursor: inout Cursor, _ body: (Item) -> Bool) {
        while true {
            copy(into: &cursor)
            for index in 0..<stripeCount where cursor.lost[index] > 0 {
                guard body(.lost(stripe: index, count: cursor.lost[index])) else { return }
                cursor.lost[index] = 0
            }
            guard let first = earliest(of: cursor) else { return }
            // Nothing is copied anew while a stripe has events left, so that one walk serves for many.
            var index = first
            repeat {
                guard let event = cursor.copied[index].last, body(.event(event)) else { return }
                cursor.copied[index].removeLast()
                cursor.copiedCount -= 1
                if cursor.copied[index].isEmpty { break }
                guard let next = earliest(of: cursor) else { break }
                index = next
            } while true
        }
    }

    /// The stripe with the earliest event.
    private func earliest(of cursor: borrowing Cursor) -> Int? {
        var found: (index: Int, time: UInt64)?
        for index in 0..<stripeCount {
            guard let event = cursor.copied[index].last else { continue }
            if found == nil || event.time < found!.time { found = (index, event.time) }
        }
        return found?.index
    }

    /// Copies events of stripes of which the reader has none left.
    private func copy(into cursor: inout Cursor) {
        settings.withLock { settings in
            for index in 0..<stripeCount where cursor.copied[index].isEmpty {
                copy(stripe: index, settings, into: &cursor)
                settings.delivered[index] = max(settings.delivered[index], cursor.next[index])
                settings.reported[index] = max(settings.reported[index], cursor.dropped[index])
            }
        }
    }

    private func copy(stripe index: Int, _ settings: borrowing Settings, into cursor: inout Cursor) {
        let dropped = unsafe stripes[index].dropped.load(ordering: .sequentiallyConsistent)
        cursor.lost[index] += dropped - cursor.dropped[index]
        cursor.dropped[index] = dropped
        guard !settings.current.isEmpty else { return }
        var events: [TraceEvent] = []
        func skip(to ticket: UInt64) {
            guard ticket > cursor.next[index] else { return }
            cursor.lost[index] += ticket - cursor.next[index]
            cursor.next[index] = ticket
        }
        let current = settings.current[index]
        if cursor.next[index] < current.base {
            if let (ring, end) = settings.previous.isEmpty ? nil : settings.previous[index] {
                // No thread records to it any more.
                skip(to: max(ring.base, end - min(end, UInt64(ring.capacity))))
                while cursor.next[index] < end, events.count < Self.copyLimit {
                    if let event = TraceEvent(words: ring.words(of: cursor.next[index])) { events.append(event) }
                    cursor.next[index] += 1
                }
            } else {
                skip(to: current.base)
            }
        }
        if cursor.next[index] >= current.base {
            // The one place that may be written to just now has an event that is as good as gone.
            func oldest(at head: UInt64) -> UInt64 {
                head >= UInt64(current.capacity) ? head - UInt64(current.capacity) + 1 : 0
            }
            let head = unsafe stripes[index].head.load(ordering: .sequentiallyConsistent)
            while true {
                skip(to: max(current.base, oldest(at: head)))
                guard cursor.next[index] < head, events.count < Self.copyLimit else { break }
                let words = current.words(of: cursor.next[index])
                atomicMemoryFence(ordering: .acquiring)
                let now = unsafe stripes[index].head.load(ordering: .relaxed)
                if cursor.next[index] < oldest(at: now) {
                    // The next call finds it, and tells it behind these.
                    if !events.isEmpty { break }
                    skip(to: oldest(at: now))
                    // What has come since waits for the next call, so that a flood does not hold the reader here.
                    if cursor.next[index] >= head { break }
                    continue
                }
                if let event = TraceEvent(words: words) { events.append(event) }
                cursor.next[index] += 1
            }
        }
        cursor.copiedCount += events.count
        events.reverse()
        cursor.copied[index] = events
    }
}
