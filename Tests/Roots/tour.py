#!/usr/bin/env python3
"""tour.py FILE SECTION...: runs the commands that sections of a Markdown file show, and compares what they print.

A command stands in an indented block after `# `, its output below it. Commands of a section share a shell, in which `cdmfs` is what
the PATH says. Figures that differ from run to run (times, rates) are compared as figures: any number with a decimal point is as good
as another. What is shown may be the beginning of what is printed. The exit status is 1 where something differs.
"""
import re
import select
import subprocess
import sys
import time

LIMIT = 60  # seconds for a command
MARK = "end of a command"


def blocks(text, section):
    """The indented blocks of a section that begin with a command."""
    body = re.search(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", text, re.S | re.M)
    if not body:
        sys.exit(f"there is no section {section}")
    for block in re.findall(r"(?:^(?:    .*)?\n)+", body[1], re.M):
        lines = [line[4:] for line in block.strip("\n").split("\n")]
        if lines[0].startswith("# "):
            yield lines


def is_complete(command):
    return subprocess.run(["bash", "-n"], input=command, text=True, stderr=subprocess.DEVNULL).returncode == 0


def commands(lines):
    """Pairs of a command and the lines that it shall print."""
    lines = list(lines)
    while lines:
        line = lines.pop(0)
        command = line[2:]
        while not is_complete(command) and lines:
            command += "\n" + lines.pop(0).removeprefix("> ")
        shown = []
        while lines and not lines[0].startswith("# "):
            shown.append(lines.pop(0))
        while shown and not shown[-1]:
            shown.pop()
        yield command, shown


def normal(line):
    line = re.sub(r"^bash: line \d+: ", "bash: ", line)
    return re.sub(r"\d+\.\d+(e-?\d+)?", "N.N", line).rstrip()


class Shell:
    def __init__(self):
        self.process = subprocess.Popen(
            ["bash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0)

    def run(self, command):
        """What a command prints; none where it does not end."""
        self.process.stdin.write(f"{command}\nprintf '\\n%s\\n' '{MARK}'\n".encode())
        text, deadline = b"", time.monotonic() + LIMIT
        while not text.endswith(f"\n{MARK}\n".encode()):
            if not select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))[0]:
                sys.exit(f"$ {command}\ndid not end within {LIMIT} s; so far:\n{text.decode()}")
            some = self.process.stdout.read(65536)
            if not some:
                sys.exit(f"$ {command}\nended the shell; so far:\n{text.decode()}")
            text += some
        return text.decode()[: -len(MARK) - 2].removesuffix("\n").split("\n")


def main():
    text = open(sys.argv[1]).read()
    count = failures = 0
    for section in sys.argv[2:]:
        shell = Shell()
        for lines in blocks(text, section):
            for command, shown in commands(lines):
                printed = shell.run(command)
                printed = [] if printed == [""] else printed
                count += 1
                wanted, had = [normal(line) for line in shown], [normal(line) for line in printed]
                if had[: len(wanted)] != wanted or (had and not wanted):
                    failures += 1
                    print(f"$ {command}", "shown:", *shown, "printed:", *printed, sep="\n")
    print(f"{count} commands, {failures} differ")
    sys.exit(failures != 0 or count == 0)


main()
