/// The events that are recorded, of those that are enabled: by buffer, node and task.
public struct TraceFilter: Sendable, Hashable {
    /// What a test looks at.
    public enum Field: UInt8, Sendable, Hashable, BitwiseCopyable {
        /// The id of the buffer.
        case buffer
        /// Any of the nodes of the event.
        case node
        /// The thread.
        case pid
    }

    /// One comparison.
    public struct Test: Sendable, Hashable, BitwiseCopyable {
        /// What is compared.
        public var field: Field
        /// The value.
        public var value: UInt64
        /// Whether it must differ.
        public var isNegated: Bool
        /// Whether the next test begins an alternative.
        var endsAlternative = false

        /// A comparison.
        public init(_ field: Field, _ value: UInt64, isNegated: Bool = false) {
            self.field = field
            self.value = value
            self.isNegated = isNegated
        }

        func holds(for event: TraceEvent) -> Bool {
            let isEqual =
                switch field {
                case .buffer: event.buffer == value
                case .node: UInt64(event.from) == value || UInt64(event.to) == value
                case .pid: UInt64(UInt32(bitPattern: event.pid)) == value
                }
            return isEqual != isNegated
        }
    }

    /// The most tests of a filter.
    public static let limit = 64

    /// The tests, alternative by alternative.
    let tests: [Test]

    /// A filter that records what passes every test of any of some alternatives.
    public init(_ alternatives: [[Test]]) {
        tests = alternatives.flatMap { tests in
            var tests = tests
            if let last = tests.indices.last { tests[last].endsAlternative = true }
            return tests
        }
    }

    /// The tests, by alternatives.
    public var alternatives: [[Test]] {
        tests.reduce(into: [[]]) { alternatives, test in
            alternatives[alternatives.count - 1].append(test)
            if test.endsAlternative { alternatives.append([]) }
        }.filter { !$0.isEmpty }
    }

    static func passes(_ event: TraceEvent, _ tests: UnsafePointer<Test>, count: Int) -> Bool {
        var isPassed = true
        for index in 0..<count {
            let test = unsafe tests[index]
            isPassed = isPassed && test.holds(for: event)
            guard test.endsAlternative else { continue }
            if isPassed { return true }
            isPassed = true
        }
        return count == 0
    }
}
