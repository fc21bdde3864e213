import CoherentTree

extension FileReference {
    /// The reference page: an article of the documentation, with one section for each group of directories that differ in
    /// their path alone.
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

        The format, errors and Linux counterpart of every file of a mount.

        ## Overview

        `cdmfs help --markdown` prints this page, and `cdmfs help FILE` prints the text about one file. Names that differ between
        machines are placeholders: nodeN, memoryM, cpuN, cdmN, memory_tierT, and NAME for a buffer, DIR for a directory of
        buffers.

        The following applies to all control files. They are 4096 bytes in size. One write(2) is one store, and a newline at its
        end is optional. Opening a file for an access that its mode lacks is EACCES, for root, too. A write of more than 4096
        bytes, with a NUL byte before its end, or that is not UTF-8 is EINVAL, and so are sendfile(2) and splice(2). EAGAIN means
        that too many writes wait already. A write that fails changes nothing, unless the file's text says otherwise. The modes
        shown are those of a mount by root, which then owns the files; if another user mounts, that user owns them. The controls
        of a buffer belong to the owner of the buffer.

        """
}
