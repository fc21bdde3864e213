import LinuxSupport
import SystemPackage

/// Bytes of a buffer that have a policy of their own.
public struct PolicyRange: Sendable, Hashable {
    /// Multiples of a page, from the start of the buffer.
    public var bytes: Range<UInt64>
    /// The policy.
    public var policy: MemoryPolicy

    /// Bytes under a policy.
    public init(bytes: Range<UInt64>, policy: MemoryPolicy) {
        self.bytes = bytes
        self.policy = policy
    }
}

extension Machine {
    /// The most ranges of one buffer that have a policy of their own.
    public static var policyRangeLimit: Int { RangePolicies.limit }

    /// Sets where pages of a part of a buffer are allocated from now on (mbind(2) of a shared mapping); pages that are there stay.
    ///
    /// - Parameters:
    ///   - policy: the new policy.
    ///   - buffer: the buffer.
    ///   - bytes: widened to whole pages; the buffer need not be that long.
    ///   - task: the task that sets it, 0 for none in particular.
    /// - Throws: EPERM for a device's memory, which is always bound to its node, and for a restricted node that the task
    ///   may not use; EINVAL for a node without memory or no bytes; ENOMEM where the buffer has too many parts.
    public func setPolicy(
        _ policy: MemoryPolicy, of buffer: Buffer, bytes: Range<UInt64>, by task: Int32 = 0
    ) throws(Errno) {
        guard buffer.fixedSize == nil else { throw .notPermitted }
        guard !bytes.isEmpty, bytes.upperBound <= UInt64(Int64.max) else { throw .invalidArgument }
        try checkAccess(to: policy, by: task)
        let effective = nodeMap.effective(policy)
        let pages = bytes.lowerBound >> Page.shift..<Page.count(of: bytes.upperBound)
        let isSet = buffer.state.withLock { state in
            state.ranges.set(policy == state.policy ? nil : (policy, effective), for: pages)
        }
        guard isSet else { throw .noMemory }
        trace.notePolicy(policy, of: buffer.id, pages: pages, by: task)
    }

    /// The parts of a buffer that have a policy of their own, ascending.
    public func policyRanges(of buffer: Buffer) -> [PolicyRange] {
        policyRanges(of: buffer, in: 0..<UInt64.max, limit: .max)
    }

    /// Those that have a byte of a range, `limit` at most.
    public func policyRanges(of buffer: Buffer, in bytes: Range<UInt64>, limit: Int) -> [PolicyRange] {
        let pages = bytes.lowerBound >> Page.shift..<UInt64.max >> Page.shift
        return buffer.state.withLock { state in
            state.ranges.overlapping(pages).prefix(limit).map { part in
                PolicyRange(
                    bytes: part.pages.lowerBound << Page.shift..<part.pages.upperBound << Page.shift,
                    policy: part.policy)
            }
        }.filter { $0.bytes.lowerBound < bytes.upperBound }
    }

    /// What is in force in a range of a buffer, stretch by stretch; ascending and without gaps.
    public func policies(of buffer: Buffer, in bytes: Range<UInt64>) -> [PolicyRange] {
        let whole = buffer.policy
        var position = bytes.lowerBound
        var stretches: [PolicyRange] = []
        func add(_ policy: MemoryPolicy, upTo end: UInt64) {
            guard end > position else { return }
            stretches.append(PolicyRange(bytes: position..<end, policy: policy))
            position = end
        }
        for range in policyRanges(of: buffer, in: bytes, limit: .max) {
            add(whole, upTo: min(range.bytes.lowerBound, bytes.upperBound))
            add(range.policy, upTo: min(range.bytes.upperBound, bytes.upperBound))
        }
        add(whole, upTo: bytes.upperBound)
        return stretches
    }

    /// The policy of a byte of a buffer: of its part, else of the buffer.
    public func policy(of buffer: Buffer, at offset: UInt64) -> MemoryPolicy {
        buffer.state.withLock { state in state.ranges[offset >> Page.shift]?.policy ?? state.policy }
    }

    /// The node that a page of a buffer is on.
    ///
    /// - Parameters:
    ///   - buffer: the buffer.
    ///   - offset: a byte of the page.
    /// - Returns: nil for a page without a frame.
    public func nodeID(of buffer: Buffer, at offset: UInt64) -> Int? {
        let entry = buffer.state.withLock { $0.pages.table[offset >> Page.shift] }
        return entry.isPresent ? nodeMap.node(of: entry.pfn).id : nil
    }
}
