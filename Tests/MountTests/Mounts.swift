import Testing

/// Every test that mounts, one at a time.
@Suite(
    .serialized, .enabled(if: Host.canMount, "mounting needs root and /dev/fuse"), .timeLimit(.minutes(5)))
enum Mounts {}

@Test("Continuous integration can mount", .enabled(if: Host.isContinuousIntegration))
func continuousIntegrationCanMount() {
    #expect(Host.isRoot)
    #expect(Host.hasFuse, "/dev/fuse is missing: the tests that mount did not run")
}
