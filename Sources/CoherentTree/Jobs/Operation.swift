import AttributeTree
import CoherentMemory
import MachineTopology
import SystemPackage

/// What a job that moves memory is about: a line of sys/kernel/cdm/jobs.
struct Operation: Sendable {
    /// What moves.
    enum Kind: String {
        case buffer, device, node, task, range, cpuset, offline, remove, compact, reclaim, kswapd, balancing

        var reason: MoveReason {
            switch self {
            case .buffer, .device: .buffer
            case .node: .node
            case .task: .task
            case .range: .range
            case .cpuset: .cpuset
            case .offline, .remove: .offline
            case .compact: .compaction
            case .reclaim, .kswapd: .demotion
            case .balancing: .balancing
            }
        }
    }

    let kind: Kind
    /// The nodes that memory moves from and to; none where they are not known.
    let from: IDSet
    let to: IDSet
    let account: MigrationAccount
    /// The buffer or node that was asked to move.
    let subject: ObjectIdentifier?

    init(kind: Kind, from: IDSet, to: IDSet, account: MigrationAccount, subject: ObjectIdentifier?) {
        self.kind = kind
        self.from = from
        self.to = to
        self.account = account
        self.subject = subject
    }

    /// What the machine does of its own accord.
    init(_ move: BackgroundMove) {
        let kind: Kind =
            switch move.kind {
            case .kswapd: .kswapd
            case .balancing: .balancing
            }
        self.init(kind: kind, from: move.from, to: move.to, account: move.account, subject: nil)
    }

    func line(_ id: Int) -> String {
        let result = account.result
        // What came to more than was expected was more.
        let total = max(account.total, result.moved)
        return "\(id) \(kind.rawValue) \(Self.list(from)) \(Self.list(to)) \(result.moved)/\(total) "
            + "\(account.bytesPerSecond) \(result.state.rawValue)"
    }

    private static func list(_ nodes: IDSet) -> String { nodes.isEmpty ? "-" : "\(nodes)" }
}

extension Job {
    /// A job that moves memory, and so stands in the list of the jobs; its work adds what it moves to the account.
    init(
        _ kind: Operation.Kind, from: IDSet = [], to: IDSet = [], subject: AnyObject? = nil, isShort: Bool = false,
        attempt: (@Sendable (MigrationAccount) throws(Errno) -> Bool)? = nil,
        _ work: @escaping @Sendable (Cancellation, MigrationAccount) throws(Errno) -> Void
    ) {
        let account = MigrationAccount(kind.reason)
        self.init(
            kind.rawValue,
            details: Operation(
                kind: kind, from: from, to: to, account: account, subject: subject.map(ObjectIdentifier.init)),
            isShort: isShort,
            attempt: { () throws(Errno) in try attempt?(account) ?? false }
        ) { cancellation throws(Errno) in try work(cancellation, account) }
    }
}
