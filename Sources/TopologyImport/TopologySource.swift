public import MachineTopology
public import SystemPackage

/// Where the description of a machine comes from, as `cdmfs topology --from` names it.
public enum TopologySource: Sendable, Hashable {
    /// A file of hwloc's, as `lstopo --of xml` writes it.
    case xml(FilePath)
    /// A directory with a sys/ tree; `/` is this host.
    case directory(FilePath)
    /// An archive of such a directory, as hwloc-gather-topology writes it.
    case archive(FilePath)
    /// The text of `numactl -H`.
    case numactl(FilePath)
    /// A string in hwloc's notation for machines that do not exist: `package:2 [numa(memory=4GiB)] core:4`.
    case synthetic(String)

    /// The source of a word: `synthetic:…`, or a file or directory whose kind its contents tell.
    ///
    /// - Throws: an ``ImportError`` if it cannot be read, or is none of these.
    public init(_ word: String) throws(ImportError) {
        let prefix = "synthetic:"
        if word.hasPrefix(prefix) {
            self = .synthetic(String(word.dropFirst(prefix.count)))
            return
        }
        let path = FilePath(word)
        guard let start = try FileStart(path) else {
            self = .directory(path)
            return
        }
        self =
            if start.isXML { .xml(path) } else if start.isArchive { .archive(path) } else if start.isNumactl {
                .numactl(path)
            } else {
                throw ImportError(
                    .data, "\(word)",
                    "not an XML file of hwloc, an archive, or the text of numactl -H; expected one of these, a directory with a sys/ tree, or synthetic:STRING"
                )
            }
    }
}

/// Why a machine cannot be imported: one line, and its kind, which is an exit status.
public struct ImportError: Error, Sendable, Hashable, CustomStringConvertible {
    /// The kind of the error.
    public let kind: TopologyError.Kind
    /// One line.
    public let description: String

    init(_ kind: TopologyError.Kind, _ source: String, _ reason: String) {
        self.kind = kind
        description = "\(source): \(reason)"
    }
}
