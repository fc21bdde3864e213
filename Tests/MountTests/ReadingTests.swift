import CLinux
import Foundation
import SystemPackage
import Testing

extension Mounts {
    /// What read(2) and copy_file_range(2) take, and what they see of what others do meanwhile.
    @Suite("Reading and copying")
    struct ReadingTests {
        /// A buffer of 64 MiB with three pages of data.
        private func makeSparse(_ mount: TestMount) throws -> String {
            let file = try mount.makeBuffer("a", size: 64 << 20)
            let descriptor = try FileDescriptor.open(FilePath(file), .writeOnly)
            try descriptor.closeAfter {
                for place in [0, 5, 63] as [Int64] {
                    try descriptor.writeAll(toAbsoluteOffset: place << 20, Array(repeating: 65, count: 4096))
                }
            }
            return file
        }

        private func python(_ text: String) throws {
            let outcome = try run(["python3", "-c", text])
            #expect(outcome.succeeded, "\(outcome.errors)")
        }

        @Test("What is opened to be read only leaves holes alone: cp, grep, O_DIRECT")
        func holes() throws {
            try TestMount.with(Machines.make(device: "32M")) { mount in
                let scratch = try makeTemporaryDirectory()
                defer { try? FileManager.default.removeItem(atPath: scratch) }
                let file = try makeSparse(mount)
                for command in [
                    "cat \(file) | cmp - \(file)", "cp --sparse=never \(file) \(scratch)/b && cmp \(file) \(scratch)/b",
                    "cp \(file) \(file)2 && cmp \(file) \(file)2 && rm \(scratch)/b",
                    "dd if=\(file) of=/dev/null bs=1M iflag=direct status=none",
                ] {
                    let outcome = try run(["sh", "-c", command])
                    #expect(outcome.succeeded, "\(command): \(outcome.errors)")
                    #expect(try mount.word(mount.control("a") + "/resident") == "12288", "\(command)")
                }
                #expect(try mount.word(mount.control("a2") + "/resident") == "12288")
                #expect(try run(["grep", "-rc", "x", mount.path + "/dev/cdm0"]).output == "0\n")
                #expect(try mount.word("sys/class/cdm/cdm0/buffer/resident") == "0")
                try mount.expectAgreement()
            }
        }

        @Test("A mapping of a file that is read so takes its pages, and both see what others store")
        func readOnlyMapping() throws {
            try TestMount.with { mount in
                let file = try makeSparse(mount)
                try python(
                    """
                    import mmap, os
                    reader = os.open('\(file)', os.O_RDONLY)
                    resident = lambda: int(open('\(mount.path)/\(mount.control("a"))/resident').read())
                    assert os.pread(reader, 1 << 20, 20 << 20) == bytes(1 << 20)
                    assert resident() == 12288
                    seen = mmap.mmap(reader, 64 << 20, prot=mmap.PROT_READ)
                    private = mmap.mmap(reader, 64 << 20, flags=mmap.MAP_PRIVATE)
                    assert seen[40 << 20] == private[41 << 20] == 0
                    assert resident() >= 12288 + 8192
                    writer = os.open('\(file)', os.O_RDWR)
                    memory = mmap.mmap(writer, 64 << 20)
                    for value in range(1, 40):
                        for place in 20 << 20, (40 << 20) + value, (50 << 20) + 4096 * value:
                            memory[place] = value
                            assert os.pread(reader, 1, place)[0] == value == seen[place] == private[place]
                        os.pwrite(writer, bytes([value + 100]), 21 << 20)
                        assert os.pread(reader, 1, 21 << 20)[0] == value + 100 == seen[21 << 20]
                    private[0] = 9
                    assert os.pread(reader, 1, 0)[0] == memory[0] == 65
                    os.ftruncate(writer, 10)
                    assert len(os.pread(reader, 100, 0)) == 10
                    """)
                try mount.expectAgreement()
            }
        }

        @Test(
            "copy_file_range(2) between tracked and direct buffers, beside stores through mappings", .overEachTransport)
        func copies() throws {
            try TestMount.with { mount in
                let outcome = try run(["python3", Client.copies, mount.path], within: 60)
                #expect(outcome["copies"] == 160, "\(outcome.errors)")
                try mount.expectAgreement()
            }
        }

        @Test("A copy ends where the memory does, at a page that failed, and at the end of a device")
        func shortCopies() throws {
            try TestMount.with(Machines.make(ram: "64M", device: "32M"), checkingLeaks: false) { mount in
                let source = try mount.makeBuffer("s", size: 8 << 20)
                try Client.pattern("write", source, 0, "8M", 1)
                try mount.makeBuffer("full", size: 0, policy: "bind:1")
                try python(
                    """
                    import errno, os
                    def copy(start, file, offset, length):
                        try: return os.copy_file_range(source, file, length, start, offset)
                        except OSError as error: return -error.errno
                    source = os.open('\(source)', os.O_RDONLY)
                    device = os.open('\(mount.path)/dev/cdm0', os.O_RDWR)
                    assert copy(0, device, (32 << 20) - 65536, 1 << 20) == 65536
                    assert copy(0, device, 32 << 20, 4096) == -errno.ENOSPC
                    full = os.open('\(mount.path)/buffers/full', os.O_RDWR)
                    done = 0
                    while (count := copy(0, full, done, 8 << 20)) > 0: done += count
                    assert count == -errno.ENOSPC and done == (32 << 20) - 65536, (count, done)
                    assert os.fstat(full).st_size == done
                    assert os.pread(full, 1 << 20, 8 << 20) == os.pread(source, 1 << 20, 0)
                    open('\(mount.path)/\(mount.control("s"))/poison', 'w').write('0x100000')
                    target = os.open('\(mount.path)/buffers/t', os.O_RDWR | os.O_CREAT)
                    assert copy(0xff000, target, 0, 65536) == 4096
                    assert copy(0x100000, target, 4096, 65536) == -errno.EIO
                    assert copy(0x101000, target, 4096, 65536) == 65536
                    # A text is no memory: the kernel copies, which ends with EINVAL.
                    text = os.open('\(mount.path)/sys/devices/system/node/online', os.O_RDONLY)
                    try: os.copy_file_range(text, target, 100)
                    except OSError as error: assert error.errno == errno.EINVAL
                    """)
                try mount.expectAgreement()
            }
        }

        @Test("Stores through a mapping of a direct buffer move its times, and nothing else does")
        func times() throws {
            try TestMount.with(options: ["mapping=direct", "huge=never"], checkingLeaks: false) { mount in
                let file = try mount.makeBuffer("a", size: 1 << 20)
                try python(
                    """
                    import mmap, os, time
                    file = os.open('\(file)', os.O_RDWR)
                    memory = mmap.mmap(file, 1 << 20)
                    def times():
                        status = os.stat('\(file)')
                        assert os.fstat(file).st_mtime_ns == status.st_mtime_ns
                        return status.st_mtime_ns, status.st_ctime_ns
                    def moves(act):
                        before = times()
                        # A tick of the clock that the kernel takes for it.
                        time.sleep(0.02)
                        act()
                        after = times()
                        assert (after[0] > before[0]) == (after[1] > before[1]), (before, after)
                        return after[0] > before[0]
                    assert not moves(lambda: memory[0])
                    assert moves(lambda: memory.__setitem__(4096, 1))
                    assert moves(lambda: memory.__setitem__(8192, 1))
                    assert not moves(lambda: memory[8192])
                    assert not moves(lambda: os.pread(file, 4096, 8192))
                    assert moves(lambda: os.pwrite(file, b'x', 8192))
                    assert not moves(lambda: open('\(mount.path)/\(mount.control("a"))/migrate', 'w').write('1'))
                    memory[12288] = 1
                    assert not moves(lambda: open('\(mount.path)/\(mount.control("a"))/poison', 'w').write('0x80000'))
                    # What was set stays, until the next store.
                    memory[16384] = 1
                    os.utime(file, ns=(5, 5))
                    assert times()[0] == 5
                    memory[16384] = 2
                    assert times()[0] == 5
                    time.sleep(0.02)
                    memory[20480] = 1
                    assert times()[0] > 5
                    """)
            }
        }
    }
}
