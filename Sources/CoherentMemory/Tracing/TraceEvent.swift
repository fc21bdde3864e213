import MachineTopology

/// Something that happened to memory, as it was recorded at that moment: 64 bytes, no references.
///
/// What the general fields mean depends on the kind; ``Kind`` says it for each.
public struct TraceEvent: Sendable, Hashable {
    /// The kinds of events. The raw values are a part of the format of recorded files: they never change.
    public enum Kind: UInt8, Sendable, Hashable, CaseIterable {
        /// Pages of a buffer got frames: ``TraceEvent/to`` is their node, ``TraceEvent/from`` the node that the request was
        /// meant for, ``TraceEvent/detail`` the constant of the policy's mode, ``TraceEvent/other`` the request: see ``TouchRequest``.
        case touchPlaced = 0
        /// A touch got no frame: ``TraceEvent/value`` is the number of the error, ``TraceEvent/other`` the request.
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
        /// offset there. ``TraceEvent/Flags/byPage`` says that the page of the buffer was asked for, and not the address.
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
        /// ``DeviceCommand/words``, ``TraceEvent/start`` and ``TraceEvent/count`` its first range in bytes, ``TraceEvent/other`` the byte
        /// of a fill. A copy has an event of its second range before, with ``TraceEvent/Flags/continues``.
        case commandBegin = 14
        /// It ended: ``TraceEvent/start`` is its result, ``TraceEvent/count`` the number of its error, ``TraceEvent/other`` the
        /// nanoseconds that it took.
        case commandEnd = 15
        /// A policy was set: of a buffer, of ``TraceEvent/count`` of its pages, or of a task. ``TraceEvent/value`` has the nodes below
        /// 64, a bit each, ``TraceEvent/from`` the home node, ``TraceEvent/other`` 1 for static nodes and 2 for relative ones.
        case policySet = 16
        /// The node ``TraceEvent/to`` has the rights ``TraceEvent/value``.
        case isolationSet = 17
        /// The nodes of a group of tasks, ``TraceEvent/other``, are those of ``TraceEvent/value``, as far as below 64.
        case cpusetSet = 18
        /// A request found pages that have frames; ``TraceEvent/detail`` is an ``Access``.
        case touchFound = 19
        /// There were no frames for all pages of a touch; the request is repeated for fewer of them.
        case touchRetried = 20
        /// Pages hold something else than zeros, as the machine sees now; with ``TraceEvent/detail`` 1 because the page cache wrote
        /// back what was stored through a mapping before.
        case pagesStored = 21
        /// Pages left their buffer, and their frames are free: on request, or with ``TraceEvent/detail`` 1 reclaim freed
        /// pages of zeros.
        case pagesFreed = 22
        /// A buffer exists. ``TraceEvent/to`` is the node of a device's memory.
        case bufferMade = 23
        /// A buffer and its pages are gone.
        case bufferRemoved = 24
        /// ``TraceEvent/detail`` is a ``Setting`` of a buffer, of the node ``TraceEvent/to`` or of the machine, ``TraceEvent/value`` its new value.
        case settingChanged = 25
        /// A program or user asked for more than a touch: ``TraceEvent/detail`` is a ``Request``.
        case requestMade = 26
        /// What is in force for the touches of a thread: a policy as in ``policySet``; if ``TraceEvent/count`` is 1 it may use the nodes
        /// ``TraceEvent/start`` only.
        case taskPlaced = 27
        /// The node ``TraceEvent/to`` went with its device (``TraceEvent/detail`` 0) or came (1).
        case nodeState = 28

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
            "touch_found", "touch_retried", "pages_stored", "pages_freed", "buffer_made", "buffer_removed",
            "setting_changed", "request_made", "task_placed", "node_state",
        ]

        /// The words of ``blockState``.
        public static let blockStates = ["online", "going-offline", "offline", "absent"]
    }

    /// How ``Kind/touchFound`` was. The raw values are a part of the format of recorded files.
    public enum Access: UInt8, Sendable, Hashable {
        /// The page cache has read the pages.
        case read = 0
        /// They were read past the page cache.
        case look = 1
        /// They were stored to, by write(2) or from the page cache, which has them now and did not have them all before.
        case store = 2
    }

    /// What ``Kind/settingChanged`` is about. The raw values are a part of the format of recorded files.
    public enum Setting: UInt8, Sendable, Hashable, CaseIterable {
        /// The huge pages of a buffer: the place in `HugeMode.allCases`.
        case hugeMode = 0
        /// Whether the pages of a buffer are pinned.
        case pinned = 1
        /// The bytes of a buffer.
        case size = 2
        /// Whether a buffer is direct.
        case direct = 3
        /// Whether reclaim moves pages to slower tiers.
        case demotion = 4
        /// The mode of automatic NUMA balancing.
        case balancing = 5
        /// The milliseconds between slices of its scan.
        case scanPeriod = 6
        /// The megabytes of a slice.
        case scanSize = 7
        /// The milliseconds within which a touch makes a page hot.
        case hotThreshold = 8
        /// The weight of a node under weighted interleaving.
        case interleaveWeight = 9
        /// Whether the weights are automatic.
        case automaticWeights = 10
        /// The reserved huge pages of a node.
        case hugePages = 11
        /// What becomes of memory that is added: the place in `OnlineType.allCases`.
        case autoOnline = 12
        /// The faults after which a page moves to a device.
        case deviceFaults = 13
        /// The touches after which a page moves away from it.
        case cpuFaults = 14
        /// Nanoseconds of the link of a node.
        case readLatency = 15
        /// Nanoseconds of the link of a node.
        case writeLatency = 16
        /// MB/s of the link of a node.
        case readBandwidth = 17
        /// MB/s of the link of a node.
        case writeBandwidth = 18

        /// The word in the text of an event.
        public var word: String {
            [
                "huge_mode", "pinned", "size", "direct", "demotion", "balancing", "scan_period", "scan_size",
                "hot_threshold", "interleave_weight", "automatic_weights", "huge_pages", "auto_online", "device_faults",
                "cpu_faults", "read_latency", "write_latency", "read_bandwidth", "write_bandwidth",
            ][Int(rawValue)]
        }
    }

    /// What ``Kind/requestMade`` asks for. The raw values are a part of the format of recorded files.
    public enum Request: UInt8, Sendable, Hashable, CaseIterable {
        /// Pages of a buffer to the node ``TraceEvent/to``; all if ``TraceEvent/count`` is 0.
        case migrate = 0
        /// Pages of a buffer from the node ``TraceEvent/from``, or from all others, to ``TraceEvent/to``; ``TraceEvent/other`` is the place of the
        /// reason in `MoveReason.allCases`.
        case move = 1
        /// All pages of the node ``TraceEvent/from`` to ``TraceEvent/to``.
        case migrateNode = 2
        /// Pages of a buffer to where a policy has them: its mode is in the low byte of ``TraceEvent/other``, its flag in the next one,
        /// the rest is as in ``Kind/policySet``.
        case conform = 3
        /// Frames for pages of a buffer in advance.
        case allocate = 4
        /// ``TraceEvent/count`` free pages of the node ``TraceEvent/to``; ``TraceEvent/value`` says whether pages may move to slower tiers.
        case reclaim = 5
        /// Longer free runs of frames of the node ``TraceEvent/to``.
        case compact = 6
        /// What the address space ``TraceEvent/other`` has, for a buffer that is a new one.
        case copySpace = 7
        /// Other addresses for pages of an address space, from the page ``TraceEvent/other`` on; ``TraceEvent/value`` says whether the old ones keep
        /// their policies.
        case remap = 8
        /// One run of frames of the node ``TraceEvent/to`` for a buffer.
        case makeContiguous = 9
        /// An ordinary buffer again, without pages.
        case releaseContiguous = 10
        /// Huge pages of the pools for pages of an address space that it may touch later.
        case reserve = 11

        /// The word in the text of an event.
        public var word: String {
            [
                "migrate", "move", "migrate_node", "conform", "allocate", "reclaim", "compact", "copy_space", "remap",
                "make_contiguous", "release_contiguous", "reserve",
            ][Int(rawValue)]
        }
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
        /// A further event of a touch.
        public static let continues = Flags(rawValue: 1 << 3)
        /// A program's own memory.
        public static let anonymous = Flags(rawValue: 1 << 4)
        /// What was so when the record began.
        public static let initial = Flags(rawValue: 1 << 5)
        /// A page of a buffer was asked for.
        public static let byPage = Flags(rawValue: 1 << 6)
        /// It follows from a ``Request`` that the trace has, too.
        public static let followsRequest = Flags(rawValue: 1 << 7)
        /// Policies of the pages are forgotten, too.
        public static let policies = Flags(rawValue: 1 << 8)
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

    /// The nodes below 64 of a word of bits.
    public static func nodes(ofBits bits: UInt64) -> IDSet { IDSet((0..<64).filter { bits >> UInt64($0) & 1 == 1 }) }

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
