import Glibc
import SystemPackage

/// pipeline MOUNTPOINT: a producer on the CPU, a transformation on the device, a consumer on the CPU, over one buffer.
///
/// The producer stores numbers into the first half of a buffer through a mapping; the device copies them into the second
/// half and computes their checksum; the consumer adds up what it finds there, through the same mapping. Nothing is
/// copied to or from the device: there is one memory. After each step it prints where the pages are.
@main
@safe
struct Pipeline {
    private static let half = 4 << 20
    private let mount: String
    private let words: UnsafeMutablePointer<UInt64>
    private let submit: FileDescriptor
    private let results: FileDescriptor

    static func main() {
        guard CommandLine.arguments.count == 2 else {
            fail("usage: pipeline MOUNTPOINT")
        }
        do {
            try Pipeline(mount: CommandLine.arguments[1]).run()
        } catch {
            fail("pipeline: \(error)")
        }
    }

    private static func fail(_ line: String) -> Never {
        _ = try? FileDescriptor.standardError.writeAll((line + "\n").utf8)
        exit(1)
    }

    private init(mount: String) throws {
        self.mount = mount
        let queue = mount + "/sys/class/cdm/cdm0/queue"
        submit = try .open(FilePath(queue + "/submit"), .writeOnly)
        results = try .open(FilePath(queue + "/results"), .readOnly)
        let file = try FileDescriptor.open(
            FilePath(mount + "/buffers/pipeline"), .readWrite, options: [.create, .truncate],
            permissions: [.ownerReadWrite])
        guard ftruncate(file.rawValue, off_t(2 * Self.half)) == 0,
            let address = unsafe mmap(
                nil, 2 * Self.half, PROT_READ | PROT_WRITE, MAP_SHARED, file.rawValue, 0),
            unsafe address != MAP_FAILED
        else { throw Errno(rawValue: errno) }
        unsafe words = address.assumingMemoryBound(to: UInt64.self)
        try file.close()
    }

    private func run() throws {
        let count = Self.half / MemoryLayout<UInt64>.size
        for round in 1...3 {
            for index in 0..<count { unsafe words[index] = UInt64(index * round) }
            try show("round \(round), produced   ")
            let values = try command(
                "copy pipeline 0 pipeline \(Self.half) \(Self.half)\ncrc32 pipeline \(Self.half) \(Self.half)")
            try show("round \(round), transformed", "crc32 \(String(values.last ?? 0, radix: 16))")
            var sum: UInt64 = 0
            for index in 0..<count { unsafe sum += words[count + index] }
            try show("round \(round), consumed   ", "sum \(sum)")
            guard sum == UInt64(count * (count - 1) / 2 * round) else { Self.fail("pipeline: the sum is wrong") }
        }
        _ = unsafe unlink(mount + "/buffers/pipeline")
    }

    /// Prints where the pages are.
    private func show(_ step: String, _ rest: String = "") throws {
        let file = try FileDescriptor.open(
            FilePath(mount + "/sys/kernel/cdm/buffers/pipeline/placement"), .readOnly)
        defer { try? file.close() }
        let placement = try text(file).split(separator: "\n").first.map(String.init) ?? ""
        print(step, placement, rest)
    }

    private func text(_ file: FileDescriptor) throws -> String {
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = try unsafe bytes.withUnsafeMutableBytes { try unsafe file.read(fromAbsoluteOffset: 0, into: $0) }
        return String(decoding: bytes.prefix(count), as: UTF8.self)
    }

    /// The last results of the device: number, status, value.
    private func report() throws -> [(number: Int, status: Substring, value: UInt64)] {
        try text(results).split(separator: "\n").map { line in
            let words = line.split(separator: " ")
            return (Int(words[0])!, words[1], UInt64(words[2])!)
        }
    }

    /// Has the device execute commands, and waits until they are done; what they came to.
    private func command(_ lines: String) throws -> [UInt64] {
        let before = try report().last?.number ?? 0
        let count = lines.split(separator: "\n").count
        _ = try submit.writeAll(lines.utf8)
        while true {
            let report = try report().filter { $0.number > before }
            guard report.count < count else {
                if let failure = report.first(where: { $0.status != "ok" }) {
                    Self.fail("pipeline: command \(failure.number): \(failure.status)")
                }
                return report.map(\.value)
            }
            var entry = pollfd(fd: results.rawValue, events: Int16(POLLPRI), revents: 0)
            _ = unsafe poll(&entry, 1, -1)
        }
    }
}
