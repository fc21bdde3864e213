import CoherentMemory
import Dispatch
import LinuxSupport
import SystemPackage

/// Address spaces that come from one by forks, and share pages until one of them stores to them (struct anon_vma).
final class Family: Sendable {
    private struct Member {
        weak var space: AddressSpace?
    }

    private let members = Mutex<[Member]>([])

    func add(_ space: AddressSpace) {
        members.withLock { members in
            members.removeAll { $0.space == nil }
            members.append(Member(space: space))
        }
    }

    /// So many a space is compared with: what it shares with others is counted for each.
    private static let limit = 4

    /// Those that are older than a space, the oldest ones first.
    func elders(of space: AddressSpace) -> [AddressSpace] {
        let older = members.withLock { Array($0.compactMap(\.space).prefix { $0 !== space }) }
        return Array(older.lazy.filter { !$0.state.withLock { $0.isOver } }.prefix(Self.limit))
    }
}

/// Counts pages once that forked programs share.
///
/// A fork gives the child a frame for each page, for the kernel does not report which of them stores to a page later. Where a child lives for longer, its pages are
/// compared with those of its elders on the host now and then: it keeps no frames for those that are the same. Before a call asks for its
/// pages it gets all of them back.
final class ForkedPages: Sendable {
    private let world: any ProgramWorld
    private let queue = DispatchQueue(label: "cdmfs.forks", qos: .utility)
    /// After a fork, and between two comparisons at most, in milliseconds.
    private static let (shortest, longest) = (500, 60_000)

    init(_ world: any ProgramWorld) { self.world = world }

    /// Compares the pages of a space that a fork has made from now on, until it ends.
    func watch(_ space: AddressSpace, after milliseconds: Int = shortest) {
        queue.asyncAfter(deadline: .now() + .milliseconds(milliseconds)) { [weak self, weak space] in
            guard let self, let space, !space.state.withLock({ $0.isOver }) else { return }
            compare(space)
            watch(space, after: min(Self.longest, milliseconds * 2))
        }
    }

    /// Takes frames of pages away that a space shares, and gives frames to those that it does not share any more.
    private func compare(_ space: AddressSpace) {
        guard let own = space.pageMap() else { return }
        let areas = space.ownAreas(in: 0..<Machine.addressLimit)
        var shared = RangeSet<UInt64>()
        for elder in space.family.elders(of: space) {
            guard let other = elder.pageMap() else { continue }
            let common = areas.intersection(elder.ownAreas(in: 0..<Machine.addressLimit))
            for area in common.ranges {
                for range in own.shared(with: other, in: area).ranges {
                    space.state.withLock { $0.sharesPages = true }
                    // Without a frame and write-protected a page would be one of zeros.
                    for frames in world.machine.frames(of: space.memory, in: range).ranges {
                        space.setWatched(false, frames)
                    }
                    world.machine.share(space.memory, bytes: range, with: elder.memory)
                    shared.insert(contentsOf: range)
                }
            }
        }
        guard space.state.withLock({ $0.sharesPages }) else { return }
        let process = space.process() ?? 0
        let origin = Origin(pid: process, node: world.node(ofTask: process))
        for area in areas.ranges {
            var alone = own.writable(in: area)
            alone.subtract(shared)
            for range in alone.ranges {
                for page in stride(from: range.lowerBound, to: range.upperBound, by: Int(Page.size))
                where world.machine.nodeID(of: space.memory, at: page) == nil {
                    // It has been stored to, or the space that had its frame has ended.
                    _ = try? world.machine.touch(
                        space.memory, at: page, around: page..<page + Page.size, origin: origin)
                }
            }
        }
    }

    /// Gives a space frames for all of its pages again, where its elders' are. It may wait for as long as the space is locked.
    static func separate(_ space: AddressSpace, in range: Range<UInt64>, of machine: Machine) {
        let isMeant = space.state.withLock { state in
            guard state.sharesPages else { return false }
            // What is compared meanwhile says so again.
            if range.upperBound >= Machine.addressLimit, range.lowerBound == 0 { state.sharesPages = false }
            return true
        }
        guard isMeant, let own = space.pageMap() else { return }
        let elders = space.family.elders(of: space)
        for area in space.ownAreas(in: range).ranges {
            for pages in own.writable(in: area).ranges {
                for elder in elders { machine.copy(elder.memory, to: space.memory, bytes: pages) }
            }
        }
    }
}

extension AddressSpace {
    /// A process that has it; nil where none is known.
    func process() -> Int32? {
        if let known = state.withLock({ $0.process }) { return known }
        if let guess = state.withLock({ $0.guess }), Mark(of: guess) == mark { return guess }
        // A fork has made it, and it has made no call: it is a child of an elder.
        let parents = Set(family.elders(of: self).compactMap { $0.state.withLock { $0.process ?? $0.guess } })
        let found = ProcFile.processes.first { process in
            guard let stat = ProcStat(task: process), parents.contains(stat.parent) else { return false }
            return Mark(of: process) == mark
        }
        state.withLock { $0.guess = found }
        return found
    }

    /// Its page map; nil where no process of it is known.
    func pageMap() -> PageMap? {
        if let known = state.withLock({ $0.pageMap }) { return known }
        guard let process = process(), let map = PageMap(of: process, mark: mark) else { return nil }
        return state.withLock { state in
            if state.pageMap == nil { state.pageMap = map }
            return state.pageMap
        }
    }
}
