import Glibc
import SystemPackage
import Testing

@testable import CoherentMemory

/// Whether there can be files on a tmpfs of their own. Under CI a machine without is a failure, not a reason to skip.
private let hasTmpfs: Bool = unsafe getenv("CI") != nil || geteuid() == 0

/// The file behind a direct buffer, and pages of it that nobody can touch.
@Suite("Backing files", .enabled(if: hasTmpfs))
struct BackingFileTests {
    /// Where a touch through a mapping of its own would be SIGBUS, asked by a call that is told so: EFAULT.
    private func isTouchable(_ file: BackingFile, page: Int) throws -> Bool {
        let length = Int(Page.count(of: file.size)) * 4096
        let address = try unsafe #require(
            unsafe mmap(nil, length, PROT_READ, MAP_SHARED, file.descriptor.rawValue, 0))
        defer { unsafe munmap(address, length) }
        var ends: [Int32] = [0, 0]
        try #require(unsafe pipe(&ends) == 0)
        defer { for end in ends { close(end) } }
        return unsafe write(ends[1], address + page * 4096, 1) == 1
    }

    private func make(pages: UInt64, isHuge: Bool = false) throws -> BackingFile {
        let file = try BackingFile(isHuge: isHuge)
        try file.resize(to: pages * 4096)
        return file
    }

    @Test("Growing keeps the bytes, shrinking drops them, and what is new is zero")
    func resizing() throws {
        let file = try make(pages: 2)
        unsafe file.address(of: 4096).storeBytes(of: 7, as: UInt8.self)
        try file.resize(to: 3 << 20)
        #expect(unsafe file.address(of: 4096).load(as: UInt8.self) == 7)
        #expect(unsafe file.address(of: 3 << 20 - 1).load(as: UInt8.self) == 0)
        #expect(file.nextData(from: 0) == 4096 && file.nextHole(from: 4096) == 8192)
        try file.resize(to: 4097)
        try file.resize(to: 8192)
        #expect(unsafe file.address(of: 4096).load(as: UInt8.self) == 7)
        try file.resize(to: 4096)
        try file.resize(to: 8192)
        #expect(unsafe file.address(of: 4096).load(as: UInt8.self) == 0)
    }

    @Test("The time of a store through a mapping is told once, and what is done to the file besides is no store")
    func storeTimes() throws {
        let file = try make(pages: 4)
        _ = file.takeStoreTime()
        let address = try unsafe #require(
            unsafe mmap(nil, 16384, PROT_READ | PROT_WRITE, MAP_SHARED, file.descriptor.rawValue, 0))
        defer { unsafe munmap(address, 16384) }
        #expect(file.takeStoreTime() == nil)
        // The clock of the times goes by ticks.
        usleep(20_000)
        unsafe address.storeBytes(of: 1, as: UInt8.self)
        try file.withhold(2..<3)
        #expect(file.takeStoreTime() != nil && file.takeStoreTime() == nil)
        usleep(20_000)
        try file.withhold(3..<4)
        #expect(file.takeStoreTime() == nil)
    }

    @Test("Pages that are withheld cannot be touched, however often it is tried; the others hold what they held")
    func withholding() throws {
        let file = try make(pages: 1000)
        for page in stride(from: 0, to: 1000, by: 3) {
            unsafe file.address(of: UInt64(page) * 4096).storeBytes(of: UInt8(truncatingIfNeeded: page), as: UInt8.self)
        }
        try file.withhold(10..<12)
        try file.withhold(999..<1000)
        for _ in 0..<2 {
            for page in [10, 11, 999] { #expect(try !isTouchable(file, page: page)) }
            for page in [9, 12, 998, 0, 500] { #expect(try isTouchable(file, page: page)) }
        }
        #expect(file.isWithheld(40960..<40961) && !file.isWithheld(0..<40960) && file.isWithheld(0..<(1000 << 12)))
        for page in stride(from: 0, to: 999, by: 3) {
            let byte = unsafe file.address(of: UInt64(page) * 4096).load(as: UInt8.self)
            #expect(byte == UInt8(truncatingIfNeeded: page))
        }
        try file.restore(10..<12)
        #expect(try isTouchable(file, page: 10) && isTouchable(file, page: 11) && !isTouchable(file, page: 999))
        #expect(unsafe file.address(of: 40960).load(as: UInt8.self) == 0)
    }

    @Test("Holes and other sizes leave withheld pages withheld")
    func holes() throws {
        let file = try make(pages: 100)
        try file.withhold(50..<51)
        file.zero(0..<100 << 12)
        #expect(try !isTouchable(file, page: 50) && isTouchable(file, page: 51))
        try file.resize(to: 2000 << 12)
        #expect(try !isTouchable(file, page: 50) && isTouchable(file, page: 1999))
        try file.resize(to: 60 << 12)
        #expect(try !isTouchable(file, page: 50) && isTouchable(file, page: 59))
        try file.resize(to: 50 << 12)
        try file.resize(to: 60 << 12)
        #expect(try isTouchable(file, page: 50) && file.withheld.isEmpty)
    }

    @Test("A page within a huge one, and all of a file")
    func huge() throws {
        let file = try make(pages: 2048, isHuge: true)
        for unit in 0..<4 { unsafe memset(file.address(of: UInt64(unit) << 21), 5, 2 << 20) }
        try file.withhold(700..<701)
        #expect(try !isTouchable(file, page: 700) && isTouchable(file, page: 701))
        #expect(unsafe file.address(of: 701 << 12).load(as: UInt8.self) == 5)
        try file.withhold(0..<2048)
        for page in [0, 700, 2047] { #expect(try !isTouchable(file, page: page)) }
        try file.restore(0..<2048)
        #expect(try isTouchable(file, page: 700))
    }
}
