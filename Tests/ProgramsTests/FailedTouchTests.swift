import Dispatch
import Glibc
import LinuxSupport
import Testing

@testable import Programs

@Suite("Touches of failed memory")
struct FailedTouchTests {
    /// A thread that there is not: nobody is traced.
    private static let nobody = Int32.max

    private func touch(of user: UInt32, _ fail: @escaping @Sendable () -> Void = {}) -> FailedTouch {
        FailedTouch(by: Self.nobody, of: user, granularity: 12, fail: fail)
    }

    @Test("It fails once, also where its thread does not get to it, and is healed once it has")
    func failing() throws {
        let touches = FailedTouches()
        let (failed, healed, gate) = (
            DispatchSemaphore(value: 0), DispatchSemaphore(value: 0), DispatchSemaphore(value: 0)
        )
        #expect(touches.begin(touch(of: 1) { failed.signal() }))
        #expect(failed.wait(timeout: .now() + 10) == .success)
        let late = FailedTouch(by: Self.nobody, of: 1, granularity: 12) {
            failed.signal()
        } heal: {
            healed.signal()
        }
        let isBegun = touches.begin(late) {
            gate.wait()
            return true
        }
        #expect(isBegun)
        #expect(failed.wait(timeout: .now() + 10) == .success)
        gate.signal()
        #expect(healed.wait(timeout: .now() + 10) == .success)
        #expect(failed.wait(timeout: .now()) == .timedOut)
    }

    @Test("A user has a share of the threads, and what is refused does not fail")
    func share() throws {
        let touches = FailedTouches()
        let (gate, over) = (DispatchSemaphore(value: 0), DispatchSemaphore(value: 0))
        func begin(_ user: UInt32) -> Bool {
            touches.begin(touch(of: user) { over.signal() }) {
                gate.wait()
                return false
            }
        }
        #expect((0..<20).count { _ in begin(7) } == 16)
        #expect(begin(8) && begin(0))
        for _ in 0..<18 { gate.signal() }
        for _ in 0..<18 { #expect(over.wait(timeout: .now() + 10) == .success) }
        #expect(over.wait(timeout: .now()) == .timedOut)
        // Its threads have gone some time later.
        let end = ContinuousClock.now + .seconds(10)
        gate.signal()
        while !begin(7), ContinuousClock.now < end { sched_yield() }
        #expect(over.wait(timeout: .now() + 10) == .success)
    }

    @Test("A listener stands for its user's programs in its namespace, and root's for those of all")
    func namespaces() throws {
        let namespaces = ProgramNamespaces()
        let own = getpid()
        #expect(namespaces.isEmpty && !namespaces.contains(own, of: 1))
        var (first, second) = (namespaces.add(namespaceOf: own, of: 1), namespaces.add(namespaceOf: own, of: 1))
        #expect(first != nil && second != nil)
        #expect(namespaces.contains(own, of: 1) && !namespaces.contains(own, of: 2))
        first = nil
        #expect(namespaces.contains(own, of: 1))
        second = namespaces.add(namespaceOf: own, of: 0)
        #expect(namespaces.contains(own, of: 2))
        second = nil
        #expect(namespaces.isEmpty && first == nil)
        #expect(namespaces.add(namespaceOf: Self.nobody, of: 1) == nil)
        #expect(second == nil)
    }
}
