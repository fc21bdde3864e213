import Dispatch
import LinuxSupport

private final class Answer<Value: Sendable>: Sendable {
    let value = TracedMutex<Value?>(nil)
}

/// What `body` returns on a thread of its own, or nil where it takes longer than so many seconds: then that thread is left
/// behind, which ends with the process. For what another process may hold back for ever.
func answer<Value: Sendable>(within seconds: Double, _ body: @escaping @Sendable () -> Value) -> Value? {
    let answer = Answer<Value>()
    let done = DispatchSemaphore(value: 0)
    DispatchQueue.global().async {
        let value = body()
        answer.value.withLock { $0 = value }
        done.signal()
    }
    _ = done.wait(timeout: .now() + seconds)
    return answer.value.withLock { $0 }
}
