import Foundation

extension Group {
    /// A program's own memory, under `cdmfs run` and natively.
    static let programs: Group = Group(
        name: "programs", title: "Programs under cdmfs run", columns: []
    ) { stage, body in
        try stage.withSite(.tracked) { site in
            let ours = Contestant("cdmfs run")
            let peer = Contestant("native")
            func trial(_ what: String, _ title: String, _ unit: Unit, _ ratio: Double? = nil) -> Trial {
                let program = stage.settings.memoryLoop
                func measure(_ words: [String]) throws -> Double { unit.figure(seconds: try seconds(words + [what])) }
                return Trial(title, unit, ours: ours, peer: peer, atMostOrLeast: ratio) {
                    try measure([program])
                } measureOurs: {
                    try measure([stage.settings.cdmfs, "run", "--mount", site.path, "--", program])
                }
            }
            try body([
                trial("ascending", "first touch of a page of 4 KiB, in sequence", .microseconds, 1),
                trial("random", "first touch of a page of 4 KiB, at random", .microseconds, 1.5),
                trial("huge", "first touch of 4 KiB in sequence, huge pages allowed", .microseconds),
                trial("resident", "load of a word at random, memory that is there", .nanoseconds, 1.05),
                trial("heap", "malloc and free of up to 4 KiB, two threads", .nanoseconds, 1.1),
                trial("mapping", "mmap, a touch and munmap of 64 KiB", .microseconds),
                trial("exec", "fork, exec and wait for /bin/true", .milliseconds),
                trial("compile", "gcc -O2 of a large file", .milliseconds, 1.05),
            ])
        }
    }

    /// What a program prints.
    private static func seconds(_ words: [String]) throws -> Double {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: words[0])
        process.arguments = Array(words.dropFirst())
        let output = Pipe()
        process.standardOutput = output
        try process.run()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        guard process.terminationStatus == 0, let seconds = Double(text.dropLast()) else {
            throw Failure("\(words.joined(separator: " ")): status \(process.terminationStatus)")
        }
        return seconds
    }
}
