"""Runs a program in a terminal of its own, as its only job, and does what the lines of standard input say:

expect TEXT      waits until the screen shows it        absent TEXT      waits until it does not
keys TEXT        types it; \\x1b and the like are bytes  size COLUMNS ROWS
signal NAME      sends a signal to the program          run COMMAND      runs a shell command
stopped          waits until the program is stopped     ended ENDING     waits for `exited N` or `signalled N`
restored         the terminal is as it was              print            writes the screen to standard output
unescaped        no escape sequence has come
says TEXT        the terminal got this text behind the program's own screen

The first line that does not come true is told, with the screen, and the exit status is 1.
"""
import codecs, fcntl, os, pty, select, signal, struct, subprocess, sys, termios, time, unicodedata

PATIENCE = 20


class Screen:
    """As much of a terminal as the program uses. What else comes is a failure."""

    def __init__(self, columns, rows):
        self.resize(columns, rows)
        self.modes = set()
        self.has_escapes = False
        self.plain = ""
        self.rest = ""
        self.decoder = codecs.getincrementaldecoder("utf-8")()

    def resize(self, columns, rows):
        self.columns, self.rows = columns, rows
        self.cells = [[" "] * columns for _ in range(rows)]
        self.row = self.column = 0

    def feed(self, data):
        text = self.rest + self.decoder.decode(data)
        self.rest = ""
        place = 0
        while place < len(text):
            if text[place] == "\x1b":
                end = place + 2
                while end < len(text) and not "@" <= text[end] <= "~":
                    end += 1
                if end >= len(text):
                    self.rest = text[place:]
                    return
                self.escape(text[place + 2 : end], text[end], text[place : end + 1])
                place = end + 1
                continue
            self.put(text[place])
            place += 1

    def escape(self, parameters, final, whole):
        self.has_escapes = True
        if whole[1] != "[":
            raise SystemExit(f"unexpected {whole!r}")
        numbers = [int(word or 0) for word in parameters.lstrip("?").split(";")]
        if final == "H":
            self.row, self.column = (number - 1 for number in numbers) if len(numbers) == 2 else (0, 0)
        elif final == "G":
            self.column = numbers[0] - 1
        elif final == "J":
            self.resize(self.columns, self.rows)
        elif final in "hl" and parameters.startswith("?"):
            (self.modes.add if final == "h" else self.modes.discard)(numbers[0])
            if numbers[0] == 1049 and final == "l":
                self.plain = ""
        elif final != "m":
            raise SystemExit(f"unexpected {whole!r}")

    def put(self, character):
        if 1049 not in self.modes:
            self.plain += character
            return
        if character < " ":
            raise SystemExit(f"unexpected {character!r} on the screen")
        width = 0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if width == 0:
            return
        if self.row >= self.rows or self.column + width > self.columns:
            raise SystemExit(f"{character!r} is written to {self.row},{self.column} of {self.rows},{self.columns}")
        self.cells[self.row][self.column : self.column + width] = [character] + [""] * (width - 1)
        self.column += width

    def text(self):
        if 1049 not in self.modes:
            return self.plain
        return "\n".join("".join(row).rstrip() for row in self.cells)


class Job:
    def __init__(self, words, columns=80, rows=24):
        self.screen = Screen(columns, rows)
        reports, telling = os.pipe()
        self.leader, self.terminal = pty.fork()
        if self.leader == 0:
            os.close(reports)
            self.lead(words, telling)
        os.close(telling)
        self.reports = reports
        self.set_size(columns, rows)
        self.report = b""
        self.pid = int(self.wait_for_report())
        self.before = termios.tcgetattr(self.terminal)
        os.write(self.terminal, b"\n")

    def lead(self, words, telling):
        """Stands for the shell: a job whose leader is gone cannot be stopped."""
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        pid = os.fork()
        if pid == 0:
            os.setpgid(0, 0)
            os.tcsetpgrp(0, os.getpid())
            signal.signal(signal.SIGTTOU, signal.SIG_DFL)
            os.read(0, 1)
            os.execvp(words[0], words)
        os.write(telling, f"{pid}\n".encode())
        while True:
            _, status = os.waitpid(pid, os.WUNTRACED)
            if os.WIFSTOPPED(status):
                os.write(telling, b"stopped\n")
                continue
            ending = (
                f"exited {os.WEXITSTATUS(status)}" if os.WIFEXITED(status) else f"signalled {os.WTERMSIG(status)}"
            )
            os.write(telling, ending.encode() + b"\n")
            # The end of the leader hangs the terminal up.
            time.sleep(PATIENCE)
            os._exit(0)

    def set_size(self, columns, rows):
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def pump(self, seconds):
        ready, _, _ = select.select([self.terminal, self.reports], [], [], seconds)
        if self.terminal in ready:
            self.screen.feed(os.read(self.terminal, 1 << 16))
        if self.reports in ready:
            self.report += os.read(self.reports, 4096)

    def wait(self, condition):
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                return False
            self.pump(0.1)
        return True

    def wait_for_report(self):
        if not self.wait(lambda: b"\n" in self.report):
            return ""
        line, self.report = self.report.split(b"\n", 1)
        return line.decode()

    def do(self, line):
        word, _, rest = line.partition(" ")
        if word == "expect":
            return self.wait(lambda: rest in self.screen.text())
        if word == "absent":
            return self.wait(lambda: rest not in self.screen.text())
        if word == "keys":
            os.write(self.terminal, rest.encode().decode("unicode_escape").encode())
            return True
        if word == "size":
            columns, rows = map(int, rest.split())
            # What is still on its way is for the old size.
            while select.select([self.terminal], [], [], 0)[0]:
                self.pump(0)
            self.screen.resize(columns, rows)
            self.set_size(columns, rows)
            return True
        if word == "signal":
            os.kill(self.pid, signal.Signals["SIG" + rest])
            return True
        if word == "run":
            return subprocess.run(rest, shell=True).returncode == 0
        if word == "stopped":
            return self.wait_for_report() == "stopped"
        if word == "ended":
            ending = self.wait_for_report()
            self.pump(0.1)
            return ending == rest
        if word == "restored":
            # The other screen is left, and the cursor and wrapping are back.
            return self.wait(
                lambda: termios.tcgetattr(self.terminal) == self.before
                and 1049 not in self.screen.modes
                and {25, 7} <= self.screen.modes
            )
        if word == "unescaped":
            return not self.screen.has_escapes
        if word == "says":
            return self.wait(lambda: rest in self.screen.plain)
        if word == "print":
            print(self.screen.text(), flush=True)
            return True
        raise SystemExit(f"{line}: what?")


def main():
    job = Job(sys.argv[1:])
    try:
        for line in sys.stdin.read().split("\n"):
            if line and not job.do(line):
                print(f"{line}\nreported: {job.report}\nmodes: {job.screen.modes}\n{job.screen.text()}")
                return 1
        return 0
    finally:
        for pid in (job.pid, job.leader):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


sys.exit(main())
