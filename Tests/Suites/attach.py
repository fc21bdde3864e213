"""attach.py SPEC DIR [-o OPTIONS]: what mount(8) starts for the mounts of the script xfstests, see there: attaches a clone of the
directory buffers/ of the machine SPEC, which is mounted in another mount namespace, to DIR."""
import argparse
import ctypes
import os
import subprocess
import sys

OPEN_TREE, MOVE_MOUNT = 428, 429
OPEN_TREE_CLONE, EMPTY_SOURCE, EMPTY_TARGET, AT_FDCWD = 1, 0x04, 0x40, -100
PER_MOUNT = {"ro", "noatime", "nodiratime", "nosuid", "nodev", "noexec"}

libc = ctypes.CDLL(None, use_errno=True)


def check(result, what):
    if result < 0:
        sys.exit(f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def attach(holder, tree, target):
    """mount_setattr(2) and bind mounts know only one namespace: the clone is carried from the other by its descriptor."""
    home, place = os.open("/proc/self/ns/mnt", os.O_RDONLY), os.open(target, os.O_RDONLY)
    check(libc.setns(os.open(f"/proc/{holder}/ns/mnt", os.O_RDONLY), 0), "setns")
    clone = check(libc.syscall(OPEN_TREE, AT_FDCWD, tree.encode(), OPEN_TREE_CLONE), "open_tree")
    check(libc.setns(home, 0), "setns")
    check(libc.syscall(MOVE_MOUNT, clone, b"", place, b"", EMPTY_SOURCE | EMPTY_TARGET), "move_mount")


parser = argparse.ArgumentParser()
parser.add_argument("spec")
parser.add_argument("directory")
parser.add_argument("-o", dest="options", default="")
arguments, _ = parser.parse_known_args()
options = arguments.options.split(",")
if "remount" in options:
    os.execvp("mount", ["mount", "-i", "-o", arguments.options, arguments.directory])
work = os.environ["XFSTESTS_MACHINES"]
holder = open(f"{work}/{arguments.spec}.pid").read().strip()
machine = f"{work}/{arguments.spec}"
# A test may have left the machine read-only by a remount.
subprocess.run(["nsenter", "-m", "-t", holder, "mount", "-i", "-o", "remount,rw", machine], check=True)
attach(holder, machine + "/buffers", arguments.directory)
bind = PER_MOUNT.intersection(options)
if bind:
    subprocess.run(["mount", "-o", ",".join(["remount", "bind", *sorted(bind)]), arguments.directory], check=True)
