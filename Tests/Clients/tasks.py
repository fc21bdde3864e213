"""tasks.py SCENARIO MOUNT: processes with policies, groups and open devices; fails with a traceback where a page is elsewhere
than it must be, or an errno is another than Linux's. Prints `done`."""

import array
import errno
import mmap
import os
import socket
import subprocess
import sys
import time

PAGE = 4096
mount = sys.argv[2]
kernel = mount + "/sys/kernel/cdm"
node1 = mount + "/sys/devices/system/node/node1/cdm"
groups = mount + "/sys/fs/cgroup"
device = mount + "/dev/cdm0"


def text(file):
    with open(file) as stream:
        return stream.read()


def store(file, value):
    """One write(2); the errno, or 0."""
    descriptor = os.open(file, os.O_WRONLY | os.O_TRUNC)
    try:
        os.write(descriptor, str(value).encode())
        return 0
    except OSError as error:
        return error.errno
    finally:
        os.close(descriptor)


def expect(found, wanted, what=""):
    assert found == wanted, f"{what}: {found!r}, expected {wanted!r}"


def stored(file, value, wanted=0):
    expect(store(file, value), wanted, f"{value!r} to {file}")


class Buffer:
    """A new buffer, a page of which is touched at a time."""

    def __init__(self, name, pages=64, policy=None):
        self.name, self.path = name, f"{mount}/buffers/{name}"
        self.control = f"{kernel}/buffers/{name}"
        self.descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(self.descriptor, pages * PAGE)
        self.pages, self.next = pages, 0
        if policy:
            stored(self.control + "/policy", policy)

    def touch(self):
        """Stores to the next page; the errno, or 0."""
        try:
            os.pwrite(self.descriptor, b"x", self.next * PAGE)
            self.next += 1
            return 0
        except OSError as error:
            return error.errno

    def map(self):
        mapping = mmap.mmap(self.descriptor, self.pages * PAGE)
        for page in range(self.pages):
            mapping[page * PAGE] = 1
        return mapping

    @property
    def placement(self):
        return text(self.control + "/placement").strip()


def fork(body):
    """A child that runs `body`; returns how to await it, which fails when it did."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            body()
            status = 0
        except BaseException as error:
            print(f"child: {error!r}", file=sys.stderr, flush=True)
        os._exit(status)

    def wait():
        expect(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0, "the child")

    return wait


def policy():
    """A task's policy goes to its children, who keep it, and is used where the buffer has none."""
    me = os.getpid()
    file = kernel + "/task_policy"
    expect(text(file), "")
    stored(file, f"{me} prefer:1")
    expect(text(file), f"{me} prefer:1\n")
    inherited, bound = Buffer("inherited"), Buffer("bound", policy="bind:0")

    def child():
        expect(inherited.touch(), 0)
        expect(bound.touch(), 0)

    fork(child)()
    expect(inherited.placement, "N1=1")
    expect(bound.placement, "N0=1")

    # A child that was there before the policy changed.
    go, ready = os.pipe(), os.pipe()

    def elder():
        later = Buffer("elder")
        os.write(ready[1], b"x")
        os.read(go[0], 1)
        expect(later.touch(), 0)
        expect(later.placement, "N1=1")

    wait = fork(elder)
    os.read(ready[0], 1)
    stored(file, "0 default")
    os.write(go[1], b"x")
    wait()
    own = Buffer("own")
    expect(own.touch(), 0)
    expect(own.placement, "N0=1")
    assert str(me) not in [line.split()[0] for line in text(file).splitlines()]

    # A child whose maker ends before the child touches anything.
    result, alive = os.pipe(), os.pipe()

    def maker():
        os.setpgid(0, 0)
        stored(file, "0 prefer:1")
        maker_id = os.getpid()
        if os.fork():
            os._exit(0)
        os.close(alive[1])
        while os.getppid() == maker_id:
            pass
        orphan = Buffer("orphan")
        expect(orphan.touch(), 0)
        os.write(result[1], orphan.placement.encode())
        os._exit(0)

    wait = fork(maker)
    wait()
    expect(os.read(result[0], 64), b"N1=1")

    for wrong in [" ", "1", f"{me}", f"{me} nonsense", f"{me} bind:", f"{me} bind:7", f"{me} bind", "-1 bind:1", "x bind:1"]:
        stored(file, wrong, errno.EINVAL)
    stored(file, "999999999 bind:1", errno.ESRCH)
    for words in ["prefer (many):0-1", "weighted interleave:0-1", "interleave=static:0-1", "local"]:
        stored(file, f"{me} {words}")
        # The orphan may be on its way out still.
        assert f"{me} {words}" in text(file).splitlines(), text(file)
    stored(file, f"{me} interleave:0-1")
    turns = Buffer("turns", pages=8)
    turns.map().close()
    expect(turns.placement, "N0=4 N1=4")


def restricted():
    """A restricted node is for who has the device open, or maps it, or stands in tasks, at that moment."""
    stored(node1 + "/isolation", "restricted")
    expect(text(node1 + "/isolation"), "none exclusive [restricted] driver private\n")
    buffer = Buffer("a")
    policy_file = buffer.control + "/policy"
    stored(policy_file, "bind:1", errno.EPERM)
    stored(kernel + "/task_policy", "0 bind:1", errno.EPERM)
    stored(buffer.control + "/migrate", "1", errno.EPERM)
    expect(text(policy_file), "default\n")

    opened = os.open(device, os.O_RDWR)
    stored(policy_file, "bind:1")
    expect(buffer.touch(), 0)
    expect(buffer.placement, "N1=1")

    ours, theirs = socket.socketpair()
    step = lambda: ours.recv(1)

    def child():
        ours.close()
        buffer.next = 1
        say = lambda: theirs.send(b"x")
        expect(buffer.touch(), 0, "with a descriptor that was inherited")
        say(), theirs.recv(1)
        # The parent has closed its own.
        expect(buffer.touch(), 0, "with the only descriptor left")
        mapping = mmap.mmap(opened, PAGE)
        os.close(opened)
        expect(buffer.touch(), 0, "with a mapping alone")
        mapping.close()
        wait_until(lambda: buffer.touch() == errno.EPERM)
        say()
        descriptors = array.array("i")
        _, ancillary, _, _ = theirs.recvmsg(1, socket.CMSG_LEN(4))
        descriptors.frombytes(ancillary[0][2])
        expect(buffer.touch(), 0, "with a descriptor that was passed")
        os.close(descriptors[0])
        wait_until(lambda: buffer.touch() == errno.EPERM)
        say()

    wait = fork(child)
    theirs.close()
    step()
    os.close(opened)
    buffer.next = 40
    wait_until(lambda: buffer.touch() == errno.EPERM)
    ours.send(b"x")
    step()
    # Passed on from a process that does not keep it.
    opened = os.open(device, os.O_RDWR)
    ours.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [opened]))])
    os.close(opened)
    step()
    wait()

    tasks = node1 + "/tasks"
    me = os.getpid()
    expect(text(tasks), "")
    stored(tasks, me)
    expect(text(tasks), f"{me}\n")
    expect(buffer.touch(), 0, "in tasks")
    stored(tasks, f"-{me}")
    # Where the host is slow to tell who maps the device, who opened it is believed for a moment.
    wait_until(lambda: buffer.touch() == errno.EPERM)
    stored(tasks, f"-{me}", errno.EINVAL)
    stored(tasks, 999999999, errno.ESRCH)
    stored(tasks, "-999999999", errno.ESRCH)
    stored(tasks, "x", errno.EINVAL)
    refused = dict(line.split() for line in text(node1 + "/refused").splitlines())
    assert int(refused["not_allowed"]) >= 5, refused


def wait_until(condition):
    """Answers are trusted for a few milliseconds."""
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"


def cgroup():
    """Groups are made, entered, changed and removed as those of cgroup v2, and memory follows."""
    top, below = groups + "/top", groups + "/top/below"
    os.mkdir(top)
    os.mkdir(below)
    for make, error in [(top, errno.EEXIST), (top + "/cgroup.procs", errno.EEXIST), (groups + "/a\nb", errno.EINVAL),
                        (groups + "/none/x", errno.ENOENT), (mount + "/sys/fs/x", errno.EPERM)]:
        try:
            os.mkdir(make)
            found = 0
        except OSError as failure:
            found = failure.errno
        expect(found, error, make)
    expect(sorted(os.listdir(top)), ["below", "cgroup.procs", "cpuset.mems", "cpuset.mems.effective"])
    expect(os.path.exists(groups + "/cpuset.mems"), False)
    expect(text(groups + "/cpuset.mems.effective"), "0-1\n")
    expect(text(top + "/cpuset.mems"), "\n")
    expect(text(below + "/cpuset.mems.effective"), "0-1\n")
    expect(text(top + "/cgroup.procs"), "")
    for wrong, error in [("x", errno.EINVAL), ("0-", errno.EINVAL), ("7", errno.EINVAL), ("5000", errno.ERANGE)]:
        stored(top + "/cpuset.mems", wrong, error)
    for wrong, error in [("x", errno.EINVAL), ("-1", errno.EINVAL), (" ", errno.EINVAL), ("999999999", errno.ESRCH)]:
        stored(top + "/cgroup.procs", wrong, error)

    far, near = Buffer("far", policy="bind:1"), Buffer("near")
    mappings = [far.map(), near.map()]
    expect((far.placement, near.placement), ("N1=64", "N0=64"))
    stored(below + "/cgroup.procs", "0")
    expect(text(below + "/cgroup.procs"), f"{os.getpid()}\n")
    assert f"{os.getpid()}\n" not in text(groups + "/cgroup.procs")
    for busy in [top, below]:
        try:
            os.rmdir(busy)
            assert False, busy
        except OSError as failure:
            expect(failure.errno, errno.EBUSY, busy)
    # What is mapped moves with a change above.
    stored(top + "/cpuset.mems", "0")
    expect(text(below + "/cpuset.mems.effective"), "0\n")
    expect((far.placement, near.placement), ("N0=64", "N0=64"))
    stored(top + "/cpuset.mems", "1")
    expect((far.placement, near.placement), ("N1=64", "N1=64"))
    assert all(mapping[page * PAGE] == 1 for mapping in mappings for page in range(64))

    # A cpuset wins over policies.
    inside = Buffer("inside", policy="interleave:0-1")
    expect((inside.touch(), inside.touch()), (0, 0))
    expect(inside.placement, "N1=2")
    # Where it allows nothing but a node in isolation, one that is not named is none.
    outside = Buffer("outside", policy="bind:0")
    expect(outside.touch(), errno.ENOSPC)

    # Attaching moves, too, and children go where their maker is.
    stored(groups + "/cgroup.procs", os.getpid())
    other = groups + "/other"
    os.mkdir(other)
    stored(other + "/cpuset.mems", "0")
    stored(other + "/cgroup.procs", os.getpid())
    expect((far.placement, near.placement), ("N0=64", "N0=64"))

    def child():
        expect(text(other + "/cgroup.procs").split(), [str(os.getppid()), str(os.getpid())])

    fork(child)()
    stored(other + "/cpuset.mems", "\n")
    expect(text(other + "/cpuset.mems.effective"), "0-1\n")
    stored(groups + "/cgroup.procs", "0")

    gone = os.open(other + "/cpuset.mems", os.O_RDWR)
    os.rmdir(other)
    for use in [lambda: os.write(gone, b"0"), lambda: os.pread(gone, 10, 0)]:
        try:
            use()
            assert False, "a removed group answers"
        except OSError as failure:
            expect(failure.errno, errno.ENODEV)
    os.close(gone)
    os.rmdir(below)
    os.rmdir(top)
    expect(sorted(os.listdir(groups)), ["cgroup.procs", "cpuset.mems.effective"])


def example():
    """The worked example of the article: a buffer bound to the device, touched from a cpuset without its node."""
    buffer = Buffer("a", policy="bind:1")
    os.mkdir(groups + "/batch")
    stored(groups + "/batch/cpuset.mems", "0")
    stored(groups + "/batch/cgroup.procs", "0")
    expect(buffer.touch(), 0)
    expect(buffer.placement, "N0=1")
    expect(text(buffer.control + "/policy"), "bind:1\n")
    stored(groups + "/cgroup.procs", "0")
    expect(buffer.touch(), 0)
    expect(buffer.placement, "N0=1 N1=1")
    os.rmdir(groups + "/batch")


def maps():
    """numa_maps of a task, migrate_pages and coherent_debug."""
    buffer = Buffer("a b")
    mapping = buffer.map()
    me = os.getpid()
    other = mmap.mmap(os.open(device, os.O_RDWR), 16 * PAGE)
    for page in range(16):
        other[page * PAGE]
    asked = os.open(kernel + "/numa_maps", os.O_RDWR)
    expect(os.read(asked, 10), b"")
    os.write(asked, str(me).encode())
    lines = os.pread(asked, 65536, 0).decode().splitlines()
    own = [line.split() for line in lines]
    expect(len(own), 2)
    starts = {line.split("-")[0]: line for line in text("/proc/self/maps").splitlines() if mount in line}
    for fields in own:
        assert fields[0].lstrip("0") in starts, fields
    by_file = {fields[2]: fields for fields in own}
    name = "file=" + buffer.path.replace(" ", "\\040")
    expect(by_file[name][1], "default")
    assert "N0=64" in by_file[name] and by_file[name][-1] == "kernelpagesize_kB=4", by_file
    bound = by_file["file=" + device]
    expect(bound[1], "bind:1")
    assert "N1=16" in bound or any(word.startswith("N1=") for word in bound), bound
    expect(text(kernel + "/numa_maps").splitlines(), lines, "for another reader")
    for wrong, error in [("x", errno.EINVAL), ("-1", errno.EINVAL), ("999999999", errno.ESRCH)]:
        stored(kernel + "/numa_maps", wrong, error)

    # Nobody asked for whoever has ended meanwhile; who asked himself is told.
    gone = os.open(kernel + "/numa_maps", os.O_RDWR)
    ready, go = os.pipe(), os.pipe()
    wait = fork(lambda: (os.write(ready[1], b"x"), os.read(go[0], 1)))
    os.read(ready[0], 1)
    child = int(text(f"/proc/self/task/{me}/children").split()[0])
    os.write(gone, str(child).encode())
    os.write(go[1], b"x")
    wait()
    try:
        os.pread(gone, 10, 0)
        assert False, "a task that has ended has mappings"
    except OSError as failure:
        expect(failure.errno, errno.ESRCH)
    expect(text(kernel + "/numa_maps"), "")
    os.close(gone)
    stored(kernel + "/numa_maps", me)

    file = kernel + "/migrate_pages"
    stored(file, f"{me} 0 1")
    expect(buffer.placement, "N1=64")
    stored(file, "0 0-1 0")
    expect(buffer.placement, "N0=64")
    # The device's own memory is not the task's to move.
    assert "N0=" not in text(mount + "/sys/class/cdm/cdm0/buffer/placement")
    for wrong in [" ", f"{me}", f"{me} 0", f"{me} 0 7", f"{me} x 1", f"{me} 0 1 1", "-1 0 1", f"{me} 0-1-2 1"]:
        stored(file, wrong, errno.EINVAL)
    stored(file, "999999999 0 1", errno.ESRCH)
    stored(file, f"{me} 0 5000", errno.ERANGE)

    file = mount + "/sys/kernel/debug/coherent_debug"
    start = int([address for address, line in starts.items() if "/a b" in line][0], 16)
    stored(file, f"{me},0x{start + 8 * PAGE:x},0x{start + 24 * PAGE:x},1")
    expect(buffer.placement, "N0=48 N1=16")
    expect([line.split()[:3] for line in text(buffer.control + "/pages").splitlines()][1],
           [hex(8 * PAGE), hex(16 * PAGE), "1"])
    stored(file, f"{me},0x{start:x},0x{start + PAGE:x},7", errno.ENODEV)
    stored(file, f"999999999,0x{start:x},0x{start + PAGE:x},1", errno.ESRCH)
    for wrong in [f"{me},0x{start:x},0x{start:x},1", f"{me},0x1,0x2000,1", f"{me},0x{start:x},1", "1,2,3,4,5", "x"]:
        stored(file, wrong, errno.EINVAL)
    assert all(mapping[page * PAGE] == 1 for page in range(64))

    # The command's lines are the kernel's, but for those of the mount.
    printed = subprocess.run([os.environ["CDMFS"], "numa_maps", str(me)], capture_output=True, text=True, timeout=60)
    expect((printed.returncode, printed.stderr), (0, ""))
    wanted = text(kernel + "/numa_maps").splitlines()
    for line in wanted:
        assert line in printed.stdout.splitlines(), (line, printed.stdout)
    try:
        addresses = [line.split()[0] for line in text("/proc/self/numa_maps").splitlines()]
    except FileNotFoundError:
        addresses = [line.split()[0] for line in wanted]
    found = [line.split()[0] for line in printed.stdout.splitlines()]
    # The heap may have grown between the two.
    expect([address for address in found if address in addresses], [address for address in addresses if address in found])
    assert len(set(found)) == len(found) and set(line.split()[0] for line in wanted) <= set(found)
    printed = subprocess.run([os.environ["CDMFS"], "numa_maps", "999999999"], capture_output=True, text=True, timeout=60)
    expect(printed.returncode, 1)
    expect(printed.stderr, "cdmfs: numa_maps: 999999999: No such process\n")


def xattrs():
    """The control files are extended attributes of the data file."""
    buffer = Buffer("a")
    buffer.map().close()

    def fails(error, body):
        try:
            body()
            found = 0
        except OSError as failure:
            found = failure.errno
        expect(found, error)

    # poison is root's alone, and can only be written.
    files = sorted(name for name in os.listdir(buffer.control) if name != "poison")
    # They are not listed: whoever copies what is listed must not take figures along that are wrong of the copy.
    expect(os.listxattr(buffer.path), [])
    expect(os.listxattr(device), [])
    for name in files:
        expect(os.getxattr(buffer.path, "user.cdm." + name).decode(), text(f"{buffer.control}/{name}").removesuffix("\n"))
    os.setxattr(buffer.path, "user.cdm.policy", b"bind:1")
    expect(text(buffer.control + "/policy"), "bind:1\n")
    os.setxattr(buffer.path, "user.cdm.migrate", b"1")
    expect(buffer.placement, "N1=64")
    os.setxattr(buffer.descriptor, "user.cdm.migrate", b"0 4096 0", os.XATTR_REPLACE)
    expect(os.getxattr(buffer.path, "user.cdm.placement"), b"N0=1 N1=63")
    fails(errno.ENODATA, lambda: os.getxattr(buffer.path, "user.cdm.nothing"))
    fails(errno.ENODATA, lambda: os.getxattr(buffer.path, "user.mine"))
    fails(errno.EOPNOTSUPP, lambda: os.getxattr(buffer.path, "system.posix_acl_access"))
    fails(errno.EOPNOTSUPP, lambda: os.getxattr(buffer.control, "user.cdm.policy"))
    fails(errno.EOPNOTSUPP, lambda: os.setxattr(buffer.path, "user.cdm.nothing", b"1"))
    fails(errno.ENODATA, lambda: os.setxattr(buffer.path, "user.cdm.nothing", b"1", os.XATTR_REPLACE))
    fails(errno.EEXIST, lambda: os.setxattr(buffer.path, "user.cdm.policy", b"bind:0", os.XATTR_CREATE))
    fails(errno.EACCES, lambda: os.setxattr(buffer.path, "user.cdm.size", b"1"))
    fails(errno.EINVAL, lambda: os.setxattr(buffer.path, "user.cdm.policy", b"nonsense"))
    fails(errno.ENODEV, lambda: os.setxattr(buffer.path, "user.cdm.migrate", b"9"))
    fails(errno.EPERM, lambda: os.removexattr(buffer.path, "user.cdm.policy"))
    fails(errno.ENODATA, lambda: os.removexattr(buffer.path, "user.cdm.nothing"))
    expect(os.getxattr(buffer.path, "user.cdm.policy"), b"bind:1")
    expect(os.getxattr(device, "user.cdm.policy"), b"bind:1")
    fails(errno.EPERM, lambda: os.setxattr(device, "user.cdm.policy", b"bind:0"))

    # Of a length that does not suffice: what the C library says of a buffer of ours.
    import ctypes
    library = ctypes.CDLL(None, use_errno=True)
    path, name = buffer.path.encode(), b"user.cdm.policy"
    room = ctypes.create_string_buffer(6)
    expect(library.getxattr(path, name, None, 0), 6)
    expect(library.getxattr(path, name, room, 6), 6)
    expect((library.getxattr(path, name, room, 5), ctypes.get_errno()), (-1, errno.ERANGE))

    # The owner of a file may place it, and others may not; a device is not everybody's to place.
    os.chown(buffer.path, 1234, 1234)

    device_file = os.open(device, os.O_RDWR)

    def stranger(uid, body):
        def become():
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            body()

        return become

    fork(stranger(1234, lambda: os.setxattr(buffer.descriptor, "user.cdm.policy", b"bind:0")))()
    fork(stranger(4321, lambda: fails(errno.EACCES, lambda: os.setxattr(buffer.descriptor, "user.cdm.policy", b"bind:1"))))()
    fork(stranger(4321, lambda: fails(errno.EACCES, lambda: os.setxattr(device_file, "user.cdm.migrate", b"0"))))()
    os.chmod(device, 0o666)
    fork(stranger(4321, lambda: fails(errno.EPERM, lambda: os.setxattr(device_file, "user.cdm.migrate", b"0"))))()
    os.chmod(device, 0o660)
    expect(text(buffer.control + "/policy"), "bind:0\n")


globals()[sys.argv[1]]()
print("done")
