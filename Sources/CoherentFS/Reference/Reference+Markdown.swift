import CoherentTree

extension Reference {
    /// The reference page: an article of the documentation, with a section for each directory and for those that differ
    /// in their place alone together.
    public var markdown: String {
        var order: [String] = []
        var places: [String: [String]] = [:]
        for directory in entries where directory.kind == .directory {
            let section = section(of: directory)
            if places[section] == nil { order.append(section) }
            places[section, default: []].append(directory.path.isEmpty ? "MOUNTPOINT" : directory.path + "/")
        }
        let sections = order.map { section in
            let paths = places[section]!
            let others =
                paths.count > 1 ? "Also " + paths.dropFirst().map { "`\($0)`" }.joined(separator: ", ") + ".\n\n" : ""
            return "## \(paths[0])\n\n\(others)\(section)"
        }
        return Self.introduction + "\n" + sections.joined(separator: "\n")
    }

    private func section(of directory: Entry) -> String {
        var text = directory.summary + "\n"
        if !directory.text.isEmpty { text += "\n" + directory.text + "\n" }
        if !directory.linux.isEmpty { text += "\nLinux: \(directory.linux)\n" }
        for entry in children(of: directory.path) {
            let name = entry.name + (entry.kind == .directory ? "/" : "")
            text += "\n### \(name)\n\n`\(entry.mode)` \(entry.summary)\n"
            // A directory has a section of its own, unless it is empty.
            if entry.kind == .directory { continue }
            let facts = entry.facts.filter { !($0.name == "Linux" && $0.text == directory.linux) }
            if !facts.isEmpty { text += "\n" }
            for fact in facts { text += "- \(fact.name): \(fact.name == "Target" ? "`\(fact.text)`" : fact.text)\n" }
        }
        return text
    }

    private static let introduction = """
        # Reference of the files

        What every file of a mount is.

        ## Overview

        This page is what `cdmfs help --markdown` prints, and `cdmfs help FILE` prints what it says of one file. Names that differ
        from machine to machine stand as placeholders: nodeN, memoryM, cpuN, cdmN, memory_tierT, and NAME for a buffer,
        DIR for a directory of buffers.

        What holds for all control files is said once, here. They are 4096 bytes in size, one write(2) is one store, and a
        newline at its end is optional. Opening one for what its mode has not is EACCES, for root, too. A write of more than
        4096 bytes, with a NUL byte before its end or of what is no UTF-8 is EINVAL, and so are sendfile(2) and splice(2). EAGAIN says that
        too many writes wait already. A write that is refused has changed nothing, unless the file says otherwise. The mode is
        that of a mount by root, whose the files then are; another who mounts owns them. The controls of a buffer belong to the
        owner of the buffer.

        """
}
