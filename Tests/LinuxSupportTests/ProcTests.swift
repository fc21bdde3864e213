import Glibc
import LinuxSupport
import SystemPackage
import Testing

/// Lines of /proc, as the kernel prints them and as nobody should.
@Suite("Files of /proc") struct ProcTests {
    @Test("A line of maps is a mapping")
    func mapping() throws {
        let heap = try #require(
            ProcMapping(line: "55d0c8a00000-55d0c8a21000 rw-p 00000000 00:00 0                          [heap]"))
        #expect(heap.addresses == 0x55d0_c8a0_0000..<0x55d0_c8a2_1000 && heap.path == "[heap]")
        #expect(heap.isReadable && heap.isWritable && !heap.isExecutable && !heap.isShared && heap.inode == 0)
        let file = try #require(
            ProcMapping(line: "7f0000000000-7f0000001000 r-xs 00003000 fe:1f 77   /a file (deleted)"))
        #expect(file.device == DeviceNumber(major: 0xfe, minor: 0x1f) && file.inode == 77 && file.offset == 0x3000)
        #expect(file.isExecutable && file.isShared && !file.isWritable && file.path == "/a file (deleted)")
        #expect(ProcMapping(line: "7f0000000000-7f0000001000 ---p 00000000 00:00 0 ")?.path == "")
        #expect(ProcMapping(line: "7f0000000000-7f0000001000 ---p 00000000 00:00 0")?.path == "")
        let last = "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]"
        #expect(ProcMapping(line: last)?.addresses.upperBound == 0xffff_ffff_ff60_1000)
    }

    @Test(
        "What is no mapping is none",
        arguments: [
            "", "nonsense", "7f0000001000-7f0000000000 rw-p 00000000 00:00 0", "1-2 rw 0 0:0 0", "1-2", "1-2 ",
            "1-2 rw-p",
            "1-2 rw-p 0 0:0", "1-2 rw-p 0 0:0 ", "1-2 rw-p 0 0:0 x", "10000000000000000-2 rw-p 0 0:0 0",
            "1-2 rw-p 0 0:0 18446744073709551616", "1-2 rw-p 0 100000000:0 0", "-2 rw-p 0 0:0 0", "1-2 rw-p  0:0 0",
        ])
    func noMapping(line: String) { #expect(ProcMapping(line: line) == nil) }

    @Test("Of one device, only its mappings")
    func ofDevice() {
        let line = Array("1000-2000 rw-s 00001000 00:2f 12 /mnt/a".utf8)
        #expect(ProcMapping(line.span, on: DeviceNumber(major: 0, minor: 0x2f))?.inode == 12)
        #expect(ProcMapping(line.span, on: DeviceNumber(major: 0, minor: 0x2e)) == nil)
    }

    @Test("The own mappings have the own code among them")
    func ownMappings() throws {
        let maps = try ProcDescriptor("/proc/\(getpid())/maps")
        var mappings: [ProcMapping] = []
        var lines = 0
        try maps.forEachLine { line in
            lines += 1
            if let mapping = ProcMapping(line) { mappings.append(mapping) }
            return true
        }
        #expect(mappings.count == lines && mappings.contains { $0.isExecutable && $0.inode != 0 })
        var first = 0
        try maps.forEachLine { _ in
            first += 1
            return false
        }
        #expect(first == 1)
    }

    @Test("A line of mountinfo is a mount")
    func mount() throws {
        let line =
            "36 35 0:47 /a\\040b /mnt\\134x\\012y rw,noatime master:1 shared:2 - fuse.cdmfs my\\040machine rw,user_id=0"
        let mount = try #require(MountInfo(line: line))
        #expect(mount.mountPoint == "/mnt\\x\ny" && mount.root == "/a b" && mount.source == "my machine")
        #expect(mount.device == DeviceNumber(major: 0, minor: 47) && mount.type == "fuse.cdmfs")
        #expect(mount.options == ["rw", "noatime", "rw", "user_id=0"])
        #expect(MountInfo(line: "36 35 0:47 / /mnt rw -") == nil)
        #expect(MountInfo(line: "36 35 47 / /mnt rw - tmpfs none rw") == nil && MountInfo(line: "") == nil)
        #expect(MountInfo(line: "36 35 8:1 / /mnt rw - ext4")?.source == "")
    }

    @Test("What is mounted where is found")
    func mounts() throws {
        let mounts = try MountInfo.all(of: getpid())
        #expect(mounts.contains { $0.mountPoint == "/proc" && $0.type == "proc" })
        #expect(MountInfo.uppermost(at: "/proc")?.type == "proc" && MountInfo.uppermost(at: "/proc/self") == nil)
        #expect(MountInfo.containing("/proc/self/maps")?.type == "proc")
        #expect(throws: Errno.noSuchFileOrDirectory) { try MountInfo.all(of: .max) }
    }

    @Test("A stat is read from behind the name, which may hold anything")
    func stat() {
        let fields = "S 7 8 9 0 -1 2097156 0 0 0 0 0 0 0 0 20 0 3 0 1234 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 17 5 0 0"
        let text = Array("42 (a) R (b) \(fields)\n".utf8)
        let stat = ProcStat(text.span)
        #expect(stat?.parent == 7 && stat?.group == 8 && stat?.session == 9 && stat?.threads == 3)
        #expect(stat?.startTime == 1234 && stat?.processor == 5 && stat?.isGone == false)
        #expect(stat?.isKernelThread == true && stat?.isExiting == true)
        for text in ["", "42 (a", "42 (a)", "42 (a) S", "42 (a) S 1 2 3\n"] {
            #expect(ProcStat(Array(text.utf8).span) == nil)
        }
    }

    @Test("A process knows itself")
    func itself() throws {
        let own = getpid()
        #expect(ProcStat(task: own)?.parent == getppid() && ProcStat(task: own)?.isExiting == false)
        #expect(ProcStat(thread: own, of: own)?.startTime == ProcStat(task: own)?.startTime)
        let threads = DirectoryListing.numbers(in: "/proc/self/task") ?? []
        #expect(threads.contains { ProcStatus.process(of: $0) == own } && ProcFile.processes.contains(own))
        let status = try ProcStatus(task: own)
        #expect(status.users?.real == getuid() && status.users?.fileSystem == geteuid())
        #expect(status.namespaceNumbers?.last == own && status.words("NoSuchWord").isEmpty)
        #expect(PIDNamespace.numberInProc(of: own) == own && PIDNamespace.numbers(of: own)?.count == 1)
        #expect(ProcFile.link("/proc/\(own)/ns/mnt")?.hasPrefix("mnt:[") == true)
        #expect(ProcFile.link("/proc/\(own)/maps") == nil && ProcFile.name(of: own)?.isEmpty == false)
        #expect(throws: Errno.noSuchProcess) { try ProcStatus(task: 0) }
        #expect(ProcStat(task: -1) == nil && ProcFile.name(of: .max) == nil)
    }
}
