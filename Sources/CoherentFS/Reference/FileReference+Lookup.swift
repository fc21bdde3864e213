extension FileReference {
    /// The entries that a path can mean, in the order of the tree; empty for a path that no mount has.
    ///
    /// The path may be a path of a mount, `sys/devices/system/node/node1/distance`, the end of one, `node1/distance`,
    /// or a name, `migrate`, which means every file of that name. Numbers and their placeholders are equivalent. Links
    /// are followed, except at the end. A name below the name of a buffer means one of its controls.
    public func entries(for path: String) -> [Entry] {
        let words = Self.words(of: path)
        let exact = entries(at: words)
        if !exact.isEmpty { return exact }
        var found: Set<String> = []
        if !words.isEmpty {
            // A path that begins at any directory; what it begins with must be a name of its own there.
            for directory in entries where directory.kind == .directory {
                let starts = children(of: directory.path).filter { $0.name == Placeholder.general(words[0]) }
                for start in starts { found.formUnion(match(words.dropFirst(), from: start, depth: 0).map(\.key)) }
            }
        }
        if found.isEmpty {
            // A path that begins outside the mount.
            for start in words.indices.dropFirst() {
                let inner = entries(at: Array(words[start...]))
                if inner.count > 0, !Placeholder.isFree(words[start]) { return inner }
            }
        }
        return entries.filter { found.contains($0.path) }
    }

    /// The entries of a path from the root of a mount.
    private func entries(at words: [String]) -> [Entry] {
        let exact = match(words, below: "")
        guard words.first == "buffers" else { return exact.entries }
        // buffers/a/migrate: rather a control of the buffer a than a buffer in a directory a.
        let controls = match(words, below: "sys/kernel/cdm")
        return controls.guesses < exact.guesses ? controls.entries : exact.entries
    }

    /// The entries of a path below another; those that need the fewest guesses about names of buffers, and how many.
    private func match(_ words: [String], below path: String) -> (entries: [Entry], guesses: Int) {
        guard let root = self[path] else { return ([], .max) }
        let found = match(words[...], from: root, depth: 0)
        guard let best = found.values.min() else { return ([], .max) }
        return (entries.filter { found[$0.path] == best }, best)
    }

    /// The completions of the beginning of a path: paths from the root of a mount up to the next name, and names that
    /// mean every file of that name.
    public func completions(of typed: String) -> [String] {
        func name(_ entry: Entry) -> String { entry.name + (entry.kind == .directory ? "/" : "") }
        let begin = typed.lastIndex(of: "/").map { typed.index(after: $0) } ?? typed.startIndex
        let (folder, word) = (typed[..<begin], typed[begin...])
        guard !folder.isEmpty else {
            let names = Set(entries.filter { $0.kind != .directory && !Placeholder.isFree($0.name) }.map(\.name))
            return (children(of: "").map(name) + names.sorted()).filter { $0.hasPrefix(word) }
        }
        var places = entries(for: String(folder))
        let words = Self.words(of: String(folder))
        if words.first == "buffers" { places += match(words, below: "sys/kernel/cdm").entries }
        let found = places.filter { $0.kind == .directory }.flatMap { children(of: $0.path) }
        return Set(found.map(name)).filter { $0.hasPrefix(word) }.sorted().map { folder + $0 }
    }

    /// The paths that words lead to from an entry, each with the number of names that were taken for a buffer's.
    private func match(_ words: ArraySlice<String>, from entry: Entry, depth: Int) -> [String: Int] {
        guard let word = words.first else { return [entry.path: 0] }
        // A link that leads to itself ends here.
        guard depth < 64 else { return [:] }
        if entry.kind == .link, let target = entry.target {
            let place = Self.words(of: Entry.parent(of: entry.path) + "/" + target)
            guard let end = self[place.joined(separator: "/")] else { return [:] }
            return match(words, from: end, depth: depth + 1)
        }
        var found: [String: Int] = [:]
        func add(_ paths: [String: Int], cost: Int) {
            found.merge(paths.mapValues { $0 + cost }, uniquingKeysWith: min)
        }
        let rest = words.dropFirst()
        for child in children(of: entry.path) {
            if child.name == Placeholder.general(word) {
                add(match(rest, from: child, depth: depth + 1), cost: 0)
            } else if Placeholder.isFree(child.name) {
                // A directory of buffers holds what the one that it stands in holds.
                let next = child.name == Placeholder.directory && !rest.isEmpty ? entry : child
                add(match(rest, from: next, depth: depth + 1), cost: 1)
            }
        }
        return found
    }

    /// The parts of a path, without `.`, and `..` taken back.
    private static func words(of path: String) -> [String] {
        path.split(separator: "/").reduce(into: []) { words, word in
            switch word {
            case ".": break
            case "..": _ = words.popLast()
            default: words.append(String(word))
            }
        }
    }
}
