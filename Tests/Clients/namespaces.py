"""Numbers of tasks as a PID namespace of its own has them: namespaces.py MOUNT [user], started as its first process.

With `user` it is root of a user namespace only, and may use none of root's controls.
"""
import ctypes, errno, mmap, os, subprocess, sys

mount = sys.argv[1]
kernel, groups = mount + "/sys/kernel/cdm", mount + "/sys/fs/cgroup"
tasks = mount + "/sys/devices/system/node/node1/cdm/tasks"
isUser = sys.argv[2:] == ["user"]
PAGE = 4096


def text(file):
    with open(file) as opened:
        return opened.read()


def stored(file, words, error=0):
    try:
        descriptor = os.open(file, os.O_WRONLY)
        try:
            os.write(descriptor, str(words).encode())
        finally:
            os.close(descriptor)
        found = 0
    except OSError as failure:
        found = failure.errno
    expect(found, error, f"{words} in {file}")


def expect(found, wanted, what=""):
    assert found == wanted, f"{what}: {found!r} in place of {wanted!r}"


def start(number=0):
    """A child that waits for its end; of a given number, as only the root of the namespace can have it."""
    if number == 0:
        child = os.fork()
    else:
        # struct clone_args of linux/sched.h, whose last fields are set_tid and its length.
        wanted = (ctypes.c_int * 1)(number)
        arguments = (ctypes.c_uint64 * 10)(0, 0, 0, 0, 17, 0, 0, 0, ctypes.addressof(wanted), 1)
        child = ctypes.CDLL(None, use_errno=True).syscall(435, arguments, ctypes.sizeof(arguments))
        assert child >= 0, os.strerror(ctypes.get_errno())
    if child == 0:
        while True:
            ctypes.CDLL(None).pause()
    return child


def end(child):
    os.kill(child, 9)
    os.waitpid(child, 0)


def makeBuffer(name):
    descriptor = os.open(f"{mount}/buffers/{name}", os.O_RDWR | os.O_CREAT, 0o600)
    os.ftruncate(descriptor, 16 * PAGE)
    mapping = mmap.mmap(descriptor, 16 * PAGE)
    for page in range(16):
        mapping[page * PAGE] = 1
    return mapping, f"{mount}/sys/kernel/cdm/buffers/{name}"


me = os.getpid()
# Small numbers, which are others' outside.
assert me < 10, me
expect(text(kernel + "/pid"), "0\n")

if isUser:
    # Whoever may not write there is told so; what is read is in its own numbers all the same.
    stored(kernel + "/task_policy", f"{me} bind:0", errno.EACCES)
    assert all(line in ("0", str(me)) for line in text(groups + "/cgroup.procs").split())
    assert str(me) in text(groups + "/cgroup.procs").split()
    print("done")
    sys.exit()

mapping, control = makeBuffer("nested")
child = start()

# task_policy
stored(kernel + "/task_policy", f"{child} bind:1")
stored(kernel + "/task_policy", f"0 interleave:0-1")
expect(text(kernel + "/task_policy").splitlines(), [f"{me} interleave:0-1", f"{child} bind:1"])
stored(kernel + "/task_policy", "900000 bind:1", errno.ESRCH)
print(f"policies", flush=True)
sys.stdin.readline()
for task in ["0", str(child)]:
    stored(kernel + "/task_policy", f"{task} default")
expect(text(kernel + "/task_policy"), "")

# cgroup.procs
os.mkdir(groups + "/nested")
stored(groups + "/nested/cgroup.procs", child)
expect(text(groups + "/nested/cgroup.procs"), f"{child}\n")
stored(groups + "/nested/cgroup.procs", 0)
expect(text(groups + "/nested/cgroup.procs"), f"{me}\n{child}\n")
for task in [child, me]:
    stored(groups + "/cgroup.procs", task)
stored(groups + "/nested/cgroup.procs", 900000, errno.ESRCH)

# tasks of a restricted node
stored(tasks, child)
stored(tasks, "0")
expect(sorted(text(tasks).split()), sorted([str(me), str(child)]))
stored(tasks, f"-{child}")
stored(tasks, "-0")
expect(text(tasks), "")
stored(tasks, 900000, errno.ESRCH)

# numa_maps, by the file and by the command
asked = os.open(kernel + "/numa_maps", os.O_RDWR)
for task in [str(me), "0"]:
    os.pwrite(asked, task.encode(), 0)
    assert "/buffers/nested" in os.pread(asked, 65536, 0).decode(), task
printed = subprocess.run([os.environ["CDMFS"], "numa_maps", str(me)], capture_output=True, text=True, timeout=60)
expect((printed.returncode, printed.stderr), (0, ""))
assert "/buffers/nested" in printed.stdout
stored(kernel + "/numa_maps", 900000, errno.ESRCH)

# migrate_pages and coherent_debug
stored(kernel + "/migrate_pages", f"{me} 0 1")
expect(text(control + "/placement"), "N1=16\n")
stored(kernel + "/migrate_pages", "0 1 0")
expect(text(control + "/placement"), "N0=16\n")
stored(kernel + "/migrate_pages", "900000 0 1", errno.ESRCH)
start_address = int([line for line in text("/proc/self/maps").splitlines() if "/buffers/nested" in line][0].split("-")[0], 16)
for task, pages in [(me, 4), (0, 8)]:
    stored(mount + "/sys/kernel/debug/coherent_debug", f"{task},{start_address:x},{start_address + pages * PAGE:x},1")
    expect(text(control + "/placement"), f"N0={16 - pages} N1={pages}\n")

# blockers
stored(control + "/pinned", "1")
expect([line.split()[-1] for line in text(mount + "/sys/devices/system/node/node1/cdm/blockers").splitlines()], [f"{me},{child}"])
stored(control + "/pinned", "0")

# A number that is another's by the time it is used is nobody's.
stored(kernel + "/task_policy", f"{child} bind:1")
stored(tasks, child)
os.pwrite(asked, str(child).encode(), 0)
assert "/buffers/nested" in os.pread(asked, 65536, 0).decode()
end(child)
expect(start(child), child)
expect(text(kernel + "/task_policy"), "")
expect(text(tasks), "")
for _ in range(2):
    try:
        os.pread(asked, 10, 0)
        assert False, "another task answers"
    except OSError as failure:
        expect(failure.errno, errno.ESRCH)
expect(text(kernel + "/numa_maps"), "")
# What runs another program is the same task.
os.pwrite(asked, str(me).encode(), 0)
if os.fork() == 0:
    os.execvp("true", ["true"])
os.wait()
end(child)
os.rmdir(groups + "/nested")
print("done")
