import Foundation

/// What a run measures with.
struct Settings {
    /// The cdmfs to measure.
    let cdmfs: String
    /// The plain C loop.
    let plainLoop: String
    /// The program that uses memory of its own.
    let memoryLoop: String
    /// The directory that has libfuse's examples, if any.
    let peers: String?
    /// The directory to mount in.
    let scratch: String
    /// Bytes of a file that is gone through from end to end.
    let bytes = 128 << 20
    /// Bytes of a file that is accessed at random.
    let randomBytes: Int
    /// Buffers of the mount that is measured against one with 1,000.
    let manyBuffers: Int
    /// Requests of a sample.
    let requests = 40_000
    /// Seconds of a sample that has no end of its own.
    let budget = 0.1

    /// A power of two up to 4 GiB of which the memory that is there holds all copies, and a third more.
    static func fittingRandomBytes(copies: Int) -> Int {
        let lines = (try? String(contentsOfFile: "/proc/meminfo", encoding: .utf8))?.split(separator: "\n") ?? []
        let available = lines.first { $0.hasPrefix("MemAvailable:") }?.split(separator: " ").dropFirst().first
        let bytes = (available.flatMap { Int($0) } ?? 0) << 10
        var size = 4 << 30
        while size > 256 << 20, size * copies > bytes * 3 / 4 { size /= 2 }
        return size
    }
}
