/// What the reference page says of the files of a directory beyond what their tables declare.
///
/// Most are for one directory; `*/power` is for every directory `power`, and `*` for all directories: what a directory
/// has a page of its own for is not looked for in those.
struct Chapter: Sendable {
    /// Where the directory stands, with placeholders for names that differ; empty for the root of the mount.
    let places: [String]
    /// What the directory is, a sentence.
    let summary: String
    /// What else is to be known of it; empty for nothing.
    let text: String
    /// The Linux counterpart of the directory and of its files: sources, ABI documents, or that there is none.
    let linux: String
    /// What is to be said of each file, link and plain directory in it.
    let pages: [String: ManualPage]

    init(
        _ places: String..., summary: String = "", text: String = "", linux: String = "",
        _ pages: [String: ManualPage] = [:]
    ) {
        self.places = places
        self.summary = summary
        self.text = text
        self.linux = linux
        self.pages = pages
    }
}

/// What the reference page says of one file beyond its name, its mode and the summary in its table.
struct ManualPage: Sendable {
    /// What it is, a sentence; only of what no table declares: links, directories, data files.
    var summary = ""
    /// What a read shows: the format and the units.
    var reads = ""
    /// What may be written.
    var writes = ""
    /// The errors of a write that mean something of their own here, with the reason for each.
    var errors: KeyValuePairs<String, String> = [:]
    /// What else is to be known.
    var text = ""
    /// The Linux counterpart, where it is another than the chapter's.
    var linux = ""
}

/// All chapters. A new directory gets a chapter in the file of its neighbours, a new file a page in its chapter.
enum Manual {
    static let chapters: [Chapter] =
        common + nodes + memory + processors + tiers + devices + failures + kernel + buffers

    /// Of each file that takes or shows the number of a task.
    static let numbers =
        "Numbers of tasks are those of the PID namespace of who writes or reads them; what cannot be seen from there reads as 0."

    /// The chapters that are for a directory, the most specific first.
    static func chapters(for path: String) -> [Chapter] {
        let ends = ["*/" + path.split(separator: "/").suffix(1).joined(), "*"]
        return ([path] + ends).flatMap { place in chapters.filter { $0.places.contains(place) } }
    }
}
