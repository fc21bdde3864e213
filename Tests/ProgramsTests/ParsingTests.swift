import CoherentMemory
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
}
