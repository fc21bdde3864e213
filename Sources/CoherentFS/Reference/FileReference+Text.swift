extension FileReference {
    /// The text that `cdmfs help` prints of some entries. Entries that differ in their path alone share one text.
    public func text(of entries: [Entry]) -> String {
        var order: [String] = []
        var places: [String: [Entry]] = [:]
        for entry in entries {
            let body = body(of: entry)
            if places[body] == nil { order.append(body) }
            places[body, default: []].append(entry)
        }
        return order.map { body in
            places[body]!.map { ($0.path.isEmpty ? "." : $0.path) + "\n" }.joined() + body
        }.joined(separator: "\n")
    }

    /// A line for each entry: mode, path and summary.
    public func list(_ entries: [Entry], relativeTo path: String = "") -> String {
        let names = entries.map { $0.path.dropFirst(path.isEmpty ? 0 : path.utf8.count + 1) }
        let width = min(64, names.map(\.utf8.count).max() ?? 0)
        return zip(entries, names).map { entry, name in
            "\(entry.mode) \(padded(name, to: width + 2))\(entry.summary)\n"
        }.joined()
    }

    private func body(of entry: Entry) -> String {
        var lines = ["  \(entry.mode)  \(entry.summary)"]
        lines += entry.facts.flatMap { name, text in
            let wrapped = wrapped(text, to: 88)
            return ["  \(padded(name, to: 12))\(wrapped[0])"] + wrapped.dropFirst().map { padded("", to: 14) + $0 }
        }
        var text = lines.joined(separator: "\n") + "\n"
        if entry.kind == .directory {
            let contents = list(children(of: entry.path), relativeTo: entry.path)
            if !contents.isEmpty { text += "\n" + contents.split(separator: "\n").map { "  \($0)\n" }.joined() }
        }
        return text
    }
}

extension FileReference.Entry {
    /// What there is to say beyond the summary, in the order in which it is said.
    var facts: [(name: String, text: String)] {
        var facts: [(String, String)] = []
        if let target { facts.append(("Target", target)) }
        if !reads.isEmpty { facts.append(("Read", reads)) }
        if !writes.isEmpty { facts.append(("Write", writes)) }
        facts += errors.map { ($0.name, $0.reason) }
        if startsJob {
            facts.append(("Waits", "the write returns when the work is done"))
        }
        if isPollable { facts.append(("poll", "POLLPRI when it changes")) }
        if !text.isEmpty { facts.append(("Note", text)) }
        if !linux.isEmpty { facts.append(("Linux", linux)) }
        return facts
    }
}

/// The lines of a text, broken between words.
private func wrapped(_ text: String, to width: Int) -> [String] {
    var lines: [String] = []
    for word in text.split(separator: " ") {
        if let line = lines.last, line.count + 1 + word.count <= width {
            lines[lines.count - 1] = line + " " + word
        } else {
            lines.append(String(word))
        }
    }
    return lines
}

/// A word with blanks behind it, at least one.
private func padded(_ word: some StringProtocol, to width: Int) -> String {
    word + String(repeating: " ", count: max(1, width - word.utf8.count))
}
