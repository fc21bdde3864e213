import CoherentMemory
import Glibc
import Testing

@testable import Programs

@Suite("Files of /proc about programs")
struct ParsingTests {
    @Test("Who is of one user")
    func status() {
        let status = TaskStatus(process: 7, users: [1, 1, 1], groups: [2, 2, 2], capabilities: 1 << 23)
        #expect(status.has(.nice))
        #expect(!status.has(.trace))
        func other(_ users: [UInt32], _ groups: [UInt32]) -> TaskStatus {
            TaskStatus(process: 8, users: users, groups: groups, capabilities: 0)
        }
        #expect(status.isSameUser(as: other([1, 1, 1], [2, 2, 2])))
        #expect(!status.isSameUser(as: other([1, 0, 1], [2, 2, 2])))
        #expect(!status.isSameUser(as: other([1, 1, 1], [2, 2, 3])))
        #expect(!status.isSameUser(as: other([], [])))
    }

    @Test("Mappings let a program store where all of them are writable")
    func stores() throws {
        let size = UInt64(sysconf(Int32(_SC_PAGESIZE)))
        let memory = try #require(
            unsafe mmap(nil, Int(4 * size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
        defer { unsafe munmap(memory, Int(4 * size)) }
        let start = UInt64(UInt(bitPattern: memory))
        #expect(unsafe mprotect(memory + Int(size), Int(size), PROT_READ) == 0)
        #expect(unsafe mprotect(memory + Int(3 * size), Int(size), PROT_NONE) == 0)
        let mappings = try MapsReader.mappings(of: getpid(), at: start..<start + 4 * size)
        for (range, expected) in [
            (start..<start + size, true), (start + size - 4..<start + size, true), (start..<start + size + 1, false),
            (start + size..<start + size + 4, false), (start + 2 * size - 1..<start + 2 * size + 4, false),
            (start + 2 * size..<start + 3 * size, true), (start + 3 * size - 1..<start + 3 * size + 1, false),
            (8..<16, false), (start..<start, true),
        ] {
            let name = "\(range.lowerBound - min(start, range.lowerBound)) to \(range.upperBound)"
            #expect(MapsReader.mayStore(getpid(), to: range) == expected, "\(name)")
            #expect(MapsReader.mayStore(to: range, of: mappings) == expected, "\(name)")
        }
    }

    @Test("Areas: what they cover, and which one has an address")
    func areas() {
        let areas = [(0x1000, 0x3000), (0x3000, 0x4000), (0x8000, 0x9000)].map {
            MemoryArea(addresses: UInt64($0.0)..<UInt64($0.1), content: .other)
        }
        #expect(areas.cover(0x1000..<0x4000))
        #expect(areas.cover(0x1800..<0x3800))
        #expect(!areas.cover(0x0..<0x2000))
        #expect(!areas.cover(0x3000..<0x9000))
        #expect(areas.area(at: 0x3fff)?.addresses.lowerBound == 0x3000)
        #expect(areas.area(at: 0x4000) == nil)
        #expect(areas.area(at: 0xfff) == nil)
        #expect(areas.area(at: 0x8000)?.addresses.lowerBound == 0x8000)
        #expect(areas.area(at: .max) == nil)
    }

    @Test("A filter of calls decides as the kernel does")
    func filters() {
        func word(_ code: UInt64, _ constant: UInt64, _ ifTrue: UInt64 = 0, _ ifFalse: UInt64 = 0) -> UInt64 {
            code | ifTrue << 16 | ifFalse << 24 | constant << 32
        }
        let (allow, kill) = (UInt64(0x7fff_0000), UInt64(0x8000_0000))
        // Call 9 is allowed if the low half of its third argument is not 7 by bits 0 to 2.
        let filter = SeccompFilter(words: [
            word(0x20, 4), word(0x15, 0xc000_003e, 0, 6), word(0x20, 0), word(0x15, 9, 0, 4), word(0x20, 32),
            word(0x54, 7), word(0x15, 7, 1, 0), word(0x06, allow), word(0x06, kill),
        ])
        #expect(filter.allows(FilteredCall(number: 9, arguments: [0, 0, 5])))
        #expect(!filter.allows(FilteredCall(number: 9, arguments: [0, 0, 7])))
        #expect(!filter.allows(FilteredCall(number: 10)))
        #expect(filter.action(for: FilteredCall(number: 9)) == UInt32(allow))
        // The end is missed, the offset is none, the instruction is unknown.
        for words in [[word(0x20, 0)], [word(0x20, 64)], [word(0x20, 2)], [word(0xff, 0)], [word(0x05, 1 << 31)], []] {
            #expect(SeccompFilter(words: words).action(for: FilteredCall(number: 1)) == nil)
        }
        // A and X, memory, arithmetic: ((3 + 4) * 2 ^ 1) >> 1 is 7, which is an error number's action.
        let sums = SeccompFilter(words: [
            word(0x00, 3), word(0x01, 4), word(0x0c, 0), word(0x24, 2), word(0xa4, 1), word(0x74, 1), word(0x02, 15),
            word(0x00, 0), word(0x60, 15), word(0x44, 0x5_0000), word(0x16, 0),
        ])
        #expect(sums.action(for: FilteredCall(number: 1)) == 0x5_0007)
    }
}
