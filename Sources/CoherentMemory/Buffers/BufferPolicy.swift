/// The policies in force for the pages of a buffer (shmem_get_policy() of mm/shmem.c).
extension Buffer.State {
    /// The policy in force for a page: of its part, else of the buffer.
    func effective(at page: UInt64) -> EffectivePolicy {
        ranges.isEmpty ? effective : ranges[page]?.effective ?? effective
    }

    /// Whether neither the buffer nor a part of it has a policy.
    var hasNoPolicy: Bool { effective.mode == .default && ranges.isEmpty }
}

extension Placer {
    /// What is in force for a touch of a page of a buffer: the policy of its part, or of the buffer, else that of the task.
    func context(for state: borrowing Buffer.State, at page: UInt64, origin: Origin) -> AllocationContext {
        var context = context(for: state.effective(at: page), isDevice: state.isDevice, origin: origin)
        context.isPinned = state.isPinned
        context.share = state.pages.share
        return context
    }
}
