import MachineTopology
import SystemPackage
import Testing

@Suite struct IDSetTests {
    @Test(
        "Lists as the kernel prints them",
        arguments: [
            ([], ""), ([0], "0"), ([0, 1], "0-1"), ([3, 0, 2, 1, 8], "0-3,8"), ([1, 3, 5], "1,3,5"), ([1023], "1023"),
        ])
    func printing(ids: [Int], text: String) throws {
        let set = IDSet(ids)
        #expect(set.description == text)
        #expect(try IDSet(list: text) == set)
        #expect(Array(set) == ids.sorted())
    }

    @Test(
        "Lists as bitmap_parselist() reads them",
        arguments: [
            ("0-3,8\n", [0, 1, 2, 3, 8]), (" 1 , 2\t", [1, 2]), (",,1,,", [1]), ("\n", []), ("0-9:2/5", [0, 1, 5, 6]),
            ("1-1", [1]), ("2,1,2", [1, 2]), ("15", [15]), ("N", [15]), ("14-N", [14, 15]), ("all:1/8", [0, 8]),
            ("1\n2", [1]),
            ("007", [7]),
        ])
    func parsing(text: String, ids: [Int]) throws {
        #expect(try Array(IDSet(list: text, limit: 16)) == ids)
    }

    @Test(
        "Malformed lists",
        arguments: [
            ("a", Errno.invalidArgument), ("1-", .invalidArgument), ("-1", .invalidArgument), ("3-1", .invalidArgument),
            ("1--2", .invalidArgument), ("1.5", .invalidArgument), ("0x1", .invalidArgument),
            ("0-3:2", .invalidArgument),
            ("0-3:5/2", .invalidArgument), ("0-3:0/0", .invalidArgument), ("16", .outOfRange), ("0-16", .outOfRange),
            ("4294967296", .overflow), ("99999999999999999999999999", .overflow), ("0-1x", .invalidArgument),
            ("1:1/1", .invalidArgument), ("٣", .invalidArgument),
        ])
    func malformed(text: String, error: Errno) {
        #expect(throws: error) { try IDSet(list: text, limit: 16) }
    }

    @Test(
        "Maps as the kernel prints them",
        arguments: [
            ([0, 1], 2, "3"), ([0], 8, "01"), ([], 4, "0"), ([0, 31], 32, "80000001"), ([32], 33, "1,00000000"),
            ([0, 63], 64, "80000000,00000001"), ([5], 40, "00,00000020"), ([], 0, ""),
        ])
    func maps(ids: [Int], width: Int, text: String) {
        #expect(IDSet(ids).map(width: width) == text)
    }

    @Test func algebra() {
        let set: IDSet = [1, 2, 700]
        #expect(set.union([3]) == [1, 2, 3, 700])
        #expect(set.intersection([2, 3]) == [2])
        #expect(set.subtracting([1]) == [2, 700])
        #expect(set.contains(700) && !set.contains(-1) && !set.contains(5000))
        #expect(set.count == 3 && set.min() == 1 && set.max() == 700)
        #expect(IDSet().isEmpty && IDSet(0..<3) == [0, 1, 2])
    }

    @Test func theHostHasCPUs() {
        #expect(!IDSet.onlineCPUs.isEmpty)
    }
}
