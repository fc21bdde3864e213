public import SystemPackage

/// A directory of attributes, links and further directories. Some are fixed, others are found on each lookup.
///
/// The caller walks the tree name by name with ``lookup(_:)`` and lists it with ``names``; this module never splits a
/// path.
public final class Directory: Sendable {
    /// Distinguishes a directory from a later one of the same name with another subject.
    public struct Identity: Sendable, Hashable {
        private let value: any Hashable & Sendable

        /// The identity of a value: equal for equal values of one type.
        public init(_ value: some Hashable & Sendable) { self.value = value }

        /// The value of the identity, if it is of this type.
        public func subject<Subject: Hashable & Sendable>(as type: Subject.Type) -> Subject? { value as? Subject }

        /// Whether both identities have the same subject.
        public static func == (left: Identity, right: Identity) -> Bool {
            erased(left.value) == erased(right.value)
        }

        private static func erased(_ value: some Hashable) -> AnyHashable { AnyHashable(value) }

        /// Hashes the value.
        public func hash(into hasher: inout Hasher) { value.hash(into: &hasher) }
    }

    /// The owner of a directory and its contents, and the mode.
    public struct Ownership: Sendable, Hashable {
        /// The mode of the directory.
        public var permissions: FilePermissions
        /// The owner.
        public var uid: UInt32
        /// The group.
        public var gid: UInt32

        /// An ownership.
        public init(permissions: FilePermissions, uid: UInt32, gid: UInt32) {
            self.permissions = permissions
            self.uid = uid
            self.gid = gid
        }
    }

    /// How directories are made and removed in this one, as in a control group's directory.
    public struct Maker: Sendable {
        /// Makes the directory of a name; the sources find it afterwards.
        public let make: @Sendable (String) throws(Errno) -> Void
        /// Removes one.
        public let remove: @Sendable (String) throws(Errno) -> Void

        /// The operations behind mkdir(2) and rmdir(2).
        public init(
            make: @escaping @Sendable (String) throws(Errno) -> Void,
            remove: @escaping @Sendable (String) throws(Errno) -> Void
        ) {
            self.make = make
            self.remove = remove
        }
    }

    /// Names that keep their places in a listing while others come and go, so that it can be read in parts.
    public struct Places: Sendable {
        /// The place of the last name.
        public let last: @Sendable () -> UInt64
        /// Names in a range of places, in order. It may omit some if there are many, but has at least one if there is
        /// any.
        public let list: @Sendable (ClosedRange<UInt64>) -> [(place: UInt64, name: String, kind: Item.Kind)]

        private let countDirectories: (@Sendable () -> Int)?

        /// Places from a function that lists the names, and one that counts the directories faster than a listing; all
        /// may be called on any thread at any time.
        public init(
            last: @escaping @Sendable () -> UInt64,
            list: @escaping @Sendable (ClosedRange<UInt64>) -> [(place: UInt64, name: String, kind: Item.Kind)],
            countDirectories: (@Sendable () -> Int)? = nil
        ) {
            self.last = last
            self.list = list
            self.countDirectories = countDirectories
        }

        fileprivate var directoryCount: Int { countDirectories?() ?? all.count { $0.kind == .directory } }

        fileprivate var all: [(name: String, kind: Item.Kind)] {
            let last = last()
            var all: [(name: String, kind: Item.Kind)] = []
            var next: UInt64 = 0
            while next <= last {
                let some = list(next...last)
                guard let end = some.last?.place else { break }
                all += some.map { ($0.name, $0.kind) }
                next = end + 1
            }
            return all
        }
    }

    /// Children that are found when asked for.
    struct Source: Sendable {
        /// What every child is, where a name stands for the same child for as long as the directory exists.
        let lastingKind: Item.Kind?
        let list: @Sendable (Client) -> [String]
        let lookup: @Sendable (String, Client) -> (item: Item, lifetime: Lifetime?)?
        /// The places of the names.
        var places: Places?

        func entries(for client: Client) -> [(name: String, kind: Item.Kind)] {
            if let places { return places.all }
            return list(client).compactMap { name in
                (lastingKind ?? lookup(name, client)?.item.kind).map { (name, $0) }
            }
        }

        var directoryCount: Int {
            if let places { return places.directoryCount }
            switch lastingKind {
            case .directory: return list(.nobody).count
            case .file, .link: return 0
            case nil: return entries(for: .nobody).count { $0.kind == .directory }
            }
        }

        var mayHaveDirectories: Bool { lastingKind == nil || lastingKind == .directory }
    }

    /// The identity of its subject; `nil` if the name alone identifies the directory.
    public let identity: Identity?

    /// The mode of the directory.
    public let permissions: FilePermissions

    /// The owner and mode, if they differ from those of the mount and may change; takes precedence over
    /// ``permissions``.
    public let ownership: (@Sendable () -> Ownership)?

    /// How directories are made in it; `nil` if none can be made.
    public let maker: Maker?

    /// Children that are there as long as the directory, made when they are found: there may be a million directories.
    struct Fixed: Sendable {
        let list: @Sendable () -> [(name: String, kind: Item.Kind)]
        let lookup: @Sendable (String) -> Item?
        let directoryCount: Int

        /// Files.
        init(
            list: @escaping @Sendable () -> [(name: String, kind: Item.Kind)],
            lookup: @escaping @Sendable (String) -> Item?
        ) {
            self.list = list
            self.lookup = lookup
            directoryCount = 0
        }

        init(_ name: String, _ item: Item) {
            directoryCount = item.kind == .directory ? 1 : 0
            list = { [(name, item.kind)] }
            lookup = { $0 == name ? item : nil }
        }
    }

    private let fixed: [Fixed]
    private let sources: [Source]

    /// A directory of some children, whose fixed names must differ; mode 0755 as in sysfs unless `permissions` says
    /// otherwise.
    public init(
        identity: Identity? = nil,
        permissions: FilePermissions = [
            .ownerReadWriteExecute, .groupRead, .groupExecute, .otherRead, .otherExecute,
        ],
        ownership: (@Sendable () -> Ownership)? = nil, maker: Maker? = nil, _ children: [Child] = []
    ) {
        self.identity = identity
        self.ownership = ownership
        self.maker = maker
        self.permissions = permissions
        fixed = children.compactMap(\.fixed)
        sources = children.compactMap(\.source)
        assert(Set(order).count == order.count, "two children of one name: \(order)")
    }

    private init(_ directory: Directory, identity: Identity) {
        self.identity = identity
        permissions = directory.permissions
        ownership = directory.ownership
        maker = directory.maker
        fixed = directory.fixed
        sources = directory.sources
    }

    /// The same directory with the identity of another subject.
    public func identified(by identity: Identity) -> Directory { Directory(self, identity: identity) }

    private var order: [String] { fixedEntries.map(\.name) }

    private var fixedEntries: [(name: String, kind: Item.Kind)] { fixed.flatMap { $0.list() } }

    /// The child of a name, `nil` if there is none. A fixed child hides a dynamic one.
    public func lookup(_ name: String) -> Item? { find(name)?.item }

    /// The child of a name; whether the name means it as long as the directory exists, or until the end of the child's
    /// lifetime, so that it may be cached; and that lifetime, `nil` for the directory's own.
    ///
    /// - Parameters:
    ///   - name: the name.
    ///   - client: the reader, if names differ from reader to reader.
    public func find(
        _ name: String, for client: Client = .nobody
    ) -> (item: Item, isLasting: Bool, lifetime: Lifetime?)? {
        for part in fixed {
            if let item = part.lookup(name) { return (item, true, nil) }
        }
        for source in sources {
            if let found = source.lookup(name, client) {
                return (found.item, source.lastingKind != nil, found.lifetime)
            }
        }
        return nil
    }

    /// The names of all children: the fixed ones in the order of their declaration, then the dynamic ones in the order
    /// of their sources.
    public var names: [String] {
        if sources.isEmpty { return order }
        let order = order
        var seen = Set(order)
        return order + sources.flatMap { $0.list(.nobody) }.filter { seen.insert($0).inserted }
    }

    /// The names and kinds of all children, in the order of ``names``. Lasting children are not made for it.
    public var entries: [(name: String, kind: Item.Kind)] { entries(for: .nobody) }

    /// The names and kinds of all children for a reader, as in ``entries``.
    public func entries(for client: Client) -> [(name: String, kind: Item.Kind)] {
        if sources.isEmpty { return fixedEntries }
        let fixedEntries = fixedEntries
        var seen = Set(fixedEntries.lazy.map(\.name))
        return fixedEntries
            + sources.flatMap { $0.entries(for: client).filter { seen.insert($0.name).inserted } }
    }

    /// The number of directories in it (which kernfs keeps for the link count).
    public var directoryCount: Int {
        fixed.reduce(0) { $0 + $1.directoryCount } + sources.reduce(0) { $0 + $1.directoryCount }
    }

    /// Whether directories in it may come and go.
    public var hasChangingDirectories: Bool { sources.contains(where: \.mayHaveDirectories) }

    /// The places of the names; `nil` if a listing takes all of them at once, as in ``entries``.
    public var places: Places? { fixed.isEmpty && sources.count == 1 ? sources[0].places : nil }

    /// All children with their names, in the order of ``names``. A dynamic child that disappears meanwhile is left out.
    public var children: [(name: String, item: Item)] {
        names.compactMap { name in lookup(name).map { (name, $0) } }
    }
}

/// What a directory holds.
public enum Item: Sendable {
    /// An attribute file.
    case attribute(BoundAttribute)
    /// A file that is read as a stream.
    case stream(Stream)
    /// A directory.
    case directory(Directory)
    /// A symbolic link with its target, relative to its directory.
    case link(String)

    /// The kind of an item, without its content.
    public enum Kind: Sendable, Hashable {
        /// An attribute or a stream.
        case file
        /// A directory.
        case directory
        /// A symbolic link.
        case link
    }

    /// The kind of the item.
    public var kind: Kind {
        switch self {
        case .attribute, .stream: .file
        case .directory: .directory
        case .link: .link
        }
    }
}

/// A declaration of children, from which a directory is made.
public struct Child: Sendable {
    let fixed: Directory.Fixed?
    let source: Directory.Source?

    private init(_ name: String, _ item: Item) {
        fixed = Directory.Fixed(name, item)
        source = nil
    }

    private init(_ source: Directory.Source) {
        fixed = nil
        self.source = source
    }

    private init(_ fixed: Directory.Fixed) {
        self.fixed = fixed
        source = nil
    }

    /// The attributes of a table, for one subject (an `attribute_group`).
    public static func attributes<Subject>(_ table: [Attribute<Subject>], of subject: Subject) -> Child {
        Child(
            Directory.Fixed(list: { table.map { ($0.name, .file) } }) { name in
                table.first { $0.name == name }.map { .attribute($0.bound(to: subject)) }
            })
    }

    /// An attribute with a subject for each open file.
    public static func attribute<Subject>(
        _ attribute: Attribute<Subject>, perOpenFile makeSubject: @escaping @Sendable (Opener) -> Subject
    ) -> Child {
        Child(attribute.name, .attribute(BoundAttribute(attribute, perOpenFile: makeSubject)))
    }

    /// A stream under its name.
    public static func stream(_ stream: Stream) -> Child {
        Child(stream.name, .stream(stream))
    }

    /// A directory under a name.
    public static func directory(_ name: String, _ directory: Directory) -> Child {
        Child(name, .directory(directory))
    }

    /// A directory under a name, made of some children.
    public static func directory(_ name: String, _ children: [Child]) -> Child {
        .directory(name, Directory(children))
    }

    /// A symbolic link under a name; the target is relative to its directory.
    public static func link(_ name: String, target: String) -> Child {
        Child(name, .link(target))
    }

    /// Children that come and go: `list` returns the present names, `lookup` finds one by its name.
    ///
    /// Both may be called on any thread at any time. `lookup` decides: a listed name that it does not find is left out.
    public static func dynamic(
        list: @escaping @Sendable () -> [String], lookup: @escaping @Sendable (String) -> Item?
    ) -> Child {
        Child(Directory.Source(lastingKind: nil, list: { _ in list() }) { name, _ in lookup(name).map { ($0, nil) } })
    }

    /// Children that come and go and whose names differ from reader to reader, as the numbers of tasks do: `list` returns the names for
    /// a reader, `lookup` finds one by its name for a reader.
    ///
    /// Both may be called on any thread at any time. `lookup` decides.
    public static func dynamic(
        list: @escaping @Sendable (Client) -> [String], lookup: @escaping @Sendable (String, Client) -> Item?
    ) -> Child {
        Child(Directory.Source(lastingKind: nil, list: list) { name, client in lookup(name, client).map { ($0, nil) } })
    }

    /// Children that come and go, in any number: `places` lists them in parts, `lookup` finds one by its name.
    ///
    /// `lookup` may be called on any thread at any time, and decides.
    public static func dynamic(places: Directory.Places, lookup: @escaping @Sendable (String) -> Item?) -> Child {
        Child(
            Directory.Source(
                lastingKind: nil, list: { _ in places.all.map(\.name) },
                lookup: { name, _ in lookup(name).map { ($0, nil) } },
                places: places))
    }

    /// Children of one kind that are made on lookup. More may come, but none disappears while the directory exists.
    ///
    /// Both may be called on any thread at any time. `lookup` finds every name that is listed, and no other.
    public static func lasting(
        _ kind: Item.Kind, list: @escaping @Sendable () -> [String], lookup: @escaping @Sendable (String) -> Item?
    ) -> Child {
        Child(Directory.Source(lastingKind: kind, list: { _ in list() }) { name, _ in lookup(name).map { ($0, nil) } })
    }

    /// Children of one kind that are made on lookup, each with the lifetime of its subject; `nil` for as long as the
    /// directory exists.
    ///
    /// Both may be called on any thread at any time. `lookup` finds every name that is listed, except one whose subject
    /// has gone meanwhile. The caller caches the children, and must be notified when a subject has gone.
    public static func mortal(
        _ kind: Item.Kind, list: @escaping @Sendable () -> [String],
        lookup: @escaping @Sendable (String) -> (item: Item, lifetime: Lifetime?)?
    ) -> Child {
        Child(Directory.Source(lastingKind: kind, list: { _ in list() }, lookup: { name, _ in lookup(name) }))
    }
}
