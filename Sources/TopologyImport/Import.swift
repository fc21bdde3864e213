import CHwloc
import Glibc
import LinuxSupport
import MachineTopology
import SystemPackage

extension ImportedTopology {
    /// Reads a machine. Only one may be read at a time.
    ///
    /// - Throws: an ``ImportError`` if the source cannot be read, or is no machine.
    public init(_ source: TopologySource) throws(ImportError) {
        switch source {
        case .xml(let path):
            let draft = try unsafe TopologyDraft.read("\(path)") { unsafe hwloc_topology_set_xml($0, path.string) }
            self = try draft.finished(from: "\(path)")
        case .synthetic(let text):
            let draft = try unsafe TopologyDraft.read("synthetic:\(text)") {
                unsafe hwloc_topology_set_synthetic($0, text)
            }
            self = try draft.finished(from: "synthetic:\(text)")
        case .directory(let path):
            guard let root = Self.root(in: path) else {
                throw ImportError(.data, "\(path)", "no directory sys/devices/system in it; expected a sys/ tree")
            }
            let draft = try unsafe TopologyDraft.read("\(path)", root: root == "/" ? nil : root) { _ in 0 }
            self = try draft.finished(from: "\(path)")
        case .archive(let path):
            self = try Archive.extracted(path) { directory throws(ImportError) in
                guard let root = Self.root(in: directory) else {
                    throw ImportError(.data, "\(path)", "no directory sys/devices/system in it; expected a sys/ tree")
                }
                return try unsafe TopologyDraft.read("\(path)", root: root) { _ in 0 }.finished(from: "\(path)")
            }
        case .numactl(let path):
            let text: String
            do throws(Errno) {
                text = String(decoding: try SmallFile.read(path, limit: 16 << 20), as: UTF8.self)
            } catch {
                throw ImportError(.noInput, "\(path)", "\(error)")
            }
            self = try TopologyDraft(numactl: text, "\(path)").finished(from: "\(path)")
        }
    }

    /// The directory that has the sys/ tree: the given one, or the only one in it.
    private static func root(in directory: FilePath) -> FilePath? {
        func hasTree(_ path: FilePath) -> Bool {
            unsafe access(path.appending("sys/devices/system").string, F_OK) == 0
        }
        if hasTree(directory) { return directory.lexicallyNormalized() }
        let names = DirectoryListing.names(in: directory) ?? []
        return names.map { directory.appending($0) }.first(where: hasTree)
    }
}
