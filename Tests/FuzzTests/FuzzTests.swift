import Foundation
import Testing

/// Every parser is given inputs made from good ones, each in a process of its own, for one that traps ends that.
///
/// `CDMFS_FUZZ_SECONDS` gives each so many seconds, from a seed of the moment; `Package.swift` says how libFuzzer takes over.
@Suite("Fuzzing", .timeLimit(.minutes(30)))
struct FuzzTests {
    /// What takes a few seconds each.
    private static let rounds: [Parser: Int] = [
        .topology: 3000, .text: 20_000, .attribute: 500, .command: 300, .ioctl: 50_000, .request: 100, .ring: 3000,
    ]

    @Test("Hostile inputs", arguments: Parser.allCases)
    func hostile(parser: Parser) async throws {
        let note = FileManager.default.temporaryDirectory.path + "/cdmfs-fuzz-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: note) }
        let seconds = ProcessInfo.processInfo.environment["CDMFS_FUZZ_SECONDS"].flatMap { Double($0) }
        let seed = seconds == nil ? 1 : UInt64(Date().timeIntervalSince1970)
        let rounds = Self.rounds[parser] ?? 1000
        let outcome = await #expect(processExitsWith: .success, observing: [\.standardErrorContent]) {
            [
                parser, note = note as String, seconds = seconds as Double?, seed = seed as UInt64,
                rounds = rounds as Int
            ] in
            fuzz(parser, seed, rounds, seconds, note)
        }
        if outcome == nil || outcome?.exitStatus != .exitCode(0) {
            let line = (try? String(contentsOfFile: note, encoding: .utf8))?.split(separator: "\n").first ?? ""
            let errors = String(decoding: outcome?.standardErrorContent ?? [], as: UTF8.self)
            Issue.record("seed \(seed), input \(line)\n\(errors.suffix(4000))")
        }
    }
}

/// Gives a parser inputs, each of which is noted in a file before, for the case that it is the last.
private func fuzz(_ parser: Parser, _ seed: UInt64, _ rounds: Int, _ seconds: Double?, _ note: String) {
    var inputs = Inputs(for: parser, seed: seed)
    let end = seconds.map { Date(timeIntervalSinceNow: $0) }
    guard let file = unsafe fopen(note, "w") else { fatalError("\(note) cannot be written") }
    var round = 0
    while end.map({ Date() < $0 }) ?? (round < rounds) {
        let input = inputs.next()
        unsafe rewind(file)
        unsafe fputs("\(parser) \(Data(input).base64EncodedString())\n", file)
        unsafe fflush(file)
        parser(input)
        round += 1
    }
    unsafe fclose(file)
}
