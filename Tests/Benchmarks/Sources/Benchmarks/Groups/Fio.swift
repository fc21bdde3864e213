import Foundation

extension Group {
    /// What others measure with.
    static let fio: Group = Group(
        name: "fio", title: "fio, 4 KiB at random, reads and writes half and half, 64 MiB",
        columns: [.tmpfs, .tracked, .direct, .memfs]
    ) { stage, body in
        guard FileManager.default.isExecutableFile(atPath: "/usr/bin/fio") else {
            return stage.leaveOut("fio is not installed: its rows are left out")
        }
        try stage.withSites(fio.columns) { sites in
            for site in sites { try site.fill("fio", 64 << 20) }
            try body(
                ["mmap", "psync"].map { engine in
                    Trial(
                        [
                            Row(
                                "ioengine=\(engine)", .gigabytesPerSecond, .ratio(.tracked, to: .tmpfs),
                                .ratio(.direct, to: .tmpfs), .ratio(.tracked, to: .memfs))
                        ], sites
                    ) { [try job($0.file("fio"), engine)] }
                })
        }
    }

    /// Bytes a second, both ways together, in GB/s.
    private static func job(_ file: String, _ engine: String) throws -> Double {
        let fio = Process()
        fio.executableURL = URL(fileURLWithPath: "/usr/bin/fio")
        fio.arguments = [
            "--output-format=json", "--name=job", "--ioengine=\(engine)", "--filename=\(file)", "--size=64M", "--bs=4k",
            "--rw=randrw", "--time_based", "--runtime=250ms", "--thread", "--overwrite=1", "--randseed=1",
            "--fallocate=none",
            "--invalidate=0",
        ]
        let output = Pipe()
        fio.standardOutput = output
        try fio.run()
        let text = output.fileHandleForReading.readDataToEndOfFile()
        fio.waitUntilExit()
        guard fio.terminationStatus == 0 else {
            let kind = fio.terminationReason == .uncaughtSignal ? "signal" : "status"
            throw Failure("fio ended with \(kind) \(fio.terminationStatus)")
        }
        let jobs = try JSONDecoder().decode(FioOutput.self, from: text).jobs
        return jobs.reduce(0) { $0 + $1.read.bytes + $1.write.bytes } * 1e-9
    }
}

/// What is wanted of fio's report.
private struct FioOutput: Decodable {
    let jobs: [Job]

    struct Job: Decodable {
        let read: Direction
        let write: Direction
    }

    struct Direction: Decodable {
        /// In a second.
        let bytes: Double

        private enum CodingKeys: String, CodingKey { case bytes = "bw_bytes" }
    }
}
