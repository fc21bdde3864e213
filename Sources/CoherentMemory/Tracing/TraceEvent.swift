import MachineTopology

/// Something that happened to memory, as it was recorded at that moment: 64 bytes, no references.
///
/// What the general fields mean depends on the kind; ``Kind`` says it for each.
public struct TraceEvent: Sendable, Hashable {
    /// The kinds of events. The raw values are a part of the format of recorded files: they never change.
    public enum Kind: UInt8, Sendable, Hashable, CaseIterable {
        /// Pages of a buffer got frames: ``TraceEvent/to`` is their node, ``TraceEvent/from`` the node that the request was
        /// meant for, ``TraceEvent/detail`` the constant of the policy's mode.
        case touchPlaced = 0
        /// A touch got no frame: ``TraceEvent/value`` is the number of the error.
        case touchRefused = 1
        /// Isolation kept a request from the node ``TraceEvent/to``; ``TraceEvent/detail`` is an ``IsolationRefusal``. The pages may
        /// have got frames of other nodes.
        case isolationRefused = 2
        /// Pages moved: ``TraceEvent/from``, ``TraceEvent/to``, ``TraceEvent/detail`` the place of the reason in
        /// `MoveReason.allCases`, ``TraceEvent/value`` modelled nanoseconds of the links, ``TraceEvent/other`` real nanoseconds.
        case migrated = 3
        /// The same of pages that reclaim moved to a slower tier.
        case demoted = 4
        /// The same of hot pages that moved to a faster tier.
        case promoted = 5
        /// The memory block ``TraceEvent/start`` of the node ``TraceEvent/to`` has another state; ``TraceEvent/detail`` is its place
        /// in ``blockStates``.
        case blockState = 6
        /// The memory of the page at the physical address ``TraceEvent/start`` failed. If a buffer had it, ``TraceEvent/value`` is the
        /// offset there.
        case pagePoisoned = 7
        /// A frame was taken out of use after its page had moved.
        case pageRetired = 8
        /// A frame that had failed is in service again.
        case pageCleared = 9
        /// The device corrected ``TraceEvent/count`` errors of a page.
        case pageCorrected = 10
        /// Pages of a buffer were lost with the link of the node ``TraceEvent/from``.
        case pagesLost = 11
        /// The link of the device of node ``TraceEvent/to`` went down (``TraceEvent/detail`` 0) or came up (1).
        case linkState = 12
        /// Errors of that link, ``TraceEvent/count`` in number, keep it from carrying anything for ``TraceEvent/value`` nanoseconds.
        case linkStalled = 13
        /// A device began a command: ``TraceEvent/value`` is its number, ``TraceEvent/detail`` its place in
        /// ``DeviceCommand/words``, ``TraceEvent/start`` and ``TraceEvent/count`` its first range in bytes.
        case commandBegin = 14
        /// It ended: ``TraceEvent/start`` is its result, ``TraceEvent/count`` the number of its error, ``TraceEvent/other`` the
        /// nanoseconds that it took.
        case commandEnd = 15
        /// A policy was set: of a buffer, of ``TraceEvent/count`` of its pages, or of a task. ``TraceEvent/value`` has the nodes below
        /// 64, a bit each.
        case policySet = 16
        /// The node ``TraceEvent/to`` has the rights ``TraceEvent/value``.
        case isolationSet = 17
        /// The nodes of a group of tasks, ``TraceEvent/other``, are those of ``TraceEvent/value``, as far as below 64.
        case cpusetSet = 18

        /// The name in `events`.
        public var name: String { Self.names[Int(rawValue)] }

        /// The kind of a name.
        public init?(name: some StringProtocol) {
            guard let place = Self.names.firstIndex(where: { $0 == name }) else { return nil }
            self = Self.allCases[place]
        }

        private static let names = [
            "touch_placed", "touch_refused", "isolation_refused", "pages_migrated", "pages_demoted", "pages_promoted",
            "block_state", "page_poisoned", "page_retired", "page_cleared", "page_corrected", "pages_lost",
            "link_state", "link_stalled", "command_begin", "command_end", "policy_set", "isolation_set", "cpuset_set",
        ]

        /// The words of ``blockState``.
        public static let blockStates = ["online", "going-offline", "offline", "absent"]
    }

    /// Facts that need a bit.
    public struct Flags: OptionSet, Sendable, Hashable {
        /// The bits.
        public let rawValue: UInt16

        /// Flags of bits.
        public init(rawValue: UInt16) { self.rawValue = rawValue }

        /// A device touched the pages.
        public static let byDevice = Flags(rawValue: 1 << 0)
        /// There are nodes above 63, too.
        public static let moreNodes = Flags(rawValue: 1 << 1)
        /// A policy of a range of pages.
        public static let range = Flags(rawValue: 1 << 2)
    }

    /// The field for no node.
    public static let noNode = UInt16.max

    /// Nanoseconds of the clock of the trace.
    public var time: UInt64 = 0
    /// The kind.
    public var kind: Kind
    /// What the kind says.
    public var detail: UInt8
    /// The CPU that recorded it.
    public var cpu: UInt16 = 0
    /// The thread that asked, by its number in the daemon's PID namespace; 0 for none in particular.
    public var pid: Int32
    /// The id of the buffer; 0 for none.
    public var buffer: UInt64
    /// The first page, or what the kind says.
    public var start: UInt64
    /// The number of pages, or what the kind says.
    public var count: UInt64
    /// The id of a node, or ``noNode``.
    public var from: UInt16
    /// The id of a node, or ``noNode``.
    public var to: UInt16
    /// The id of the node on which the toucher runs, or ``noNode``.
    public var local: UInt16
    /// Flags.
    public var flags: Flags
    /// What the kind says.
    public var value: UInt64
    /// What the kind says.
    public var other: UInt64

    /// An event. The recorder adds the time and the CPU.
    public init(
        _ kind: Kind, detail: UInt8 = 0, pid: Int32 = 0, buffer: UInt64 = 0, start: UInt64 = 0, count: UInt64 = 0,
        from: UInt16 = noNode, to: UInt16 = noNode, local: UInt16 = noNode, flags: Flags = [], value: UInt64 = 0,
        other: UInt64 = 0
    ) {
        self.kind = kind
        self.detail = detail
        self.pid = pid
        self.buffer = buffer
        self.start = start
        self.count = count
        self.from = from
        self.to = to
        self.local = local
        self.flags = flags
        self.value = value
        self.other = other
    }

    // MARK: Words

    /// The number of 64-bit words of an event.
    public static let wordCount = 8

    /// The words of the event.
    public var words: InlineArray<8, UInt64> {
        [
            time,
            UInt64(kind.rawValue) | UInt64(detail) << 8 | UInt64(cpu) << 16
                | UInt64(UInt32(bitPattern: pid)) << 32,
            buffer, start, count,
            UInt64(from) | UInt64(to) << 16 | UInt64(local) << 32 | UInt64(flags.rawValue) << 48,
            value, other,
        ]
    }

    /// An event of its words; nil for one of an unknown kind.
    public init?(words: InlineArray<8, UInt64>) {
        guard let kind = Kind(rawValue: UInt8(truncatingIfNeeded: words[1])) else { return nil }
        self.init(
            kind, detail: UInt8(truncatingIfNeeded: words[1] >> 8),
            pid: Int32(truncatingIfNeeded: words[1] >> 32), buffer: words[2], start: words[3], count: words[4],
            from: UInt16(truncatingIfNeeded: words[5]), to: UInt16(truncatingIfNeeded: words[5] >> 16),
            local: UInt16(truncatingIfNeeded: words[5] >> 32),
            flags: Flags(rawValue: UInt16(truncatingIfNeeded: words[5] >> 48)), value: words[6], other: words[7])
        time = words[0]
        cpu = UInt16(truncatingIfNeeded: words[1] >> 16)
    }

    /// The nodes below 64, a bit each.
    static func bits(of nodes: IDSet) -> (bits: UInt64, flags: Flags) {
        var bits: UInt64 = 0
        var flags: Flags = []
        for node in nodes {
            if node < 64 { bits |= 1 << UInt64(node) } else { flags.insert(.moreNodes) }
        }
        return (bits, flags)
    }
}

/// How isolation turned a request away: the lines of nodeN/cdm/refused.
public enum IsolationRefusal: UInt8, Sendable, Hashable, CaseIterable {
    /// The request did not name the node.
    case fallback
    /// The task may not use the node that it named.
    case notAllowed
    /// A reserved huge page of the node was not asked for there.
    case hugePages

    /// The name in nodeN/cdm/refused.
    public var name: String {
        switch self {
        case .fallback: "fallback"
        case .notAllowed: "not_allowed"
        case .hugePages: "hugetlb"
        }
    }
}

/// Kinds of events, as a set.
public struct TraceKinds: OptionSet, Sendable, Hashable {
    /// A bit for each kind, by its raw value.
    public let rawValue: UInt32

    /// Kinds of bits.
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// One kind.
    public init(_ kind: TraceEvent.Kind) { rawValue = 1 << UInt32(kind.rawValue) }

    /// All kinds.
    public static let all = TraceKinds(TraceEvent.Kind.allCases.map(TraceKinds.init))

    /// Whether a kind is one of them.
    public func contains(_ kind: TraceEvent.Kind) -> Bool { contains(TraceKinds(kind)) }
}
