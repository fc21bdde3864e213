import Dispatch
import Testing

@testable import CoherentFS

/// Memory of files that are gone is given back.
@Suite("Heap") struct HeapTrimmerTests {
    @Test("What is freed while much of it was given back already is given back, too")
    func rest() {
        let trimmed = DispatchSemaphore(value: 0)
        let trimmer = HeapTrimmer(many: 10, pause: .milliseconds(20)) { trimmed.signal() }
        for round in 0..<3 {
            for _ in 0..<10 { trimmer.freedFile() }
            #expect(trimmed.wait(timeout: .now() + 10) == .success, "round \(round)")
            // Too few to count as many by themselves.
            for _ in 0..<5 { trimmer.freedFile() }
            #expect(trimmed.wait(timeout: .now() + 10) == .success, "the rest of round \(round)")
            while trimmed.wait(timeout: .now() + .milliseconds(200)) == .success {}
        }
    }
}
