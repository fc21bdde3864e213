"""copying.py BUFFERS SCRATCH CONTROLS [direct]: copies files with the tools that people copy with, into, out of and within a mount.

BUFFERS is a directory of a mount, SCRATCH one of another file system with user attributes, CONTROLS the directory of the controls
of BUFFERS; `direct`: new buffers of the mount are that. Each copy is compared with what it is of: bytes, mode, time, and the attributes that are listed, as far as the tool
copies them; and the tool must have nothing to complain of. What the mount says of a file (`user.cdm.*`) goes nowhere.
Prints `copied=N`, N the number of copies that were looked at."""

import os
import shutil
import stat
import subprocess
import sys

buffers, scratch, controls = sys.argv[1:4]
new = "direct" if "direct" in sys.argv[4:] else "tracked"
ATTRIBUTES = {"user.mine": b"kept", "user.binary": bytes(range(256)), "user.empty": b""}
# One policy that a copy must not take along.
POLICY = "bind:1"
OLD = 1_000_000_000
failures, copied = [], 0


def keeps_attributes(folder):
    """Whether a file system has attributes of users."""
    try:
        os.setxattr(folder, "user.mine", b"")
        os.removexattr(folder, "user.mine")
        return True
    except OSError:
        return False


def write(path, text):
    with open(path, "w") as file:
        file.write(text)


def content(size, holes):
    """Bytes that tell by each page where it belongs."""
    pages = [b"%08x" % page * 512 for page in range((size + 4095) // 4096)]
    for page in range(len(pages)):
        if holes and page % 4 != 1:
            pages[page] = bytes(4096)
    return b"".join(pages)[:size]


# A file as they come, one that ends within a page, one with holes, and one without a byte.
FILES = {"page": content(65536, False), "odd": content(70001, False), "holes": content(262144, True), "none": b""}


def make(path, data):
    with open(path, "wb") as file:
        for offset in range(0, len(data), 4096):
            if any(data[offset : offset + 4096]):
                file.seek(offset)
                file.write(data[offset : offset + 4096])
        file.truncate(len(data))
    for name, value in ATTRIBUTES.items():
        os.setxattr(path, name, value)
    os.chmod(path, 0o640)
    os.utime(path, (OLD, OLD))


class Place:
    """A directory to copy from or to."""

    def __init__(self, name, path, mapping=None):
        self.name, self.path, self.mapping = name, path, mapping
        os.mkdir(path)
        if mapping:
            self.control = controls + path.removeprefix(buffers)

    def fill(self):
        for name, data in FILES.items():
            path = os.path.join(self.path, name)
            if self.mapping:
                # Before it has bytes, and so that it would be seen on a copy.
                os.mknod(path, 0o600 | stat.S_IFREG)
                write(f"{self.control}/{name}/policy", POLICY)
                write(f"{self.control}/{name}/mapping", self.mapping)
            make(path, data)
            if self.mapping:
                write(f"{self.control}/{name}/pinned", "1")


def listed(path):
    return {name: os.getxattr(path, name) for name in os.listxattr(path)}


def check(what, source, target, keeps, attributes):
    """Whether the files of `target` are those of `source`."""
    global copied
    if sorted(os.listdir(target)) != sorted(FILES):
        failures.append(f"{what}: it has {sorted(os.listdir(target))}")
        return
    for name, data in FILES.items():
        path = os.path.join(target, name)
        with open(path, "rb") as file:
            if file.read() != data:
                failures.append(f"{what}: {name} has other bytes")
        status = os.stat(path)
        if keeps and (stat.S_IMODE(status.st_mode), int(status.st_mtime)) != (0o640, OLD):
            failures.append(f"{what}: {name} has mode {status.st_mode:o} and time {status.st_mtime}")
        found = listed(path)
        wanted = ATTRIBUTES if attributes else {}
        if found != wanted:
            failures.append(f"{what}: {name} has the attributes {sorted(found)}")
        if target.startswith(buffers) and source != target:
            control = controls + path.removeprefix(buffers)
            with open(control + "/policy") as policy, open(control + "/pinned") as pinned:
                said = (policy.read(), pinned.read())
            if said != ("default\n", "0\n"):
                failures.append(f"{what}: {name} has the policy and pinning {said}")
        copied += 1


def tool(*command):
    """Runs a program that must have nothing to say."""

    def run(source, target):
        words = [word.replace("SOURCE", source).replace("TARGET", target) for word in command]
        if words[-2:] == ["FILES", target]:
            words[-2:] = [os.path.join(source, name) for name in FILES] + [target]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, env=os.environ | {"LC_ALL": "C"})
        if done.returncode or done.stderr:
            raise OSError(f"exit status {done.returncode}: {done.stderr.strip()}")

    return run


def shell(command):
    return tool("bash", "-o", "pipefail", "-c", command)


def each(function):
    def run(source, target):
        for name in FILES:
            function(os.path.join(source, name), os.path.join(target, name))

    return run


def tree(source, target):
    os.rmdir(target)
    shutil.copytree(source, target)


# The tool, and whether it keeps mode and times, attributes, and the source.
TOOLS = {
    "shutil.copy": (each(shutil.copy), False, False),
    "shutil.copy2": (each(shutil.copy2), True, True),
    "shutil.copytree": (tree, True, True),
    "shutil.move": (each(shutil.move), True, True),
    "cp": (tool("cp", "FILES", "TARGET"), False, False),
    "cp -a": (tool("cp", "-a", "FILES", "TARGET"), True, True),
    "cp -p --preserve=xattr": (tool("cp", "-p", "--preserve=xattr", "FILES", "TARGET"), True, True),
    "cp --sparse=always": (tool("cp", "--sparse=always", "FILES", "TARGET"), False, False),
    "cp --sparse=never": (tool("cp", "--sparse=never", "FILES", "TARGET"), False, False),
    "cp --reflink=auto": (tool("cp", "--reflink=auto", "FILES", "TARGET"), False, False),
    "mv": (tool("mv", "FILES", "TARGET"), True, True),
    "rsync -a": (tool("rsync", "-a", "SOURCE/", "TARGET/"), True, False),
    "rsync -aX": (tool("rsync", "-aX", "SOURCE/", "TARGET/"), True, True),
    "rsync -aXS --inplace": (tool("rsync", "-aX", "--inplace", "SOURCE/", "TARGET/"), True, True),
    "tar": (shell("tar -C SOURCE -cf - . | tar -C TARGET -xpf -"), True, False),
    "tar --xattrs": (
        shell("tar --xattrs --xattrs-include='*' -C SOURCE -cSf - . | tar --xattrs --xattrs-include='*' -C TARGET -xpf -"),
        True, True),
}

def place(name, path):
    inside = name != "outside"
    return Place(name, os.path.join(buffers if inside else scratch, path), name if inside else None)


ROUTES = [("outside", new), ("tracked", new), ("direct", new)]
if not keeps_attributes(scratch):
    del ROUTES[0]
elif new == "tracked":
    ROUTES += [("tracked", "outside"), ("direct", "outside")]
DESTROYING = ("shutil.move", "mv")

for origin, end in ROUTES:
    source = place(origin, f"from-{origin}-to-{end}")
    source.fill()
    # Those that leave nothing behind come last.
    for name in sorted(TOOLS, key=lambda name: (name in DESTROYING, name)):
        copy, keeps, attributes = TOOLS[name]
        within = name in DESTROYING and "outside" not in (origin, end)
        if name in DESTROYING and not os.listdir(source.path):
            source.fill()
        what = f"{name}, {origin} to {end}"
        target = place(end, f"{name.split()[0]}-{len(os.listdir(buffers))}-{len(os.listdir(scratch))}")
        try:
            copy(source.path, target.path)
        except Exception as error:
            failures.append(f"{what}: {error}")
        # Within one mount it is the same file under another name, with all that it had.
        check(what, target.path if within else source.path, target.path, keeps, attributes)
        shutil.rmtree(target.path)
    shutil.rmtree(source.path)

# Over a file that is there already, which keeps its place.
target = place(new, "over")
target.fill()
for name in FILES:
    outside = os.path.join(scratch, name)
    with open(outside, "wb") as file:
        file.write(FILES[name][::-1])
    shutil.copy2(outside, os.path.join(target.path, name))
    with open(os.path.join(target.path, name), "rb") as file:
        if file.read() != FILES[name][::-1]:
            failures.append(f"over: {name} has other bytes")
    with open(f"{target.control}/{name}/policy") as policy:
        if policy.read() != POLICY + "\n":
            failures.append(f"over: {name} has lost its policy")
    os.unlink(outside)
shutil.rmtree(target.path)

for failure in failures:
    print(failure, file=sys.stderr)
print(f"copied={copied}")
sys.exit(bool(failures))
