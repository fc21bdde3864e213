import Foundation
import Testing

/// Every parser is given inputs made from good ones, each in a process of its own, for one that traps ends that.
///
/// `CDMFS_FUZZ_SECONDS` gives each so many seconds, from a seed of the moment. `CDMFS_FUZZ_INPUT="PARSER BASE64"` gives one input
/// again, as a failure shows it. `Package.swift` says how libFuzzer takes over.
@Suite("Fuzzing", .timeLimit(.minutes(90)))
struct FuzzTests {
    /// What takes a few seconds each.
    private static let rounds: [Parser: Int] = [
        .topology: 3000, .text: 20_000, .attribute: 500, .command: 300, .ioctl: 50_000, .request: 100, .ring: 3000,
        .trace: 300,
    ]

    private static let environment = ProcessInfo.processInfo.environment

    @Test("Hostile inputs", .enabled(if: environment["CDMFS_FUZZ_INPUT"] == nil), arguments: Parser.allCases)
    func hostile(parser: Parser) async throws {
        let note = FileManager.default.temporaryDirectory.path + "/cdmfs-fuzz-\(UUID().uuidString)"
        defer {
            for path in [note, note + Self.errors] { try? FileManager.default.removeItem(atPath: path) }
        }
        let seconds = Self.environment["CDMFS_FUZZ_SECONDS"].flatMap { Double($0) }
        let seed = seconds == nil ? 1 : UInt64(Date().timeIntervalSince1970)
        let rounds = Self.rounds[parser] ?? 1000
        let outcome = await #expect(processExitsWith: .success) {
            [
                parser, note = note as String, seconds = seconds as Double?, seed = seed as UInt64,
                rounds = rounds as Int
            ] in
            fuzz(parser, seed, rounds, seconds, note)
        }
        if outcome == nil {
            let input = (try? String(contentsOfFile: note, encoding: .utf8))?.split(separator: "\n").first ?? ""
            let errors = (try? String(contentsOfFile: note + Self.errors, encoding: .utf8)) ?? ""
            Issue.record("seed \(seed), CDMFS_FUZZ_INPUT=\"\(input)\"\n\(errors.prefix(8000))")
        }
    }

    @Test("One input", .enabled(if: environment["CDMFS_FUZZ_INPUT"] != nil))
    func replay() throws {
        let words = try #require(Self.environment["CDMFS_FUZZ_INPUT"]).split(separator: " ").map(String.init)
        let parser = try #require(words.first.flatMap(Parser.init), "no parser of that name")
        let input = try #require(words.count > 1 ? Data(base64Encoded: words[1]) : Data(), "no input in base64")
        parser(Array(input))
    }

    fileprivate static let errors = ".errors"
}

/// Gives a parser inputs, each of which is noted in a file before, for the case that it is the last.
private func fuzz(_ parser: Parser, _ seed: UInt64, _ rounds: Int, _ seconds: Double?, _ note: String) {
    // The message of a fatal error goes to a file, for the result of a process that failed is not told.
    let errors = unsafe open(note + FuzzTests.errors, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
    guard errors >= 0, dup2(errors, STDERR_FILENO) >= 0 else { fatalError("\(note) cannot be written") }
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
