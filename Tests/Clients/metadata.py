"""metadata.py SCENARIO MOUNT: names, numbers, times, modes and attributes of files, as tmpfs and sysfs have them; fails with a
traceback where they are others. Prints `done`."""

import ctypes
import errno
import mmap
import os
import socket
import stat
import struct
import subprocess
import sys
import time

# From within: other users get no further than to the mount's folder by its whole path.
os.chdir(sys.argv[2])
mount = "."
buffers = mount + "/buffers"
controls = mount + "/sys/kernel/cdm/buffers"
node = mount + "/sys/devices/system/node"
library = ctypes.CDLL(None, use_errno=True)


def expect(found, wanted, what=""):
    assert found == wanted, f"{what}: {found!r}, expected {wanted!r}"


def fails(error, body, what=""):
    try:
        body()
        found = 0
    except OSError as failure:
        found = failure.errno
    expect(errno.errorcode.get(found), errno.errorcode[error], what)


def make(path, data=b""):
    with open(path, "wb") as file:
        file.write(data)
    return path


def text(path):
    with open(path) as file:
        return file.read()


def become(uid, body):
    """Runs `body` in a child that is another user."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            body()
            status = 0
        except BaseException as error:
            print(f"child: {error!r}", file=sys.stderr, flush=True)
        os._exit(status)
    expect(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0, "the child")


def drop_pages(path):
    """Lets go of what the page cache has of a file, which else would keep the inode, too."""
    descriptor = os.open(path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def drop_caches():
    """Has the kernel forget the names and inodes that nobody uses."""
    with open("/proc/sys/vm/drop_caches", "w") as file:
        file.write("2")


def listing(path):
    """What getdents64(2) says: the number and type of each name."""
    found = {}
    room = ctypes.create_string_buffer(4096)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    while (length := library.syscall(217 if os.uname().machine == "x86_64" else 61, descriptor, room, len(room))) > 0:
        offset = 0
        while offset < length:
            number, _, size, kind = struct.unpack_from("QqHB", room, offset)
            found[room[offset + 19 : offset + size].split(b"\0")[0].decode()] = (number, kind)
            offset += size
    os.close(descriptor)
    return found


def numbers():
    """d_ino and d_type of a long listing are what stat(2) says, of `.` and `..`, too, whichever request it came by."""
    os.mkdir(buffers + "/d")
    for i in range(300):
        make(f"{buffers}/d/{i}")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(buffers + "/d/socket")
    os.mkdir(buffers + "/d/below")
    places = [mount, mount + "/dev", buffers, buffers + "/d", buffers + "/d/below", mount + "/sys", node, node + "/node0", controls + "/d"]
    places += [controls + "/d/7", mount + "/sys/devices/system/memory", mount + "/sys/class/cdm/cdm0", mount + "/sys/fs/cgroup"]
    for place in places:
        for _ in range(2):
            for name, (number, kind) in listing(place).items():
                if place == mount and name == "..":
                    continue
                status = os.lstat(f"{place}/{name}")
                expect((number, kind << 12), (status.st_ino, stat.S_IFMT(status.st_mode)), f"{place}/{name}")
    names = [name for name in listing(controls + "/d") if not name.startswith(".")]
    expect(len(names), 301, "the socket has no controls")
    # One number, one file.
    seen = {}
    for folder, _, files in os.walk(mount):
        for name in files:
            path = f"{folder}/{name}"
            expect(seen.setdefault(os.lstat(path).st_ino, path), path)


def access():
    """Times of last access move as relatime has it; with O_NOATIME, and where nothing is read, they stay."""
    path = make(buffers + "/a", b"x" * 8192)

    def atime():
        return os.stat(path).st_atime_ns

    def moves(body, wanted=True):
        os.utime(path, ns=(10**18, 2 * 10**18))
        before = atime()
        body()
        expect(atime() != before, wanted)
        expect(os.stat(path).st_mtime_ns, 2 * 10**18)

    def read(flags=0):
        descriptor = os.open(path, os.O_RDONLY | flags)
        os.read(descriptor, 4096)
        os.close(descriptor)

    moves(lambda: read())
    moves(lambda: read(os.O_NOATIME), False)
    moves(lambda: os.stat(path), False)
    moves(lambda: os.close(os.open(path, os.O_WRONLY)), False)

    def load():
        descriptor = os.open(path, os.O_RDWR)
        with mmap.mmap(descriptor, 8192) as mapping:
            os.close(descriptor)
            assert mapping[0] == ord("x")

    drop_pages(path)
    moves(load)
    # Once a day where nothing changes.
    now = time.time_ns()
    os.utime(path, ns=(now + 10**12, now - 10**9))
    read()
    expect(atime(), now + 10**12)
    folder = buffers + "/d"
    os.mkdir(folder)
    os.utime(folder, ns=(10**18, 2 * 10**18))
    os.listdir(folder)
    assert os.stat(folder).st_atime_ns != 10**18


def mappings():
    """An attribute cannot be mapped: ENODEV, as in sysfs, not a grant that ends in SIGBUS."""
    page = mmap.PAGESIZE
    for path in [node + "/online", mount + "/sys/kernel/cdm/zonelists", node + "/node1/cdm/isolation"]:
        with open(path) as file:
            for flags in (mmap.MAP_PRIVATE, mmap.MAP_SHARED):
                fails(errno.ENODEV, lambda: mmap.mmap(file.fileno(), page, flags, mmap.PROT_READ), path)
            assert file.read()
    with open(node + "/node1/cdm/isolation", "r+b", buffering=0) as file:
        fails(errno.ENODEV, lambda: mmap.mmap(file.fileno(), page, mmap.MAP_SHARED), "read and write")
        assert b"[exclusive]" in file.read()
        file.write(b"none")
    assert "[none]" in text(node + "/node1/cdm/isolation")
    # The host's own, which it is to be like.
    with open("/sys/kernel/mm/transparent_hugepage/enabled") as file:
        fails(errno.ENODEV, lambda: mmap.mmap(file.fileno(), page, mmap.MAP_PRIVATE, mmap.PROT_READ))


def modes():
    """Root changes modes and owners of attributes and directories of sys/, which last as long as what they are of."""
    attribute, folder = node + "/node1/cdm/isolation", node + "/node1/cdm"
    expect(stat.S_IMODE(os.stat(attribute).st_mode), 0o644)
    become(1234, lambda: fails(errno.EACCES, lambda: open(attribute, "w")))
    become(1234, lambda: fails(errno.EPERM, lambda: os.chmod(attribute, 0o666)))
    os.chmod(attribute, 0o660)
    os.chown(attribute, 1234, 5678)
    before = os.stat(attribute)
    expect((stat.S_IMODE(before.st_mode), before.st_uid, before.st_gid), (0o660, 1234, 5678))

    def place():
        with open(attribute, "w") as file:
            file.write("none")

    become(1234, place)
    assert "[none]" in text(attribute)
    become(4321, lambda: fails(errno.EACCES, lambda: open(attribute)))
    # Whoever was given it is not root: sysfs would let the owner, and here nobody else has files.
    become(1234, lambda: fails(errno.EPERM, lambda: os.chmod(attribute, 0o666)))
    os.chmod(folder, 0o700)
    become(4321, lambda: fails(errno.EACCES, lambda: os.listdir(folder)))
    drop_caches()
    after = os.stat(attribute)
    expect((after.st_mode, after.st_uid, after.st_gid, after.st_ino), (before.st_mode, 1234, 5678, before.st_ino))
    expect(stat.S_IMODE(os.stat(folder).st_mode), 0o700)
    # No more may be read or written by that than there is.
    os.chmod(node + "/online", 0o666)
    fails(errno.EACCES, lambda: open(node + "/online", "w"))

    # What is of a buffer goes with it, through another name, and not to the next of that name.
    make(buffers + "/a")
    os.chmod(controls + "/a/policy", 0o600)
    os.rename(buffers + "/a", buffers + "/b")
    expect(stat.S_IMODE(os.stat(controls + "/b/policy").st_mode), 0o600)
    make(buffers + "/a")
    expect(stat.S_IMODE(os.stat(controls + "/a/policy").st_mode), 0o644)
    os.unlink(buffers + "/b")
    make(buffers + "/b")
    expect(stat.S_IMODE(os.stat(controls + "/b/policy").st_mode), 0o644)
    os.mkdir(mount + "/sys/fs/cgroup/g")
    os.chmod(mount + "/sys/fs/cgroup/g/cpuset.mems", 0o600)
    os.rmdir(mount + "/sys/fs/cgroup/g")
    os.mkdir(mount + "/sys/fs/cgroup/g")
    expect(stat.S_IMODE(os.stat(mount + "/sys/fs/cgroup/g/cpuset.mems").st_mode), 0o644)
    os.rmdir(mount + "/sys/fs/cgroup/g")


class Handle(ctypes.Structure):
    """struct file_handle"""

    _fields_ = [("bytes", ctypes.c_uint), ("type", ctypes.c_int), ("name", ctypes.c_ubyte * 128)]


def handle(path):
    found, identity = Handle(bytes=128), ctypes.c_int()
    if library.name_to_handle_at(-100, path.encode(), ctypes.byref(found), ctypes.byref(identity), 0):
        raise OSError(ctypes.get_errno(), path)
    return found


def opened(found, flags=os.O_RDONLY):
    directory = os.open(mount, os.O_RDONLY)
    descriptor = library.open_by_handle_at(directory, ctypes.byref(found), flags)
    error = ctypes.get_errno()
    os.close(directory)
    if descriptor < 0:
        raise OSError(error, "open_by_handle_at")
    return descriptor


def handles():
    """A file handle leads to its file for as long as that is there, whatever the kernel has forgotten."""
    os.makedirs(buffers + "/d/e")
    paths = [make(buffers + "/a", b"a"), make(buffers + "/d/e/f", b"f"), buffers + "/d/e", buffers + "/d", buffers]
    paths += [mount + "/dev", mount + "/dev/cdm0", mount]
    found = {path: (handle(path), os.stat(path).st_ino) for path in paths}
    for path in paths[:2]:
        drop_pages(path)
    for path in paths:
        drop_caches()
        descriptor = opened(found[path][0])
        expect(os.fstat(descriptor).st_ino, found[path][1], path)
        # The kernel finds the way up from a directory, and its name.
        if os.path.isdir(path):
            expect(os.readlink(f"/proc/self/fd/{descriptor}"), os.path.realpath(path))
        os.close(descriptor)
    drop_caches()
    descriptor = opened(found[buffers + "/d/e"][0])
    expect(os.stat("..", dir_fd=descriptor).st_ino, found[buffers + "/d"][1])
    expect(os.listdir(descriptor), ["f"])
    os.close(descriptor)
    # Through another name, and no more once it is gone.
    os.rename(buffers + "/d/e/f", buffers + "/g")
    drop_caches()
    descriptor = opened(found[buffers + "/d/e/f"][0])
    expect(os.read(descriptor, 9), b"f")
    os.unlink(buffers + "/g")
    drop_caches()
    expect(os.pread(descriptor, 9, 0), b"f")
    os.close(descriptor)
    os.unlink(buffers + "/a")
    os.rmdir(buffers + "/d/e")
    drop_caches()
    for path in [buffers + "/d/e/f", buffers + "/a", buffers + "/d/e"]:
        fails(errno.ESTALE, lambda: os.close(opened(found[path][0])), path)


def temporary():
    """O_TMPFILE: a file without a name, whose memory goes with it, and which linkat(2) gives its first name."""
    def free():
        return [line for line in text(node + "/node0/meminfo").splitlines() if "MemFree" in line]

    before = free()
    descriptor = os.open(buffers, os.O_TMPFILE | os.O_RDWR, 0o640)
    expect(os.listdir(buffers), [])
    status = os.fstat(descriptor)
    expect((status.st_nlink, status.st_size, stat.S_IMODE(status.st_mode)), (0, 0, 0o640))
    os.write(descriptor, b"x" * 100_000)
    with mmap.mmap(descriptor, 100_000) as mapping:
        expect(mapping[99_999], ord("x"))
    assert free() != before
    os.close(descriptor)
    # The kernel gives up the inode some time after the last close.
    for _ in range(1000):
        if free() == before:
            break
        time.sleep(0.01)
    expect(free(), before)

    def link(descriptor, name):
        # Any directory: it makes Python call linkat(2), which follows the link.
        os.link(f"/proc/self/fd/{descriptor}", f"{buffers}/{name}", src_dir_fd=descriptor, follow_symlinks=True)

    descriptor = os.open(buffers, os.O_TMPFILE | os.O_RDWR, 0o640)
    os.write(descriptor, b"whole")
    make(buffers + "/taken")
    fails(errno.EEXIST, lambda: link(descriptor, "taken"))
    link(descriptor, "published")
    expect(text(buffers + "/published"), "whole")
    expect(text(controls + "/published/size"), "5\n")
    expect(os.fstat(descriptor).st_nlink, 1)
    fails(errno.EPERM, lambda: link(descriptor, "again"))
    os.close(descriptor)
    expect(text(buffers + "/published"), "whole")
    os.unlink(buffers + "/published")
    sealed = os.open(buffers, os.O_TMPFILE | os.O_RDWR | os.O_EXCL, 0o640)
    fails(errno.ENOENT, lambda: link(sealed, "never"))
    os.close(sealed)
    os.mkdir(buffers + "/shared", 0o777)
    os.chmod(buffers + "/shared", 0o2777)
    os.chown(buffers + "/shared", 0, 5678)

    def stranger():
        mine = os.open(buffers + "/shared", os.O_TMPFILE | os.O_RDWR, 0o600)
        expect((os.fstat(mine).st_uid, os.fstat(mine).st_gid), (1234, 5678))

    become(1234, stranger)
    for place, error in [(mount + "/sys", errno.EOPNOTSUPP), (mount + "/dev", errno.EOPNOTSUPP)]:
        fails(error, lambda: os.open(place, os.O_TMPFILE | os.O_RDWR), place)
    # As C's tmpfile(3) and Python's do.
    import tempfile

    with tempfile.TemporaryFile(dir=buffers) as file:
        file.write(b"scratch")
        expect(sorted(os.listdir(buffers)), ["shared", "taken"])


def attributes():
    """Extended attributes of programs, as tmpfs has them."""
    os.mkdir(buffers + "/d")
    for path in [make(buffers + "/a"), buffers + "/d", buffers, mount + "/dev/cdm0"]:
        expect(os.listxattr(path), [], path)
        fails(errno.ENODATA, lambda: os.getxattr(path, "user.mine"))
        fails(errno.ENODATA, lambda: os.removexattr(path, "user.mine"))
        fails(errno.ENODATA, lambda: os.setxattr(path, "user.mine", b"1", os.XATTR_REPLACE))
        changed = os.stat(path).st_ctime_ns
        os.setxattr(path, "user.mine", b"1", os.XATTR_CREATE)
        assert os.stat(path).st_ctime_ns > changed
        fails(errno.EEXIST, lambda: os.setxattr(path, "user.mine", b"2", os.XATTR_CREATE))
        os.setxattr(path, "user.mine", b"\0two\xff", os.XATTR_REPLACE)
        fails(errno.EINVAL, lambda: os.setxattr(path, "user.", b""))
        os.setxattr(path, "user.a", b"")
        expect((os.getxattr(path, "user.mine"), os.getxattr(path, "user.a")), (b"\0two\xff", b""))
        expect(sorted(os.listxattr(path)), ["user.a", "user.mine"])
        os.removexattr(path, "user.a")
        expect(os.listxattr(path), ["user.mine"])
        fails(errno.EOPNOTSUPP, lambda: os.setxattr(path, "nobody.mine", b"1"))
        fails(errno.EOPNOTSUPP, lambda: os.setxattr(path, "user.cdm.mine", b"1"))
        os.removexattr(path, "user.mine")
    path = buffers + "/a"

    # What does not fit.
    room = ctypes.create_string_buffer(65536)
    os.setxattr(path, "user.mine", b"12345")
    encoded = path.encode()
    expect((library.getxattr(encoded, b"user.mine", room, 4), ctypes.get_errno()), (-1, errno.ERANGE))
    expect((library.listxattr(encoded, room, 4), ctypes.get_errno()), (-1, errno.ERANGE))
    expect(library.getxattr(encoded, b"user.mine", None, 0), 5)
    expect(library.listxattr(encoded, None, 0), 10)
    fails(errno.E2BIG, lambda: os.setxattr(path, "user.mine", b"x" * 65537))
    fails(errno.ERANGE, lambda: os.setxattr(path, "user." + "x" * 251, b""))
    os.setxattr(path, "user.mine", b"x" * 65536)
    os.setxattr(path, "user.other", b"y" * 65536)
    fails(errno.ENOSPC, lambda: os.setxattr(path, "user.third", b"z"))
    expect((os.getxattr(path, "user.mine"), os.getxattr(path, "user.other")), (b"x" * 65536, b"y" * 65536))
    os.setxattr(path, "user.other", b"")
    os.setxattr(path, "user.third", b"z" * 65536)
    for name in os.listxattr(path):
        os.removexattr(path, name)
    count = 0
    try:
        while True:
            os.setxattr(path, f"user.{count:0250}", b"")
            count += 1
    except OSError as error:
        expect(error.errno, errno.ENOSPC)
    expect((count, len(os.listxattr(path))), (256, 256))

    # Through another name, and not to the next of that name.
    os.rename(path, buffers + "/b")
    expect(len(os.listxattr(buffers + "/b")), 256)
    expect(os.listxattr(make(path)), [])

    # Who may: root alone of trusted. and security., of user. who may write.
    os.setxattr(path, "trusted.mine", b"1")
    os.setxattr(path, "security.mine", b"1")
    os.setxattr(path, "user.mine", b"1")
    os.chmod(path, 0o644)
    expect(sorted(os.listxattr(path)), ["security.mine", "trusted.mine", "user.mine"])

    def stranger():
        expect(sorted(os.listxattr(path)), ["security.mine", "user.mine"])
        expect(os.getxattr(path, "user.mine"), b"1")
        fails(errno.EACCES, lambda: os.setxattr(path, "user.mine", b"2"))
        fails(errno.EPERM, lambda: os.setxattr(path, "trusted.mine", b"2"))
        fails(errno.EPERM, lambda: os.setxattr(path, "security.mine", b"2"))
        fails(errno.ENODATA, lambda: os.getxattr(path, "trusted.mine"))

    become(1234, stranger)

    # A program that somebody writes to has no rights any more (capabilities(7)).
    capability = struct.pack("<5I", 0x02000000, 1, 0, 0, 0)
    for change in [
        lambda: make(path, b"x"), lambda: os.truncate(path, 0), lambda: os.chown(path, 1, 1),
        lambda: subprocess.run(["fallocate", "-l", "4096", path], check=True),
    ]:
        os.setxattr(path, "security.capability", capability)
        expect(os.getxattr(path, "security.capability"), capability)
        change()
        fails(errno.ENODATA, lambda: os.getxattr(path, "security.capability"))
    fails(errno.EOPNOTSUPP, lambda: os.setxattr(path, "system.posix_acl_access", struct.pack("<I", 2)))
    fails(errno.EOPNOTSUPP, lambda: os.setxattr(node + "/online", "user.mine", b"1"))


def sockets():
    """A socket is a name like any other, without controls and without an event."""
    path = buffers + "/s"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        fails(errno.EADDRINUSE, lambda: socket.socket(socket.AF_UNIX).bind(path))
        drop_caches()
        for name in (path, buffers + "/t"):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(name)
                with server.accept()[0] as peer:
                    client.sendall(b"hello")
                    expect(peer.recv(9), b"hello")
            if name == path:
                os.rename(path, buffers + "/t")
    expect(os.listdir(buffers), ["t"])
    assert stat.S_ISSOCK(os.stat(buffers + "/t").st_mode)
    fails(errno.ENXIO, lambda: open(buffers + "/t"))
    fails(errno.ENOENT, lambda: os.stat(controls + "/t"))
    expect(os.listdir(controls), [])
    os.chmod(buffers + "/t", 0o600)
    os.unlink(buffers + "/t")
    expect(os.listdir(buffers), [])


def privileges():
    """Who writes to somebody's file takes its set-user-id bit, and its set-group-id bit where the group may execute it or the writer is
    not of the group."""
    path = buffers + "/a"

    def allocate(mode):
        with open(path, "r+b") as file:
            if library.fallocate(file.fileno(), mode, ctypes.c_long(0), ctypes.c_long(4096)) != 0:
                raise OSError(ctypes.get_errno(), "fallocate")

    def write():
        with open(path, "r+b") as file:
            file.write(b"y")

    changes = [write, lambda: os.truncate(path, 100), lambda: allocate(0), lambda: allocate(3)]
    for number, change in enumerate(changes):
        for user, group, mode, wanted in [
            (1234, 0, 0o2666, 0o666), (1234, 0, 0o6676, 0o676), (1234, 0, 0o4666, 0o666), (1234, 1234, 0o2666, 0o2666),
            (1234, 1234, 0o6676, 0o676), (0, 0, 0o6676, 0o6676),
        ]:
            make(path, b"x" * 8192)
            os.chown(path, 0, group)
            os.chmod(path, mode)
            become(user, change) if user else change()
            expect(oct(stat.S_IMODE(os.stat(path).st_mode)), oct(wanted), f"change {number} by {user} of {group}:{mode:o}")
            os.unlink(path)


globals()[sys.argv[1]]()
print("done")
