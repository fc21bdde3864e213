import CoherentMemory
import Fuse
import LinuxSupport
import SystemPackage

/// A word after `-o` that is cdmfs's own: how it is written, and what it means.
struct MountWord {
    let name: String
    /// What stands behind `=`; `nil` where nothing does.
    var form: String?
    /// The values there are, where they are few.
    var values: [String] = []
    let meaning: String
    /// What holds without it.
    var fallback: String?

    /// `huge=WORD`
    var usage: String { name + (form.map { "=" + $0 } ?? "") }

    /// Every word there is, but those of mount(8) itself.
    static let all: [MountWord] = [
        MountWord(name: "topology", form: "FILE", meaning: "as --topology"),
        MountWord(name: "fsname", form: "NAME", meaning: "as --source"),
        MountWord(name: "overmount", meaning: "allow a mount over a mount of the same source"),
        MountWord(name: "remount", meaning: "change ro, rw, noexec, … of an existing mount, and nothing else"),
        MountWord(
            name: "fault_around", form: "SIZE",
            values: ["4K", "8K", "16K", "32K", "64K", "128K", "256K", "512K", "1M"],
            meaning: "bytes that a first touch populates, a power of two from 4K to 1M", fallback: "128K"),
        MountWord(
            name: "huge", form: "WORD", values: HugeMode.allCases.map(\.rawValue),
            meaning: "whether new buffers have huge pages: \(list(HugeMode.self))", fallback: "never"),
        MountWord(
            name: "mapping", form: "WORD", values: MappingMode.allCases.map(\.rawValue),
            meaning: "how new buffers are mapped: \(list(MappingMode.self))", fallback: "tracked"),
        MountWord(
            name: "mceerr",
            meaning: "SIGBUS of a failed page has BUS_MCEERR_AR in every program, as under cdmfs run; only root's mount"
        ),
        MountWord(
            name: "numa_balancing", form: "N", values: ["0", "1", "2", "3"],
            meaning: "automatic balancing: 0 off, 1 pages follow tasks, 2 promotion, 3 both", fallback: "0"),
        MountWord(
            name: "transport", form: "WORD", values: Transport.allCases.map(\.rawValue),
            meaning: "how requests arrive: \(list(Transport.self))", fallback: "auto"),
        MountWord(name: "dev_mode", form: "MODE", meaning: "the octal mode of the device files", fallback: "660"),
        MountWord(
            name: "dev_gid", form: "GID", meaning: "the numeric group of the device files",
            fallback: "the group of the mounting user"),
        MountWord(
            name: "nr_inodes", form: "N", meaning: "maximum number of files and directories below buffers/",
            fallback: "one for every 8K of the host's memory"),
        MountWord(
            name: "max_direct", form: "N", meaning: "maximum number of direct buffers",
            fallback: "one for every 512K, at most 64K"),
        MountWord(name: "max_pinned", form: "SIZE", meaning: "maximum size of all pinned buffers", fallback: "0"),
        MountWord(
            name: "user_limit", form: "PERCENT", meaning: "share of each of these limits for one user", fallback: "25"),
        MountWord(
            name: "user_frames", form: "PERCENT", meaning: "share of each device's memory for one user",
            fallback: "0"),
        MountWord(
            name: "seccomp", form: "WORD", values: ["on", "off"],
            meaning: "whether the daemon restricts its system calls", fallback: "on"),
        MountWord(
            name: "oom_score_adj", form: "N",
            meaning: "OOM score adjustment of the daemon, from -1000 to 1000"),
        MountWord(name: "allow_other", meaning: "give other users access; a mount by root always does"),
    ]

    private static func list<Word>(_ words: Word.Type) -> String
    where Word: CaseIterable & RawRepresentable, Word.RawValue == String {
        words.allCases.map(\.rawValue).joined(separator: ", ")
    }

    /// The words of a table for help, wrapped to 80 columns.
    static var lines: [String] {
        let width = all.map(\.usage.count).max() ?? 0
        func padded(_ text: String) -> String { "  \(text)\(String(repeating: " ", count: width - text.count))  " }
        return all.flatMap { word -> [String] in
            var lines = [padded(word.usage)]
            for part in (word.meaning + (word.fallback.map { " (\($0))" } ?? "")).split(separator: " ") {
                if lines.last!.count + part.count > 79 { lines.append(padded("")) }
                lines[lines.count - 1] += (lines.last!.hasSuffix(" ") ? "" : " ") + part
            }
            return lines
        }
    }
}

// MARK: Completion

extension MountWord {
    /// What may follow in a word after `-o`, of which the part before the cursor is given: each a whole word again.
    static func completions(of typed: String) -> [String] {
        let begin = typed.lastIndex(of: ",").map { typed.index(after: $0) } ?? typed.startIndex
        let (before, word) = (typed[..<begin], typed[begin...])
        return candidates(for: word).filter { $0.hasPrefix(word) }.map { before + $0 }
    }

    private static func candidates(for word: Substring) -> [String] {
        let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2 else {
            return all.map { $0.name + ($0.form == nil ? "" : "=") } + MountWords.kernelWords.sorted()
        }
        if parts[0] == "topology" { return topologies(parts[1]).map { "topology=" + $0 } }
        return all.first { $0.name == parts[0] }?.values.map { "\(parts[0])=\($0)" } ?? []
    }

    /// The topology files and the directories that a path may become.
    private static func topologies(_ typed: Substring) -> [String] {
        let folder = typed.lastIndex(of: "/").map { typed[...$0] } ?? ""
        return (DirectoryListing.names(in: folder.isEmpty ? "." : FilePath(String(folder))) ?? []).sorted().compactMap {
            name in
            let path = folder + name
            if isDirectory(FilePath(String(path))) { return path + "/" }
            return name.hasSuffix(".toml") ? String(path) : nil
        }
    }
}
