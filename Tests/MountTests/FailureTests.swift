import CLinux
import CoherentMemory
import Foundation
import SystemPackage
import Testing

extension TestMount {
    static let debug = "sys/kernel/debug/cdm/cdm0"

    func poison(_ address: Int) throws { try store("\(address)", in: "sys/devices/system/memory/hard_offline_page") }

    /// The physical address of a page of a buffer.
    func address(of page: Int, in buffer: String) throws -> Int {
        let run = try #require(
            pages(buffer).first { ($0.offset..<$0.offset + $0.length).contains(page * 4096) }, "page \(page)")
        return run.physical + page * 4096 - run.offset
    }

    /// The pages of a buffer with a flag.
    func pages(_ buffer: String, _ flag: String) throws -> [Int] {
        try pages(buffer).filter { $0.flags.split(separator: ",").contains(Substring(flag)) }.flatMap {
            Array($0.offset / 4096..<($0.offset + $0.length) / 4096)
        }
    }

    /// What read(2) of a page comes to.
    func read(_ file: String, page: Int, count: Int = 4096) throws -> Int {
        let descriptor = try FileDescriptor.open(FilePath(file), .readOnly)
        return try descriptor.closeAfter {
            var bytes = [UInt8](repeating: 0, count: count)
            return try unsafe bytes.withUnsafeMutableBytes {
                unsafe try descriptor.read(fromAbsoluteOffset: Int64(page) * 4096, into: $0)
            }
        }
    }

    func write(_ file: String, page: Int, count: Int = 4096) throws -> Int {
        let descriptor = try FileDescriptor.open(FilePath(file), .writeOnly)
        return try descriptor.closeAfter {
            let word = UInt64(page + 1)
            var bytes = [UInt8](repeating: 0, count: count)
            for index in 0..<8 { bytes[index] = UInt8(truncatingIfNeeded: word >> (8 * UInt64(index))) }
            return try unsafe bytes.withUnsafeBytes {
                unsafe try descriptor.write(toAbsoluteOffset: Int64(page) * 4096, $0)
            }
        }
    }
}

/// A program that maps a buffer and says, page by page, what a touch came to.
struct Toucher {
    struct Report: Equatable {
        var bad: [Int] = []
        var zero: [Int] = []
        var wrong: [Int] = []
        var code = 0
        /// si_addr_lsb.
        var granularity = 0
        var strays = 0
    }

    private let child: Child

    /// - Parameter prefix: the command that runs the program.
    init(_ mode: String, _ file: String, size: Int, threads: Int = 1, under prefix: [String] = []) throws {
        child = try Child(prefix + Client.poison.command([mode, file, size, threads]))
        guard try child.line() == "ready" else { throw Failure("poison did not start") }
    }

    func touch() throws -> Report {
        child.kill(SIGUSR1)
        var report = Report()
        for word in try child.line().split(separator: " ") {
            let pair = word.split(separator: "=", omittingEmptySubsequences: false)
            let numbers = pair[1].split(separator: ",").compactMap { Int($0) }
            switch pair[0] {
            case "bad": report.bad = numbers
            case "zero": report.zero = numbers
            case "wrong": report.wrong = numbers
            case "code": report.code = numbers[0]
            case "lsb": report.granularity = numbers[0]
            default: report.strays = numbers[0]
            }
        }
        return report
    }

    func end() throws -> Outcome {
        child.kill(SIGTERM)
        return try child.finish()
    }

    func finish() throws -> Outcome { try child.finish() }
}

extension Mounts {
    /// Poison and soft offlining, as programs that map the memory meet them.
    @Suite("Memory failures")
    struct FailureTests {
        private static let busError = 2

        @Test("Every process gets SIGBUS at the pages that were poisoned, and at no other", arguments: [1, 2])
        func exact(seed: UInt64) throws {
            try TestMount.with(checkingLeaks: false) { mount in
                let count = 256
                let file = try mount.makeBuffer("a", size: count * 4096, policy: "interleave:0-1")
                let touchers = try ["store", "load", "keep"].map { try Toucher($0, file, size: count * 4096) }
                #expect(try touchers.map { try $0.touch() }.allSatisfy { $0 == .init() })
                let events = try UeventReader(mount)
                var random = SplitMix64(seed: seed)
                var bad = Set<Int>()
                for _ in 0..<40 {
                    let page = Int.random(in: 0..<count, using: &random)
                    guard bad.insert(page).inserted else { continue }
                    let address = try mount.address(of: page, in: "a")
                    let isDevice = address >= Machines.nodeSize
                    switch Int.random(in: 0..<3, using: &random) {
                    case 0: try mount.poison(address)
                    case 1 where isDevice:
                        try mount.store("\(address - Machines.nodeSize)", in: "\(TestMount.debug)/inject_poison")
                    case 1: try mount.store("\(address / 4096)", in: "sys/kernel/debug/hwpoison/corrupt-pfn")
                    default: try mount.store("\(page * 4096)", in: mount.control("a") + "/poison")
                    }
                }
                var expected = Toucher.Report(bad: bad.sorted(), code: Self.busError)
                for toucher in touchers { #expect(try toucher.touch() == expected) }
                #expect(try mount.pages("a", "poisoned") == bad.sorted())
                let told = try events.events().filter { $0["CDM_EVENT"] == "poison" }
                #expect(
                    Set(told.compactMap { $0["OFFSET"].flatMap { Int($0.dropFirst(2), radix: 16) } })
                        == Set(bad.map { $0 * 4096 }))
                #expect(told.allSatisfy { $0["BUFFER"] == "a" && $0["ACTION"] == "change" })
                for page in bad {
                    #expect(throws: Errno.ioError) { try mount.read(file, page: page) }
                    #expect(throws: Errno.ioError) { try mount.write(file, page: page) }
                }
                // A read or write that meets good bytes first is short.
                if let first = (1..<count).first(where: { bad.contains($0) && !bad.contains($0 - 1) }) {
                    #expect(try mount.read(file, page: first - 1, count: 8192) == 4096)
                    #expect(try mount.write(file, page: first - 1, count: 8192) == 4096)
                }
                let totals = try [0, 1].map {
                    try Int(mount.word("sys/devices/system/node/node\($0)/memory_failure/total"))!
                }
                #expect(totals.reduce(0, +) == bad.count)
                #expect(try mount.meminfo(0)["HardwareCorrupted"] == totals[0] * 4)
                #expect(try mount.meminfo(1)["HardwareCorrupted"] == totals[1] * 4)

                // Without the page cache the same.
                let direct = try FileDescriptor.open(
                    FilePath(file), FileDescriptor.AccessMode(rawValue: O_RDONLY | O_DIRECT))
                try direct.closeAfter { () throws in
                    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 8192, alignment: 4096)
                    defer { unsafe buffer.deallocate() }
                    for first in 1..<count where bad.contains(first) {
                        #expect(throws: Errno.ioError) {
                            _ = try unsafe direct.read(fromAbsoluteOffset: Int64(first) * 4096, into: buffer)
                        }
                        guard !bad.contains(first - 1) else { continue }
                        #expect(
                            try unsafe direct.read(fromAbsoluteOffset: Int64(first - 1) * 4096, into: buffer) == 4096)
                    }
                }

                // A hole makes some good, clearing others; what is left stays as it is.
                let descriptor = try FileDescriptor.open(FilePath(file), .readWrite)
                for (index, page) in bad.sorted().enumerated() where index % 3 < 2 {
                    let run = try #require(
                        mount.pages("a").first { ($0.offset..<$0.offset + $0.length).contains(page * 4096) })
                    if index % 3 == 0 {
                        let mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
                        #expect(fallocate(descriptor.rawValue, mode, off_t(page * 4096), 4096) == 0)
                    } else {
                        let frame = (run.physical + page * 4096 - run.offset) / 4096
                        try mount.store("\(frame)", in: "sys/kernel/debug/hwpoison/unpoison-pfn")
                    }
                    expected.zero.append(page)
                    bad.remove(page)
                }
                try descriptor.close()
                expected.bad = bad.sorted()
                for toucher in touchers { #expect(try toucher.touch() == expected) }
                for toucher in touchers { #expect(try toucher.end().succeeded) }
            }
        }

        @Test("Pages that are dirty in a mapping, clean, or not resident fail alike")
        func conditions() throws {
            try TestMount.with(checkingLeaks: false) { mount in
                let file = try mount.makeBuffer("a", size: 16 * 4096, policy: "bind:1")
                let storing = try Toucher("store", file, size: 16 * 4096)
                // Dirty in the mapping: nothing was written back yet.
                try mount.store("0x3000", in: mount.control("a") + "/poison")
                #expect(try storing.touch() == .init(bad: [3], code: Self.busError))
                #expect(try storing.end().succeeded)
                let fresh = try mount.makeBuffer("b", size: 16 * 4096, policy: "bind:1")
                let keeping = try Toucher("keep", fresh, size: 16 * 4096)
                try mount.store("0x4000 0x2000", in: mount.control("b") + "/poison")
                #expect(try mount.pages("b", "poisoned") == [4, 5])
                let report = try keeping.touch()
                #expect(report.bad == [4, 5] && report.zero == [0, 1, 2, 3] + Array(6..<16))
                #expect(try keeping.end().succeeded)
                for text in ["0x1", "0x10000", "0 0", "0 0x11000", "x", "0 0x1000 1"] {
                    #expect(throws: Errno.invalidArgument) {
                        try mount.store(text, in: mount.control("a") + "/poison")
                    }
                }
            }
        }

        @Test("Soft offlining is not noticed; a page with too many correctable errors goes the same way")
        func softOffline() throws {
            try TestMount.with(checkingLeaks: false) { mount in
                let file = try mount.makeBuffer("a", size: 64 * 4096, policy: "bind:1")
                let toucher = try Toucher("store", file, size: 64 * 4096)
                let addresses = try (0..<8).map { try mount.address(of: $0 * 8, in: "a") }
                for address in addresses[..<4] {
                    try mount.store("\(address)", in: "sys/devices/system/memory/soft_offline_page")
                }
                for address in addresses[4...] {
                    try mount.store("50 \(address - Machines.nodeSize)", in: "\(TestMount.debug)/inject_correctable")
                }
                #expect(try toucher.touch() == .init())
                #expect(try mount.placement("a") == [1: 64])
                #expect(try mount.word("sys/class/cdm/cdm0/ras/retired") == "8")
                #expect(try mount.word("sys/class/cdm/cdm0/ras/poisoned") == "0")
                #expect(try mount.word("sys/class/cdm/cdm0/ras/correctable") == "200")
                #expect(
                    try mount.text("\(TestMount.debug)/poison_list").split(separator: "\n").allSatisfy {
                        $0.hasSuffix(" offlined")
                    })
                try mount.store("1", in: mount.control("a") + "/pinned")
                let pinned = try mount.address(of: 1, in: "a")
                #expect(throws: Errno.resourceBusy) {
                    try mount.store("\(pinned)", in: "sys/devices/system/memory/soft_offline_page")
                }
                #expect(try toucher.end().succeeded)
            }
        }

        @Test("The error model poisons while its rate is set, as its seed has it")
        func model() throws {
            try TestMount.with(checkingLeaks: false) { mount in
                let model = "\(TestMount.debug)/error_model"
                try mount.store("42", in: "\(model)/seed")
                #expect(throws: Errno.outOfRange) { try mount.store("1000001", in: "\(model)/uncorrectable_rate") }
                #expect(throws: Errno.invalidArgument) { try mount.store("-1", in: "\(model)/uncorrectable_rate") }
                try mount.store("200.5", in: "\(model)/uncorrectable_rate")
                #expect(try mount.word("\(model)/uncorrectable_rate") == "200.5")
                #expect(try eventually { try Int(mount.word("sys/class/cdm/cdm0/ras/uncorrectable"))! > 3 })
                try mount.store("0", in: "\(model)/uncorrectable_rate")
                // The last one may be on its way still.
                #expect(try eventually { try Int(mount.word("sys/class/cdm/cdm0/ras/poisoned"))! > 3 })
                #expect(try mount.text("\(TestMount.debug)/poison_list").contains("internal"))
            }
        }

        @Test("Everything below sys/kernel/debug is root's")
        func modes() throws {
            try TestMount.with { mount in
                for entry in try mount.walk("sys/kernel/debug") {
                    #expect(entry.status.st_mode & 0o077 == 0, "\(entry)")
                }
                #expect(try mount.entry("sys/kernel/debug").status.st_mode & 0o777 == 0o700)
            }
        }
    }
}
