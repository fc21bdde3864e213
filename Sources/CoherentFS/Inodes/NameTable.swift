import CoherentMemory
import Fuse

/// The names of a directory, each with what it stands for and a place in the listing, which it keeps while others come and go.
struct NameTable {
    private var places = PartedTable<FileName, UInt64>()
    private var children = IDTable<(name: FileName, child: Inode)>()
    private var next: UInt64 = 0
    /// How many of the children have controls.
    private(set) var controlledCount = 0

    var count: Int { children.count }

    var isEmpty: Bool { count == 0 }

    /// The place of the last name that came; names that come later are behind it.
    var lastPlace: UInt64 { max(next, 1) - 1 }

    subscript(name: FileName) -> Inode? { places[name].flatMap { children[$0]?.child } }

    /// Puts a child under a name, in the place of the one that it had, or behind all others.
    mutating func set(_ child: Inode, for name: FileName) {
        guard let place = places[name] else {
            insert(child, for: name, at: next)
            next += 1
            return
        }
        remove(name)
        insert(child, for: name, at: place)
    }

    private mutating func insert(_ child: Inode, for name: FileName, at place: UInt64) {
        places[name] = place
        children[place] = (name, child)
        if child.hasControls { controlledCount += 1 }
    }

    /// Takes a name out.
    mutating func remove(_ name: FileName) {
        guard let place = places.removeValue(forKey: name) else { return }
        if children.remove(place)?.child.hasControls == true { controlledCount -= 1 }
    }

    /// Gives a child another name, under which nothing may be. It keeps its place: a listing under way neither repeats nor
    /// skips it.
    mutating func rename(_ name: FileName, to newName: FileName) {
        guard let place = places[name], let child = children[place]?.child else { return }
        remove(name)
        insert(child, for: newName, at: place)
    }

    /// Up to `limit` names in places of a range, in their order.
    func list(_ range: ClosedRange<UInt64>, limit: Int = .max) -> [(place: UInt64, name: FileName, child: Inode)] {
        var result: [(place: UInt64, name: FileName, child: Inode)] = []
        var place = range.lowerBound
        while result.count < limit, let next = children.next(from: place), next.id <= range.upperBound {
            result.append((next.id, next.element.name, next.element.child))
            place = next.id + 1
        }
        return result
    }

    /// All names, in the order of their places.
    var all: [(name: FileName, child: Inode)] { children.elements }
}
