public import SystemPackage

/// A directory of attributes, links and further directories, some fixed and some found when asked for.
///
/// Whoever serves the tree walks it name by name with ``lookup(_:)`` and lists it with ``names``; no path is ever
/// taken apart here.
public final class Directory: Sendable {
    /// Tells a directory from another that comes to stand under the same name, for another subject.
    public struct Identity: Sendable, Hashable {
        private let value: any Hashable & Sendable

        /// The identity that a value gives: equal for equal values of one type.
        public init(_ value: some Hashable & Sendable) { self.value = value }

        /// Whether the two stand for the same subject.
        public static func == (left: Identity, right: Identity) -> Bool {
            erased(left.value) == erased(right.value)
        }

        private static func erased(_ value: some Hashable) -> AnyHashable { AnyHashable(value) }

        /// Hashes the value.
        public func hash(into hasher: inout Hasher) { value.hash(into: &hasher) }
    }

    /// How directories are made and removed by whoever uses the tree, as in a control group's directory.
    public struct Maker: Sendable {
        /// Makes the directory of a name, which the sources then find.
        public let make: @Sendable (String) throws(Errno) -> Void
        /// Removes one.
        public let remove: @Sendable (String) throws(Errno) -> Void

        /// What mkdir(2) and rmdir(2) come to.
        public init(
            make: @escaping @Sendable (String) throws(Errno) -> Void,
            remove: @escaping @Sendable (String) throws(Errno) -> Void
        ) {
            self.make = make
            self.remove = remove
        }
    }

    /// Children that are found when asked for.
    struct Source: Sendable {
        /// What every child is, where a name stands for the same child for as long as the directory exists.
        let lastingKind: Node.Kind?
        let list: @Sendable () -> [String]
        let lookup: @Sendable (String) -> (node: Node, lifetime: Lifetime?)?
    }

    /// Whose directory it is; `nil` where the name alone says it.
    public let identity: Identity?

    /// Who may list and search it.
    public let permissions: FilePermissions

    /// How directories are made in it; `nil` where none can be.
    public let maker: Maker?

    private let fixed: [String: Node]
    private let order: [String]
    private let fixedEntries: [(name: String, kind: Node.Kind)]
    private let sources: [Source]

    /// A directory of some children, whose fixed names must differ; mode 0755 as in sysfs unless `permissions` says
    /// otherwise.
    public init(
        identity: Identity? = nil,
        permissions: FilePermissions = [
            .ownerReadWriteExecute, .groupRead, .groupExecute, .otherRead, .otherExecute,
        ],
        maker: Maker? = nil, _ children: [Child] = []
    ) {
        self.identity = identity
        self.maker = maker
        self.permissions = permissions
        let nodes = children.flatMap(\.nodes)
        fixed = Dictionary(uniqueKeysWithValues: nodes)
        order = nodes.map(\.name)
        fixedEntries = nodes.map { ($0.name, $0.node.kind) }
        sources = children.compactMap(\.source)
    }

    /// Whether a name stands for the same child for as long as the directory exists, so that it may be cached.
    public func isFixed(_ name: String) -> Bool { find(name)?.isLasting ?? false }

    /// The child of a name, `nil` where there is none. A fixed child hides a dynamic one.
    public func lookup(_ name: String) -> Node? { find(name)?.node }

    /// The child of a name; whether the name stands for it for as long as the directory exists, or until the end of the
    /// child's lifetime, so that it may be cached; and that lifetime, `nil` for the directory's own.
    public func find(_ name: String) -> (node: Node, isLasting: Bool, lifetime: Lifetime?)? {
        if let node = fixed[name] { return (node, true, nil) }
        for source in sources {
            if let found = source.lookup(name) { return (found.node, source.lastingKind != nil, found.lifetime) }
        }
        return nil
    }

    /// The names of all children: the fixed ones in the order of their declaration, then the dynamic ones as their
    /// sources list them.
    public var names: [String] {
        if sources.isEmpty { return order }
        var seen = Set(order)
        return order + sources.flatMap { $0.list() }.filter { seen.insert($0).inserted }
    }

    /// The names of all children and what they are, in the order of ``names``, without making those that last.
    public var entries: [(name: String, kind: Node.Kind)] {
        if sources.isEmpty { return fixedEntries }
        var seen = Set(order)
        return fixedEntries
            + sources.flatMap { source in
                source.list().compactMap { name in
                    guard seen.insert(name).inserted, let kind = source.lastingKind ?? source.lookup(name)?.node.kind
                    else { return nil }
                    return (name, kind)
                }
            }
    }

    /// All children with their names, in the order of ``names``. A dynamic one that goes meanwhile is left out.
    public var children: [(name: String, node: Node)] {
        names.compactMap { name in lookup(name).map { (name, $0) } }
    }
}

/// What stands under a name of a directory.
public enum Node: Sendable {
    /// An attribute file.
    case attribute(BoundAttribute)
    /// A file that is read as a stream.
    case stream(Stream)
    /// A directory.
    case directory(Directory)
    /// A symbolic link with its target, relative to the directory in which it stands.
    case link(String)

    /// What a node is, without its content.
    public enum Kind: Sendable, Hashable {
        /// An attribute or a stream.
        case file
        /// A directory.
        case directory
        /// A symbolic link.
        case link
    }

    /// What it is.
    public var kind: Kind {
        switch self {
        case .attribute, .stream: .file
        case .directory: .directory
        case .link: .link
        }
    }
}

/// A part of what a directory is made of.
public struct Child: Sendable {
    let nodes: [(name: String, node: Node)]
    let source: Directory.Source?

    /// The attributes of a table, for one subject (an `attribute_group`).
    public static func attributes<Subject>(_ table: [Attribute<Subject>], of subject: Subject) -> Child {
        Child(nodes: table.map { ($0.name, .attribute($0.bound(to: subject))) }, source: nil)
    }

    /// An attribute whose open files have a subject each.
    public static func attribute<Subject>(
        _ attribute: Attribute<Subject>, perOpenFile makeSubject: @escaping @Sendable () -> Subject
    ) -> Child {
        Child(
            nodes: [(attribute.name, .attribute(BoundAttribute(attribute, perOpenFile: makeSubject)))], source: nil)
    }

    /// A stream under its name.
    public static func stream(_ stream: Stream) -> Child {
        Child(nodes: [(stream.name, .stream(stream))], source: nil)
    }

    /// A directory under a name.
    public static func directory(_ name: String, _ directory: Directory) -> Child {
        Child(nodes: [(name, .directory(directory))], source: nil)
    }

    /// A directory under a name, made of some children.
    public static func directory(_ name: String, _ children: [Child]) -> Child {
        .directory(name, Directory(children))
    }

    /// A symbolic link under a name; the target is relative to the directory in which it stands.
    public static func link(_ name: String, target: String) -> Child {
        Child(nodes: [(name, .link(target))], source: nil)
    }

    /// Children that come and go: `list` names those of this moment, `lookup` finds one by its name.
    ///
    /// Both may be called on any thread at any time. `lookup` decides; a listed name that it does not find is left out.
    public static func dynamic(
        list: @escaping @Sendable () -> [String], lookup: @escaping @Sendable (String) -> Node?
    ) -> Child {
        Child(
            nodes: [], source: Directory.Source(lastingKind: nil, list: list) { name in lookup(name).map { ($0, nil) } }
        )
    }

    /// Children of one kind that are made when asked for. More may come, but none goes while the directory exists.
    ///
    /// Both may be called on any thread at any time. `lookup` finds every name that is listed, and no other.
    public static func lasting(
        _ kind: Node.Kind, list: @escaping @Sendable () -> [String], lookup: @escaping @Sendable (String) -> Node?
    ) -> Child {
        Child(
            nodes: [],
            source: Directory.Source(lastingKind: kind, list: list) { name in lookup(name).map { ($0, nil) } })
    }

    /// Children of one kind that are made when asked for, each with the lifetime of its subject; `nil` for as long as the
    /// directory exists.
    ///
    /// Both may be called on any thread at any time. `lookup` finds every name that is listed, but for one whose subject
    /// has gone meanwhile. Whoever serves the tree caches the children, and is told when a subject has gone.
    public static func mortal(
        _ kind: Node.Kind, list: @escaping @Sendable () -> [String],
        lookup: @escaping @Sendable (String) -> (node: Node, lifetime: Lifetime?)?
    ) -> Child {
        Child(nodes: [], source: Directory.Source(lastingKind: kind, list: list, lookup: lookup))
    }
}
