public import Synchronization

/// Synchronization's `Mutex`, whose order the thread sanitizer sees, too.
///
/// Under contention that one takes its lock inside the standard library, by a futex, out of the sanitizer's sight; what
/// it guards would be reported as raced for. An atomic that each holder reads first and writes last tells the same
/// order once more, in two plain instructions.
///
/// Inlinable, for what other modules could not specialize would look its types up at each call; and public, for the compiler (6.3)
/// does not specialize across modules what is of the package alone.
public struct TracedMutex<Value: ~Copyable>: ~Copyable, Sendable {
    @usableFromInline let mutex: Synchronization.Mutex<Value>
    @usableFromInline let order = Atomic<UInt8>(0)

    /// A lock that nobody holds over a value.
    @inlinable
    public init(_ value: consuming sending Value) { mutex = Synchronization.Mutex(value) }

    /// Calls `body` with the value while no other thread has it; never recursively.
    @inlinable
    public borrowing func withLock<Result: ~Copyable, Failure: Error>(
        _ body: (inout sending Value) throws(Failure) -> sending Result
    ) throws(Failure) -> sending Result {
        try mutex.withLock { value throws(Failure) -> sending Result in
            _ = order.load(ordering: .acquiring)
            defer { order.store(0, ordering: .releasing) }
            return try body(&value)
        }
    }
}
