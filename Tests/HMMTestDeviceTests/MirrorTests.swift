import LinuxSupport
import SystemPackage
import Testing

@testable import HMMTestDevice

/// What the HMM test device makes of the files of /proc, without a process or a mount.
@Suite("HMM test device") struct MirrorTests {
    @Test("What a mapping is of")
    func lines() throws {
        func area(_ line: String) throws -> MemoryArea {
            MemoryArea(try #require(ProcMapping(line: line)), mount: DeviceNumber(major: 0, minor: 0x2f))
        }
        let heap = try area("55d0c8a00000-55d0c8a21000 rw-p 00000000 00:00 0                          [heap]")
        #expect(heap.addresses == 0x55d0_c8a0_0000..<0x55d0_c8a2_1000)
        #expect(heap.isReadable && heap.isWritable && !heap.isShared && heap.kind == .anonymous)
        #expect(try area("7f0000000000-7f0000001000 ---p 00000000 00:00 0").kind == .anonymous)
        #expect(try area("7f0000000000-7f0000001000 r--s 00000000 fe:01 77   /a file (deleted)").kind == .file)
        #expect(try area("7f0000000000-7f0000001000 r--p 00000000 00:00 0    [vvar]").kind == .special)
        #expect(
            try area("7f0000000000-7f0000200000 rw-p 00000000 00:10 9    /anon_hugepage (deleted)").kind == .hugetlb)
        #expect(try area("ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]").kind == .special)
        #expect(try area("7f0000000000-7f0000001000 rw-s 00001000 00:2f 12 /mnt/buffers/a").kind == .own(12))
    }

    private func area(_ pages: Range<UInt64>, readable: Bool = true, writable: Bool = true) -> MemoryArea {
        MemoryArea(
            addresses: pages.lowerBound << 12..<pages.upperBound << 12, isReadable: readable, isWritable: writable,
            isShared: false, kind: .anonymous)
    }

    @Test("A range is walked with its holes, and checked as a whole")
    func walk() throws {
        let areas = MemoryAreas([area(2..<4), area(4..<6, writable: false), area(8..<9, readable: false)])
        var seen: [Bool] = []
        areas.forEachPage(0..<10) { page, area in
            #expect(Int(page) == seen.count)
            seen.append(area != nil)
        }
        #expect(seen == [false, false, true, true, true, true, false, false, true, false])
        #expect(areas[0x1fff] == nil && areas[0x2000] != nil && areas[0x5fff] != nil && areas[0x6000] == nil)
        func error(_ pages: Range<UInt64>, isWrite: Bool) -> Errno? {
            do throws(Errno) {
                try areas.check(pages.lowerBound << 12..<pages.upperBound << 12, isWrite: isWrite)
                return nil
            } catch {
                return error
            }
        }
        #expect(error(2..<6, isWrite: false) == nil && error(2..<4, isWrite: true) == nil)
        #expect(error(2..<6, isWrite: true) == .notPermitted)
        #expect(error(5..<7, isWrite: false) == .badAddress && error(8..<9, isWrite: false) == .badAddress)
        #expect(error(0..<3, isWrite: false) == .badAddress)
    }

    @Test("Pages go in runs without a gap, none longer than asked")
    func groups() {
        #expect(TouchDetector.groups(of: []) == [])
        #expect(TouchDetector.groups(of: [1, 2, 3, 7, 9, 10]) == [1..<4, 7..<8, 9..<11])
        #expect(TouchDetector.gaps(between: [2..<3, 5..<7], in: area(2..<9)) == [3..<5, 7..<9])
        #expect(TouchDetector.gaps(between: [2..<9], in: area(2..<9)) == [])
        #expect(TouchDetector.groups(of: [1, 2, 3, 7], upTo: 2) == [1..<3, 3..<4, 7..<8])
    }
}
