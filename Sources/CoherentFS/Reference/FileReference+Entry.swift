import AttributeTree
import Fuse
public import SystemPackage

extension FileReference {
    /// The reference of one file, directory or link.
    public struct Entry: Sendable {
        /// The kind of an entry.
        public enum Kind: String, Sendable, Hashable {
            /// A control file: one show, one store.
            case attribute = "attribute"
            /// A file that delivers events while it is open.
            case stream = "stream"
            /// A file whose contents are memory.
            case memory = "memory"
            /// A directory.
            case directory = "directory"
            /// A symbolic link.
            case link = "link"
        }

        /// The path from the root of the mount, with placeholders; empty for the root.
        public let path: String
        /// The kind of the entry.
        public let kind: Kind
        /// The mode, if root mounts.
        public let permissions: FilePermissions
        /// A sentence about the file.
        public let summary: String
        /// The format and units of a read. Empty if it cannot be read, or is not an attribute.
        public let reads: String
        /// The format of a write. Empty if it cannot be written, or is not an attribute.
        public let writes: String
        /// The errors of a write, each with its reason.
        public let errors: [(name: String, reason: String)]
        /// The Linux counterpart.
        public let linux: String
        /// Further text; may be empty.
        public let text: String
        /// Whether poll(2) reports its changes.
        public let isPollable: Bool
        /// Whether a write starts a job, and is answered when the job has ended.
        public let startsJob: Bool
        /// The target of a link, relative to its directory, with placeholders.
        public let target: String?

        /// The last part of the path.
        public var name: String { path.split(separator: "/").last.map(String.init) ?? "" }

        /// The mode as `ls -l` shows it.
        public var mode: String {
            let type =
                switch kind {
                case .attribute, .stream, .memory: "-"
                case .directory: "d"
                case .link: "l"
                }
            let letters = ["x", "w", "r"]
            var bits = (0..<9).reversed().map { permissions.rawValue >> $0 & 1 == 1 ? letters[$0 % 3] : "-" }
            if permissions.contains(.saveText) { bits[8] = bits[8] == "x" ? "t" : "T" }
            return type + bits.joined()
        }

        static func parent(of path: String) -> String {
            path.split(separator: "/").dropLast().joined(separator: "/")
        }

        init(_ path: String, _ inode: Inode) {
            self.path = path
            let attributes = inode.attributes
            permissions = FilePermissions(rawValue: CInterop.Mode(attributes.permissions))
            let name = path.split(separator: "/").last.map(String.init) ?? ""
            let chapters = Manual.chapters(for: Entry.parent(of: path))
            let page = path.isEmpty ? nil : chapters.lazy.compactMap { $0.pages[name] }.first
            var declared = ""
            var (isPollable, startsJob) = (false, false)
            switch (inode as? TreeInode)?.item {
            case .attribute(let attribute)?:
                kind = .attribute
                declared = attribute.summary
                (isPollable, startsJob) = (attribute.isPollable, attribute.startsJob)
            case .stream(let stream)?:
                kind = .stream
                declared = stream.summary
            case .link?: kind = .link
            case .directory?: kind = .directory
            case nil: kind = attributes.type == .directory ? .directory : .memory
            }
            let own = kind == .directory ? Manual.chapters(for: path).first { !$0.summary.isEmpty } : nil
            (self.isPollable, self.startsJob) = (isPollable, startsJob)
            summary = [declared, own?.summary ?? "", page?.summary ?? ""].first { !$0.isEmpty } ?? ""
            reads = page?.reads ?? ""
            writes = page?.writes ?? ""
            errors = page?.errors.map { ($0.key, $0.value) } ?? []
            linux =
                [page?.linux ?? "", own?.linux ?? ""].first { !$0.isEmpty }
                ?? chapters.lazy.map(\.linux).first { !$0.isEmpty } ?? ""
            text = [own?.text ?? "", page?.text ?? ""].first { !$0.isEmpty } ?? ""
            target = inode.linkTarget.map { target in
                target.split(separator: "/").map { Placeholder.general(String($0)) }.joined(separator: "/")
            }
        }
    }
}
