/// Where requests come from. Each source has a thread of its own, which takes its requests and answers them, or hands them on.
///
/// There are two: ``DeviceSource``, which reads `/dev/fuse`, and ``Ring``, for FUSE over io_uring.
protocol RequestSource: AnyObject, Sendable {
    /// Takes requests until the session ends. Called once, on the thread of the source.
    func serve(_ plan: WorkerPool.Plan, for pool: WorkerPool)
}
