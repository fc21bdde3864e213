import Glibc
import Testing

/// Runs each test of a suite over each transport that the kernel has, one after the other.
struct EachTransport: SuiteTrait, TestTrait, TestScoping {
    /// What mounts of this task get their requests by.
    @TaskLocal static var current = Host.transport

    var isRecursive: Bool { true }

    private static let all =
        unsafe access("/sys/module/fuse/parameters/enable_uring", W_OK) == 0 ? ["classic", "io_uring"] : ["classic"]

    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @Sendable () async throws -> Void
    ) async throws {
        for transport in Self.all {
            try await Self.$current.withValue(transport) { try await function() }
        }
    }
}

extension Trait where Self == EachTransport {
    /// Over each transport, whatever the environment says.
    static var overEachTransport: Self { Self() }
}
