/// The text of the reference page about a directory, beyond what the attribute tables declare.
///
/// Most chapters are for one directory. `*/power` is for every directory `power`, and `*` for all directories. A page in
/// the directory's own chapter takes precedence over these.
struct Chapter: Sendable {
    /// The path of the directory, with placeholders for names that differ; empty for the root of the mount.
    let places: [String]
    /// A sentence about the directory.
    let summary: String
    /// Further text about it; may be empty.
    let text: String
    /// The Linux counterpart of the directory and of its files: sources, ABI documents, or `none`.
    let linux: String
    /// The pages of the files, links and plain directories in it, by name.
    let pages: [String: ManualPage]

    init(
        _ places: String..., summary: String = "", text: String = "", linux: String = "",
        _ pages: [String: ManualPage] = [:]
    ) {
        self.init(places, summary: summary, text: text, linux: linux, pages)
    }

    init(_ places: [String], summary: String, text: String, linux: String, _ pages: [String: ManualPage]) {
        self.places = places
        self.summary = summary
        self.text = text
        self.linux = linux
        self.pages = pages
    }
}

/// The text of the reference page about one file, beyond its name, its mode and the summary in its table.
struct ManualPage: Sendable {
    /// A sentence about the file; only if no table declares it: links, directories, data files.
    var summary = ""
    /// The format and the units of a read.
    var reads = ""
    /// The format of a write.
    var writes = ""
    /// The errors of a write with a meaning of their own here, and the reason for each.
    var errors: KeyValuePairs<String, String> = [:]
    /// Further text.
    var text = ""
    /// The Linux counterpart, if it differs from the chapter's.
    var linux = ""
}

/// All chapters. A new directory gets a chapter in the file of related directories; a new file gets a page in its chapter.
enum Manual {
    static let chapters: [Chapter] =
        common + nodes + memory + processors + tiers + devices + faces + failures + kernel + buffers

    /// A sentence for each file that takes or shows the number of a task.
    static let numbers =
        "A task number is that of the PID namespace of the writer or reader; a task outside its namespace reads as 0."

    /// The chapters that are for a directory, the most specific first.
    static func chapters(for path: String) -> [Chapter] {
        let ends = ["*/" + path.split(separator: "/").suffix(1).joined(), "*"]
        return ([path] + ends).flatMap { place in chapters.filter { $0.places.contains(place) } }
    }
}
