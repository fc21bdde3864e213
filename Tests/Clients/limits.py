"""limits.py WHAT MOUNT [ARGUMENT...]: takes as much of something as there is; prints how much, and the errno that ended it."""
import errno
import mmap
import os
import resource
import signal
import sys

what, mount, *arguments = sys.argv[1:]
buffers = mount + "/buffers"
controls = mount + "/sys/kernel/cdm/buffers"


def touch(name):
    os.close(os.open(f"{buffers}/{name}", os.O_RDWR | os.O_CREAT, 0o644))


def files(prefix, count):
    for number in range(int(count)):
        touch(f"{prefix}{number}")
        yield 1


def directories(prefix, count):
    for number in range(int(count)):
        os.mkdir(f"{buffers}/{prefix}{number}")
        yield 1


def limit_locked(size):
    hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    size = size if hard == resource.RLIM_INFINITY else min(size, hard)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (size, size))


def pins(prefix, count, size, memlock):
    limit_locked(int(memlock))
    for number in range(int(count)):
        name = f"{prefix}{number}"
        touch(name)
        os.truncate(f"{buffers}/{name}", int(size))
        os.setxattr(f"{buffers}/{name}", "user.cdm.pinned", b"1")
        yield 1


def growth(name, way, size):
    """A pinned buffer of a page grows by a page at a time."""
    file = os.open(f"{buffers}/{name}", os.O_RDWR | os.O_CREAT, 0o644)
    limit_locked(int(size))
    os.ftruncate(file, 4096)
    os.setxattr(f"{buffers}/{name}", "user.cdm.pinned", b"1")
    for page in range(1, 1000):
        if way == "ftruncate":
            os.ftruncate(file, (page + 1) * 4096)
        elif way == "copy":
            os.copy_file_range(file, file, 4096, 0, page * 4096)
        elif way == "write":
            os.pwrite(file, bytes(4096), page * 4096)
        else:
            os.posix_fallocate(file, page * 4096, 4096)
        yield 1


def direct(prefix, count):
    for number in range(int(count)):
        name = f"{prefix}{number}"
        touch(name)
        os.setxattr(f"{buffers}/{name}", "user.cdm.mapping", b"direct")
        yield 1


def touches(file, count):
    """First touches through a mapping, of which one that is refused ends who touches."""
    memory = mmap.mmap(file, count * 4096)
    ends = os.pipe()
    child = os.fork()
    if child == 0:
        for page in range(count):
            memory[page * 4096] = 1
            os.write(ends[1], b"1")
        os._exit(0)
    os.close(ends[1])
    status = os.waitpid(child, 0)[1]
    yield len(os.read(ends[0], 65536))
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGBUS:
        raise OSError(errno.EFAULT, "SIGBUS")


def frames(name, policy, way, count):
    """Pages of a buffer, which get their frames one by one, or by a move."""
    touch(name)
    os.setxattr(f"{buffers}/{name}", "user.cdm.policy", policy.encode())
    if way == "direct":
        os.setxattr(f"{buffers}/{name}", "user.cdm.mapping", b"direct")
        os.truncate(f"{buffers}/{name}", int(count) * 4096)
        yield int(count)
        return
    file = os.open(f"{buffers}/{name}", os.O_RDWR)
    if way == "allocate":
        os.posix_fallocate(file, 0, int(count) * 4096)
        yield int(count)
    elif way == "touch":
        os.ftruncate(file, int(count) * 4096)
        yield from touches(file, int(count))
    else:
        for page in range(int(count)):
            os.pwrite(file, b"1", page * 4096)
            yield 1
        if way == "migrate":
            os.setxattr(f"{buffers}/{name}", "user.cdm.migrate", b"1")


taken = 0
error = 0
try:
    for part in globals()[what](*arguments):
        taken += part
except OSError as failure:
    error = failure.errno
print(f"taken={taken} error={errno.errorcode.get(error, '-')}")
