/// A hash table for as many keys as may come: no step takes long because there are many, and it shrinks when they go.
///
/// A dictionary of a million keys stops all threads while it grows, and keeps the room that it once had.
struct PartedTable<Key: Hashable, Value> {
    private var parts: [[Key: Value]] = [[:]]
    /// How many keys there are.
    private(set) var count = 0

    private static var manyParts: Int { 64 }
    /// How many keys a table has at least that is in parts.
    private static var manyKeys: Int { 4096 }

    var isEmpty: Bool { count == 0 }

    private func part(of key: Key) -> Int {
        // Other bits than those by which the dictionaries sort.
        parts.count == 1 ? 0 : Int(truncatingIfNeeded: UInt(bitPattern: key.hashValue) >> 48) % Self.manyParts
    }

    /// The value of a key; nil takes the key out.
    subscript(key: Key) -> Value? {
        get { parts[part(of: key)][key] }
        set {
            guard let newValue else {
                removeValue(forKey: key)
                return
            }
            if parts.count == 1, count >= Self.manyKeys { split() }
            if parts[part(of: key)].updateValue(newValue, forKey: key) == nil { count += 1 }
        }
    }

    private mutating func split() {
        let all = parts[0]
        parts = Array(repeating: [:], count: Self.manyParts)
        for (key, value) in all { parts[part(of: key)][key] = value }
    }

    /// Takes a key out, and returns its value.
    @discardableResult
    mutating func removeValue(forKey key: Key) -> Value? {
        let part = part(of: key)
        guard let value = parts[part].removeValue(forKey: key) else { return nil }
        count -= 1
        // A dictionary does not shrink by itself.
        let rest = parts[part]
        if rest.capacity > 64, rest.count < rest.capacity / 8 { parts[part] = rest.filter { _ in true } }
        return value
    }

    /// The keys and values that a test says yes to.
    func filter(_ isIncluded: (Value) -> Bool) -> [(key: Key, value: Value)] {
        parts.flatMap { part in part.filter { isIncluded($0.value) }.map { ($0.key, $0.value) } }
    }
}
