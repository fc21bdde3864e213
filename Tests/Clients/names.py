"""What users do to each other through names, one scene a word: names.py USER SCENE MOUNT [ARGUMENT…], run by root."""

import ctypes
import os
import signal
import sys

user, scene, mount, *arguments = sys.argv[1:]
buffers = mount + "/buffers"
controls = mount + "/sys/kernel/cdm/buffers"


def deep():
    """Directories within directories, until that is refused or there are very many."""
    here = os.open(buffers + "/open", os.O_RDONLY)
    events = os.open(mount + "/sys/kernel/cdm/uevents", os.O_RDONLY | os.O_NONBLOCK)
    depth = 0
    while depth < 100_000:
        try:
            os.mkdir("d", dir_fd=here)
        except OSError as error:
            print(depth, error.errno)
            break
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
        depth += 1
    else:
        print(depth, 0)
    # Whoever looks at the names now has them all on the way.
    try:
        os.mkdir("e", dir_fd=here)
    except OSError as error:
        print(error.errno)
    print(len(os.read(events, 1 << 20)) > 0)
    os.rename(buffers + "/open/d", buffers + "/open/e")
    try:
        os.rename(buffers + "/open/e", buffers + "/open/longer")
    except OSError as error:
        print(error.errno)


def listen():
    """Prints the events until something named `end` comes."""
    events = os.open(mount + "/sys/kernel/cdm/uevents", os.O_RDONLY)
    print("ready", flush=True)
    text = ""
    while "/end\n" not in text:
        text += os.read(events, 1 << 16).decode()
    for line in text.splitlines():
        if line.startswith("DEVPATH="):
            print(line.removeprefix("DEVPATH=/kernel/cdm/buffers/"))


def look():
    """What there is to be seen of a closed directory."""
    for path in (
        buffers + "/closed", controls + "/closed", controls + "/closed/secret", controls + "/closed/secret/size",
        controls + "/closed/secret/policy", controls + "/private", controls + "/private/placement",
    ):
        try:
            if os.path.isdir(path):
                print(len(os.listdir(path)) > 0)
            else:
                with open(path) as file:
                    print(file.read() != "")
        except OSError as error:
            print(error.errno)
    print("secret" in os.listdir(controls), "closed" in os.listdir(controls))


def place():
    """Every control of a file, by its control file and as an extended attribute: what the errno of each write is."""
    file = buffers + "/" + arguments[0]
    values = {
        "policy": "bind:1", "huge": "never", "pinned": "0", "migrate": "0", "contiguous": "none", "mapping": "tracked",
    }
    for name, value in values.items():
        outcomes = []
        for write in (
            lambda: open(controls + "/" + arguments[0] + "/" + name, "w").write(value),
            lambda: os.setxattr(file, "user.cdm." + name, value.encode()),
        ):
            try:
                write()
                outcomes.append(0)
            except OSError as error:
                outcomes.append(error.errno)
        print(name, *outcomes)


def device():
    """Takes a device's page away, if that is allowed; whether the device file may be opened at all."""
    for path in ("/dev/cdm0", "/dev/hmm_dmirror0"):
        try:
            os.close(os.open(mount + path, os.O_RDWR))
            print(0)
        except OSError as error:
            print(error.errno)


def handles():
    """Opens a file often, and reads a little of each."""
    opened = [os.open(mount + "/" + arguments[0], os.O_RDONLY) for _ in range(int(arguments[1]))]
    for descriptor in opened:
        os.read(descriptor, 100)
    print("ready", flush=True)
    signal.pause()


def become(capabilities=0):
    """Becomes the user, and keeps some capabilities."""
    library = ctypes.CDLL(None, use_errno=True)
    os.setgroups([])
    os.setgid(int(user))
    if capabilities:
        library.prctl(8, 1, 0, 0, 0)  # PR_SET_KEEPCAPS
    os.setuid(int(user))
    if capabilities:
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        data = (ctypes.c_uint32 * 6)(capabilities, capabilities, 0, 0, 0, 0)
        assert library.capset(header, data) == 0, ctypes.get_errno()


def capable():
    """What CAP_FOWNER, capability 3, makes of somebody who may write."""
    os.setxattr(buffers + "/" + arguments[0], "user.cdm.policy", b"bind:0")
    print("done")


become(1 << 3 if scene == "capable" else 0)
globals()[scene]()
