import CoherentMemory
import Fuse

/// The names of a directory, each with what it stands for and a place in the listing, which it keeps while others come and go.
struct NameTable<Child> {
    // Where a name is. In parts, for all others wait while a hash table grows.
    private var places: [[FileName: UInt64]] = [[:]]
    private var children = IDTable<(name: FileName, child: Child)>()
    private var next: UInt64 = 0

    private static var parts: Int { 64 }
    /// How many names a directory has at least whose table is in parts.
    private static var manyNames: Int { 4096 }

    var isEmpty: Bool { children.count == 0 }

    /// The place of the last name that came; names that come later are behind it.
    var lastPlace: UInt64 { max(next, 1) - 1 }

    subscript(name: FileName) -> Child? { place(of: name).flatMap { children[$0]?.child } }

    private func place(of name: FileName) -> UInt64? { places[part(of: name)][name] }

    private func part(of name: FileName) -> Int {
        // Other bits than those by which the tables sort.
        places.count == 1 ? 0 : Int(truncatingIfNeeded: UInt(bitPattern: name.hashValue) >> 48) % Self.parts
    }

    /// Puts a child under a name, in the place of the one that it had, or behind all others.
    mutating func set(_ child: Child, for name: FileName) {
        if let place = place(of: name) {
            children[place] = (name, child)
            return
        }
        insert(child, for: name, at: next)
        next += 1
    }

    private mutating func insert(_ child: Child, for name: FileName, at place: UInt64) {
        if places.count == 1, children.count >= Self.manyNames { split() }
        places[part(of: name)][name] = place
        children[place] = (name, child)
    }

    private mutating func split() {
        let all = places[0]
        places = Array(repeating: [:], count: Self.parts)
        for (name, place) in all { places[part(of: name)][name] = place }
    }

    /// Takes a name out.
    mutating func remove(_ name: FileName) {
        let part = part(of: name)
        guard let place = places[part].removeValue(forKey: name) else { return }
        children.remove(place)
        // A hash table does not shrink by itself.
        let names = places[part]
        if names.capacity > 64, names.count < names.capacity / 8 { places[part] = names.filter { _ in true } }
    }

    /// Gives a child another name, under which nothing may be. It keeps its place: a listing under way neither repeats nor
    /// skips it.
    mutating func rename(_ name: FileName, to newName: FileName) {
        guard let place = place(of: name), let child = children[place]?.child else { return }
        remove(name)
        insert(child, for: newName, at: place)
    }

    /// Up to `limit` names in places of a range, in their order.
    func list(_ range: ClosedRange<UInt64>, limit: Int = .max) -> [(place: UInt64, name: FileName, child: Child)] {
        var result: [(place: UInt64, name: FileName, child: Child)] = []
        var place = range.lowerBound
        while result.count < limit, let next = children.next(from: place), next.id <= range.upperBound {
            result.append((next.id, next.element.name, next.element.child))
            place = next.id + 1
        }
        return result
    }

    /// All names, in the order of their places.
    var all: [(name: FileName, child: Child)] { children.elements }
}
