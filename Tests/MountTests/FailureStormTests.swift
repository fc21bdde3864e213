import CLinux
import CoherentMemory
import Dispatch
import Foundation
import Synchronization
import SystemPackage
import Testing

extension Mounts {
    /// Pages fail, are cleared, move and vanish at random from several threads, beside programs that verify what they read.
    @Suite("Failure storm")
    struct FailureStormTests {
        /// What may happen to a job that meets another one.
        private static let expected: Set<Errno> = [
            .resourceBusy, .noMemory, .noSpace, .invalidArgument, .operationNotSupportedByDevice,
            .noSuchFileOrDirectory,
            .noSuchAddressOrDevice, .ioError, .interrupted, Errno(rawValue: EHWPOISON),
        ]

        private static let pages = 512
        private static let buffers = ["a", "b"]

        private struct Storm {
            let mount: TestMount
            var random: SplitMix64

            private mutating func any(_ count: Int) -> Int { Int(random.next() % UInt64(count)) }

            mutating func step(_ kind: Int) throws {
                let buffer = FailureStormTests.buffers[any(2)]
                let page = any(FailureStormTests.pages)
                switch kind {
                case 0:
                    try mount.store("\(page * 4096)", in: mount.control(buffer) + "/poison")
                case 1:
                    let address = any(2 * Machines.nodeSize / 4096) * 4096
                    try mount.store(
                        "\(address)", in: "sys/devices/system/memory/\(any(2) == 0 ? "soft" : "hard")_offline_page")
                case 2:
                    let retired = try mount.text("sys/kernel/cdm/retired").split(separator: "\n")
                    guard !retired.isEmpty,
                        let address = Int(retired[any(retired.count)].split(separator: " ")[0].dropFirst(2), radix: 16)
                    else { return }
                    try mount.store("\(address / 4096)", in: "sys/kernel/debug/hwpoison/unpoison-pfn")
                case 3:
                    let length = min(1 + any(64), FailureStormTests.pages - page)
                    try mount.store("\(page * 4096) \(length * 4096) \(any(2))", in: mount.control(buffer) + "/migrate")
                case 4:
                    let descriptor = try FileDescriptor.open(FilePath("\(mount.path)/buffers/\(buffer)"), .readWrite)
                    defer { try? descriptor.close() }
                    let mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
                    guard fallocate(descriptor.rawValue, mode, off_t(page * 4096), 8 * 4096) == 0 else {
                        throw Errno(rawValue: errno)
                    }
                    for page in page..<min(page + 8, FailureStormTests.pages) {
                        _ = try mount.write("\(mount.path)/buffers/\(buffer)", page: page)
                    }
                case 5:
                    try mount.store(
                        "\(any(50) + 1) \(any(1 << 16) * 4096)", in: "\(TestMount.debug)/inject_correctable")
                case 6:
                    try mount.store(
                        any(2) == 0 ? "offline" : "online", in: "sys/devices/system/memory/memory\(16 + any(16))/state")
                default:
                    try mount.store("down", in: "sys/class/cdm/cdm0/link/state")
                    try mount.store("up", in: "sys/class/cdm/cdm0/link/state")
                    try mount.store("1", in: "sys/class/cdm/rescan")
                }
            }
        }

        @Test("Each byte read is right, or an error is due", arguments: [1])
        func storm(seed: UInt64) throws {
            try TestMount.with(checkingLeaks: false) { mount in
                let size = Self.pages * 4096
                let touchers = try Self.buffers.flatMap { name in
                    let file = try mount.makeBuffer(name, size: size, policy: "prefer:1")
                    return try ["store", "load"].map { try Toucher($0, file, size: size) }
                }
                try mount.store("online", in: "sys/devices/system/memory/auto_online_blocks")
                let deadline = Date(timeIntervalSinceNow: 8)
                let failures = Failures()
                let group = DispatchGroup()
                // The link is cut by one thread, some times a second.
                for thread in 0..<4 {
                    DispatchQueue(label: "storm\(thread)").async(group: group) {
                        var storm = Storm(mount: mount, random: SplitMix64(seed: seed << 8 + UInt64(thread)))
                        var random = SplitMix64(seed: seed << 16 + UInt64(thread))
                        while Date() < deadline {
                            do {
                                try storm.step(thread == 0 ? 7 : Int(random.next() % 7))
                            } catch let error as Errno where Self.expected.contains(error) {
                            } catch {
                                failures.add("thread \(thread): \(error)")
                            }
                            if thread == 0 { usleep(250_000) }
                        }
                    }
                }
                while Date() < deadline {
                    for toucher in touchers {
                        let report = try toucher.touch()
                        if !report.wrong.isEmpty || report.strays > 0 || ![0, 2].contains(report.code) {
                            failures.add("\(report)")
                        }
                    }
                }
                group.wait()
                // Whatever the last step of the link came to.
                try mount.store("up", in: "sys/class/cdm/cdm0/link/state")
                try mount.store("1", in: "sys/class/cdm/rescan")
                #expect(failures.all.isEmpty, "\(failures.all.prefix(4))")

                // All that failed is cleared, all that is lost is punched: then the accounts are as at the beginning.
                for line in try mount.text("sys/kernel/cdm/retired").split(separator: "\n") {
                    let words = line.split(separator: " ")
                    let (start, length) = (
                        Int(words[0].dropFirst(2), radix: 16)!, Int(words[1].dropFirst(2), radix: 16)!
                    )
                    for frame in start / 4096..<(start + length) / 4096 {
                        try mount.store("\(frame)", in: "sys/kernel/debug/hwpoison/unpoison-pfn")
                    }
                }
                #expect(try mount.text("sys/kernel/cdm/retired").isEmpty)
                for name in Self.buffers {
                    #expect(try mount.pages(name, "poisoned").isEmpty)
                    for page in try mount.pages(name, "lost") {
                        let descriptor = try FileDescriptor.open(FilePath("\(mount.path)/buffers/\(name)"), .readWrite)
                        let mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
                        #expect(fallocate(descriptor.rawValue, mode, off_t(page * 4096), 4096) == 0)
                        try descriptor.close()
                    }
                }
                for toucher in touchers {
                    let report = try toucher.touch()
                    #expect(report.bad.isEmpty && report.wrong.isEmpty, "\(report)")
                    #expect(try toucher.end().succeeded)
                }
                for name in Self.buffers { try FileManager.default.removeItem(atPath: "\(mount.path)/buffers/\(name)") }
                try? mount.store("online", in: "sys/class/cdm/cdm0/state")
                for node in [0, 1] {
                    let isWhole = try eventually {
                        try mount.meminfo(node)["MemFree"] == mount.meminfo(node)["MemTotal"]
                    }
                    #expect(isWhole, "node \(node)")
                    #expect(try mount.meminfo(node)["HardwareCorrupted"] ?? 0 == 0)
                }
            }
        }

        private final class Failures: Sendable {
            private let texts = Mutex<[String]>([])
            var all: [String] { texts.withLock { $0 } }
            func add(_ text: String) { texts.withLock { $0.append(text) } }
        }
    }
}
