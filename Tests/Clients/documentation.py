"""documentation.py BIN MOUNT FILE...: runs the commands that pages show, and compares what they print.

An indented block whose first line begins with the prompt "# " is a session: what follows the prompt is a command, with its further
lines while bash wants more, and what follows a command is its output. The blocks of a page are one session of bash, over a machine
that is mounted at MOUNT, in place of /mnt/cdm. Numbers and spaces are not compared, and a line "..." stands for any lines.

    <!-- not run: REASON -->    the next block is not run
    <!-- run: COMMAND -->       a command that the page does not show

Prints one line for each block, and ends with 1 where one differs.
"""
import os
import re
import selectors
import subprocess
import sys
import time

PROMPT = re.compile(r"( {4,})# ")
SECONDS = 60


def wants_more(command):
    outcome = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True)
    return "unexpected EOF" in outcome.stderr or "unexpected end of file" in outcome.stderr \
        or "here-document" in outcome.stderr


def blocks(text):
    """The sessions of a page: the number of the first line, and its commands with their outputs; no output for a hidden one."""
    lines, number, left_out = text.split("\n"), 0, False
    while number < len(lines):
        line = lines[number]
        if match := re.fullmatch(r"<!-- run: (.*) -->", line.strip()):
            yield number + 1, [(match[1], None)]
        elif line.strip().startswith("<!-- not run: "):
            left_out = True
        prompt = PROMPT.match(line)
        if not prompt or (number and lines[number - 1].strip() and not lines[number - 1].startswith("<!--")):
            number += 1
            continue
        start, commands, margin = number, [], prompt[1]
        while number < len(lines) and lines[number].startswith(margin):
            line = lines[number][len(margin):]
            number += 1
            if not line.startswith("# "):
                commands[-1][1].append(line)
                continue
            command = line[2:]
            while number < len(lines) and lines[number].startswith(margin) and (
                    command.endswith("\\") or wants_more(command)):
                command += "\n" + re.sub(r"^> ", "", lines[number][len(margin):])
                number += 1
            commands.append((command, []))
        if not left_out:
            yield start + 1, commands
        left_out = False


class Shell:
    """A session of bash whose standard error is its output."""

    def __init__(self, bin):
        environment = dict(os.environ, PATH=bin + ":" + os.environ["PATH"], LC_ALL="C.UTF-8", PS1="")
        self.bash = subprocess.Popen(["bash", "--norc"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                     stderr=subprocess.STDOUT, env=environment, cwd="/")
        os.set_blocking(self.bash.stdout.fileno(), False)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.bash.stdout, selectors.EVENT_READ)

    def run(self, command):
        self.bash.stdin.write((command + "\nprintf '\\n\\001end\\n'\n").encode())
        self.bash.stdin.flush()
        output, limit = b"", time.monotonic() + SECONDS
        while not output.endswith(b"\n\001end\n"):
            if not self.selector.select(max(0, limit - time.monotonic())):
                raise TimeoutError(f"no end within {SECONDS} s: {command}\n{output.decode(errors='replace')}")
            piece = self.bash.stdout.read()
            if not piece:
                raise EOFError(f"bash has ended: {command}\n{output.decode(errors='replace')}")
            output += piece
        return output[:-len(b"\n\001end\n")].decode(errors="replace")

    def end(self):
        self.bash.stdin.close()
        try:
            self.bash.wait(10)
        except subprocess.TimeoutExpired:
            self.bash.kill()


def shape(line, mount):
    line = line.replace(mount, "/mnt/cdm")
    line = re.sub(r"^bash: line \d+: ", "bash: ", line)
    line = re.sub(r"\b(0x)?[0-9a-f]*[0-9][0-9a-f.]*\b", "#", line)
    return " ".join(line.split())


def agrees(expected, seen):
    """Whether the lines match, in which "..." stands for any number of lines."""
    if not expected:
        return not seen
    if expected[0] == "...":
        return any(agrees(expected[1:], seen[skipped:]) for skipped in range(len(seen) + 1))
    return bool(seen) and expected[0] == seen[0] and agrees(expected[1:], seen[1:])


def check(bin, mount, file):
    text = open(file, encoding="utf-8").read()
    subprocess.run([bin + "/cdmfs", "mount", mount], check=True, timeout=30)
    shell, failures = Shell(bin), 0
    try:
        for number, commands in blocks(text):
            for command, output in commands:
                printed = shell.run(command.replace("/mnt/cdm", mount))
                seen = [line for line in (shape(line, mount) for line in printed.split("\n")) if line]
                if output is None:
                    continue
                expected = [line for line in (shape(line, mount) for line in output) if line]
                if not agrees(expected, seen):
                    failures += 1
                    print(f"{file}:{number}: {command}\n--- shown\n" + "\n".join(output) + f"\n--- printed\n{printed}")
    finally:
        shell.end()
        subprocess.run(["umount", "-l", mount], stderr=subprocess.DEVNULL)
    return failures


if __name__ == "__main__":
    bin, mount, *files = sys.argv[1:]
    failures = sum(check(bin, mount, file) for file in files)
    print(f"{len(files)} pages, {failures} commands that print something else")
    sys.exit(1 if failures else 0)
