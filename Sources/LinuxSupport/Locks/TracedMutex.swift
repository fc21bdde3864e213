public import Synchronization

/// Synchronization's `Mutex`, with an order that the thread sanitizer sees, too.
///
/// Under contention `Mutex` takes its lock by a futex inside the standard library, which the sanitizer does not see, so
/// it would report races on the guarded value. An atomic that each holder reads first and writes last shows the same
/// order again, in two plain instructions.
///
/// Inlinable, because code in other modules that is not specialized would look its types up at each call; and public,
/// because the compiler (6.3) does not specialize `package` code across modules.
public struct TracedMutex<Value: ~Copyable>: ~Copyable, Sendable {
    @usableFromInline let mutex: Synchronization.Mutex<Value>
    @usableFromInline let order = Atomic<UInt8>(0)

    /// An unlocked lock over a value.
    @inlinable
    public init(_ value: consuming sending Value) { mutex = Synchronization.Mutex(value) }

    /// Calls `body` with exclusive access to the value; never recursively.
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
